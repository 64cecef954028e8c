"""What the measurements of the index share: both stores opened alike, and the machine in words.

Not a measurement itself; `index_speed.py`, `index_kill.py` and `scifact.py` import it.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from steelyard.index.lance import LanceIndex
from steelyard.index.protocol import Index
from steelyard.index.weaviate_connection import Place, connect
from steelyard.index.weaviate_store import WeaviateIndex
from steelyard.models.precision import choose_precision

OpenIndex = Callable[[str, int], Index]
NAMESPACE = "Bench"
VERSION = "1.39.0"


def open_stores(stores: Sequence[str], folder: Path, ports: tuple[int, int] | None) -> dict[str, OpenIndex]:
    """Return what opens a collection in each store; Weaviate is embedded unless HTTP and gRPC ports are given."""
    if ports is None:
        place = Place("embedded", NAMESPACE, version=VERSION, folder=str(folder / "weaviate"))
    else:
        place = Place("local", NAMESPACE, http_port=ports[0], grpc_port=ports[1])

    def lancedb(collection: str, dimensions: int) -> Index:
        return LanceIndex(folder / "lancedb", collection=collection, dimensions=dimensions)

    def weaviate(collection: str, dimensions: int) -> Index:
        connection = connect(place, api_key=os.environ.get("WEAVIATE_API_KEY"))
        return WeaviateIndex(connection, namespace=NAMESPACE, collection=collection, dimensions=dimensions)

    known: dict[str, OpenIndex] = {"lancedb": lancedb, "weaviate": weaviate}
    return {store: known[store] for store in stores}


def describe_machine() -> dict[str, Any]:
    """Return what a figure depends on; nothing that names the machine."""
    import psutil

    precision = choose_precision("auto")
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "memory_gigabytes": round(psutil.virtual_memory().total / 1e9),
        "precision": f"{precision.dtype} ({precision.reason})",
        "load_at_start": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in ("lancedb", "weaviate-client", "numpy")},
        "weaviate_server": VERSION,
    }
