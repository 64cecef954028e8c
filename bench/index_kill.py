"""A Weaviate server killed in the middle of a load: what is there after a restart and a second run.

Claim: with `kill -9` on the server half-way through a load, a restart on the same data and the same load again, every
passage is there exactly once, with the digest of an undisturbed load; the second run sends only what is missing.

The server is killed while it takes a request. Vectors are hashed words, so that loading is what is measured.

    python bench/index_kill.py [--passages 100000] [--program weaviate-server] [--json]
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from index_machine import NAMESPACE, VERSION, describe_machine

from steelyard.errors import ServiceError
from steelyard.index.embed import HashEmbedder
from steelyard.index.memory import MemoryIndex
from steelyard.index.sync import SplitSettings, SyncReport, sync_snapshot
from steelyard.index.weaviate_connection import Place, connect
from steelyard.index.weaviate_server import find_program, free_ports, start_program, wait_until_ready
from steelyard.index.weaviate_store import WeaviateIndex
from steelyard.records import Document

_DIMENSIONS = 64
_SECTIONS = 100
_BATCH = 1_000
_SPLIT = SplitSettings(max_characters=60, min_characters=30, overlap=0)


class _KillingIndex(WeaviateIndex):
    """An index whose server is killed beside its n-th request."""

    sends_left = 1
    server: subprocess.Popen[bytes]

    def _send(self, rows: Sequence[Any]) -> dict[str, str]:
        self.sends_left -= 1
        if self.sends_left:
            return super()._send(rows)
        killer = threading.Thread(target=self.server.kill)
        killer.start()
        try:
            return super()._send(rows)
        finally:
            killer.join()


def main() -> None:
    """Run it and print what came out, or one JSON object."""
    options = _options()
    program = find_program(None if options.program is None else Path(options.program), version=VERSION)
    with tempfile.TemporaryDirectory() as folder:
        result = run(options.passages, program, Path(folder))
    print(json.dumps(result, indent=1) if options.json else "\n".join(f"{k}: {v}" for k, v in result.items()))
    if not result["is_every_passage_there_once"]:
        sys.exit(1)


def run(passages: int, program: Path, folder: Path) -> dict[str, Any]:
    """Return counts and seconds of a load with a kill in its middle."""
    machine = describe_machine()
    expected = _load(MemoryIndex(collection="Passages_kill", dimensions=_DIMENSIONS), passages)
    ports, log = free_ports(), folder / "server.log"
    place = Place("local", NAMESPACE, http_port=ports.http, grpc_port=ports.grpc)

    def start() -> subprocess.Popen[bytes]:
        server = start_program(program, folder=folder / "data", ports=ports, log=log, api_key=None)
        wait_until_ready(server, ports, log=log)
        return server

    server = start()
    try:
        with closing(_open(_KillingIndex, place)) as index:
            index.server, index.sends_left = server, passages // _BATCH // 2
            said = _load_until_killed(index, passages)
        server.wait()
        started = time.perf_counter()
        server = start()
        restart_seconds = time.perf_counter() - started
        with closing(_open(WeaviateIndex, place)) as index:
            before = index.count(1)
            started = time.perf_counter()
            report = _load(index, passages)
            seconds = time.perf_counter() - started
            ids = index.ids_in(1)
            objects = index.describe().passages
            is_whole = len(set(ids)) == len(ids) == objects == passages and index.digest(1) == expected.digest
    finally:
        server.terminate()
        server.wait()
    return {
        "machine": machine,
        "passages": passages,
        "error_of_the_first_run": said,
        "there_after_the_restart": before,
        "restart_seconds": restart_seconds,
        "sent_by_the_second_run": report.passages_embedded,
        "second_run_seconds": seconds,
        "there_at_the_end": objects,
        "is_every_passage_there_once": is_whole,
    }


def _open(kind: type[Any], place: Place) -> Any:
    connection = connect(place, api_key=None)
    return kind(connection, namespace=NAMESPACE, collection="Passages_kill", dimensions=_DIMENSIONS)


def _load_until_killed(index: WeaviateIndex, passages: int) -> str:
    try:
        _load(index, passages)
    except ServiceError as error:
        return str(error.args[0])[:200]
    raise AssertionError("the server was not killed")


def _load(index: Any, passages: int) -> SyncReport:
    embedder = HashEmbedder(_DIMENSIONS)
    return sync_snapshot(index, embedder, _documents(passages), snapshot=1, split=_SPLIT, batch_size=_BATCH)


def _documents(passages: int) -> Iterator[Document]:
    for first in range(0, passages, _SECTIONS):
        numbers = range(first, min(first + _SECTIONS, passages))
        text = "\n\n".join(f"# Product {n}\n\nProduct {n} is at version {n}." for n in numbers)
        yield Document(f"d{first}", "pages", f"d{first}.md", "", text, "")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--program", default=shutil.which("weaviate-server"))
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
