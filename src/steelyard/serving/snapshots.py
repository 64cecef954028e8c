"""Whether the index still holds what a version was evaluated on.

Belongs here: one question to the store that a bundle names. Not here: searching it (see `opening`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steelyard.models.cache import default_cache
from steelyard.progress import Silent
from steelyard.promote.bundle import Bundle
from steelyard.review.decision import SnapshotState
from steelyard.serving.opening import open_embedder, open_index


def snapshot_state(bundle: Bundle, *, cache: Path | None, index_settings: Mapping[str, Any] | None) -> SnapshotState:
    """Return whether the snapshot of a bundle's evidence is there, with the same passages.

    Raises `ServiceError` when the store cannot be reached.
    """
    if bundle.index is None or bundle.embedder is None:
        return "not needed"
    sealed = _sealed(bundle, {**bundle.index.settings, **(index_settings or {})}, cache or default_cache())
    found = sealed.get(bundle.index.evaluated_snapshot)
    if found is None:
        return "missing"
    return "there" if found == bundle.digests.index else "changed"


def _sealed(bundle: Bundle, settings: Mapping[str, Any], cache: Path) -> Mapping[int, str]:
    assert bundle.index is not None
    assert bundle.embedder is not None
    if bundle.index.store == "lancedb":
        from steelyard.index.lance import read_sealed

        return read_sealed(Path(settings["path"]), bundle.index.collection)
    dimensions = open_embedder(bundle.embedder, cache=cache, progress=Silent()).dimensions
    index = open_index(bundle.index.store, settings, collection=bundle.index.collection, dimensions=dimensions)
    try:
        return dict(index.sealed())
    finally:
        index.close()
