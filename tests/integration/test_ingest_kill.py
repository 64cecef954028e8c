"""Killed at any point of a load, the next ingest ends where an undisturbed one does."""

from __future__ import annotations

import dataclasses
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.ingest import ingest
from pipelines.spec import CaseSource, DocumentSource, IngestSpec, Limits, PairSource
from pipelines.warehouse import Warehouse
from steelyard.progress import Silent

DATES = ("2025-01-01", "2026-08-22")

# Runs an ingest that kills itself at the n-th call of a function. Calls of dlt's functions in a first ingest: documents
# of the first snapshot, its registration, those of the second, its registration, then pairs and cases.
DRIVER = """
import importlib, os, pickle, signal, sys
spec, module, path, count = pickle.loads(bytes.fromhex(sys.argv[1]))
owner = importlib.import_module(module)
*outer, name = path.split(".")
for part in outer:
    owner = getattr(owner, part)
original, calls = getattr(owner, name), 0
def deadly(*arguments, **keywords):
    global calls
    calls += 1
    if calls == count:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **keywords)
setattr(owner, name, deadly)
from pipelines.ingest import ingest
from steelyard.progress import Silent
ingest(spec, progress=Silent())
"""

POINTS = {
    "while documents are extracted": ("pipelines.documents", "_document", 5),
    "before extracted documents are normalized": ("dlt.pipeline.pipeline", "Pipeline.normalize", 3),
    "after documents are merged, before their load is complete": ("dlt.load.load", "Load.complete_package", 3),
    "before a snapshot's registration is complete": ("dlt.load.load", "Load.complete_package", 4),
    "before pairs and cases are complete": ("dlt.load.load", "Load.complete_package", 5),
}


def _project(folder: Path) -> IngestSpec:
    for date, pages in zip(
        DATES, ({"a": "A old", "b": "B", "c": "C"}, {"a": "A new", "b": "B", "d": "D"}), strict=True
    ):
        (folder / date).mkdir(parents=True)
        for name, text in pages.items():
            (folder / date / f"{name}.md").write_text(text)
        (folder / date / "zero.md").write_bytes(b"")
    (folder / "pairs.jsonl").write_text('{"input":"q","output":"a"}\n{bad\n')
    (folder / "cases.jsonl").write_text('{"question":"what?","expected":"x"}\n')
    return IngestSpec(
        name="test",
        documents=(DocumentSource("pages", "markdown", snapshots=tuple((date, folder / date) for date in DATES)),),
        cases=CaseSource(folder / "cases.jsonl", "jsonl"),
        limits=Limits(max_document_bytes=10_000, max_refused_share=0.5),
        warehouse=folder / "work" / "warehouse.duckdb",
        pairs=PairSource(folder / "pairs.jsonl", "jsonl"),
    )


def _kill(spec: IngestSpec, point: str) -> None:
    argument = pickle.dumps((spec, *POINTS[point])).hex()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    child = subprocess.run(
        [sys.executable, "-c", DRIVER, argument], env=environment, capture_output=True, timeout=300, check=False
    )
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()


def _state(spec: IngestSpec, folder: Path) -> list[object]:
    report = ingest(spec, progress=Silent())
    warehouse = Warehouse(spec.warehouse)
    return [
        report.snapshots,
        report.warehouse_digest,
        (report.pairs, report.cases, report.refused),
        [list(warehouse.documents(snapshot.sequence)) for snapshot in report.snapshots],
        (warehouse.pairs(), warehouse.cases()),
        [(one.table, one.location.removeprefix(str(folder)), one.reason) for one in warehouse.refusals()],
    ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """Return what the warehouse holds after an ingest that nobody killed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return _state(_project(folder), folder)


@pytest.mark.parametrize("point", POINTS)
def test_killed_ingest_run_again_ends_as_an_undisturbed_one(tmp_path, undisturbed, point):
    """Snapshots, digests, rows and quarantine are the same, and then there is nothing left to do."""
    spec = _project(tmp_path)
    _kill(spec, point)
    assert _state(spec, tmp_path) == undisturbed
    assert ingest(spec, progress=Silent()).is_unchanged


def test_killed_ingest_of_a_state_that_is_gone_leaves_nothing_of_it(tmp_path, undisturbed):
    """What a killed load had merged at a date does not stay when another date is loaded instead."""
    spec = _project(tmp_path)
    extra = tmp_path / DATES[1] / "e.md"
    extra.write_text("E, of a state that was never registered")
    _kill(spec, "after documents are merged, before their load is complete")
    extra.unlink()
    earlier = (("2025-01-01", tmp_path / DATES[0]), ("2025-06-01", tmp_path / DATES[1]))
    spec = dataclasses.replace(spec, documents=(DocumentSource("pages", "markdown", snapshots=earlier),))
    _, *state = _state(spec, tmp_path)
    assert state == undisturbed[1:]
