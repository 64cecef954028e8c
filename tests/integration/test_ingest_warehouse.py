"""Ingest with dlt and DuckDB themselves: what arrives, what a second run does, and reading back."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipelines.ingest import IngestReport, ingest, source_digest
from pipelines.load import Loader
from pipelines.quarantine import append_refusals
from pipelines.spec import CaseSource, DocumentSource, IngestSpec, Limits, PairSource
from pipelines.warehouse import Warehouse
from steelyard.errors import DataError, ServiceError
from steelyard.progress import Silent
from steelyard.records import Refusal

DATES = ("2025-01-01", "2026-08-22")


def _write_pages(folder: Path, **pages: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(text)


def _spec(folder: Path, *, dated: Sequence[str] = DATES, max_refused_share: float = 0.5) -> IngestSpec:
    snapshots = tuple((date, folder / date) for date in dated)
    return IngestSpec(
        name="test",
        documents=(DocumentSource("pages", "markdown", None if dated else folder / "now", snapshots),),
        cases=CaseSource(folder / "cases.jsonl", "jsonl"),
        limits=Limits(max_document_bytes=100_000, max_refused_share=max_refused_share),
        warehouse=folder / "work" / "warehouse.duckdb",
        pairs=PairSource(folder / "pairs.jsonl", "jsonl"),
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two dated states: page a changes, b stays, c goes, d comes."""
    _write_pages(tmp_path / DATES[0], a="A old", b="B", c="C")
    _write_pages(tmp_path / DATES[1], a="A new", b="B", d="D")
    (tmp_path / "pairs.jsonl").write_text(
        '{"id":"p2","input":"y","output":"z"}\n{"id":"p1","input":"q","output":{"k":1}}\n'
    )
    (tmp_path / "cases.jsonl").write_text('{"id":"c1","question":"what?","expected":"x","documents":["d"]}\n')
    return tmp_path


def _ingest(spec: IngestSpec) -> IngestReport:
    return ingest(spec, progress=Silent())


def _texts(spec: IngestSpec, sequence: int) -> dict[str, str]:
    return {document.id: document.text for document in Warehouse(spec.warehouse).documents(sequence)}


def test_ingest_dated_snapshots_read_back_as_of_each(project):
    """Every past state can be read as it was, in the order of ids, with what changed between two of them."""
    spec = _spec(project)
    report = _ingest(spec)
    assert [(one.sequence, one.date, one.documents) for one in report.snapshots] == [(1, DATES[0], 3), (2, DATES[1], 3)]
    assert (report.documents_loaded, report.pairs, report.cases, report.refused) == (5, 2, 1, 0)
    assert _texts(spec, 1) == {"a": "A old", "b": "B", "c": "C"}
    assert _texts(spec, 2) == {"a": "A new", "b": "B", "d": "D"}
    warehouse = Warehouse(spec.warehouse)
    assert list(_texts(spec, 2)) == ["a", "b", "d"]
    assert warehouse.changed_documents(1, 2) == {"a", "c", "d"}
    assert warehouse.changed_documents(2, 2) == set()
    assert warehouse.snapshot_as_of("2026-08-21").sequence == 1
    assert [pair.id for pair in warehouse.pairs()] == ["p2", "p1"]
    assert warehouse.pairs()[1].output == '{"k":1}'
    assert warehouse.cases()[0].documents == ("d",)
    with pytest.raises(DataError, match="no snapshot of 2024-12-31"):
        warehouse.snapshot_as_of("2024-12-31")


def test_ingest_text_of_any_kind_arrives_unchanged(project):
    """Quotes, zero bytes, long lines, right-to-left and emoji survive the way through files, Parquet and SQL."""
    text = "'quote\" \\n \\ \x00 ؟ é 👩‍👩‍👧 NULL ; DROP TABLE x; -- $1 {} \t end " + "long " * 5_000
    _write_pages(project / "now", page=text)
    spec = _spec(project, dated=())
    _ingest(spec)
    assert _texts(spec, 1)["page"] == text.strip()


def test_ingest_unchanged_sources_do_nothing_without_importing_dlt(project):
    """A second run costs a look at the files: it does not even import the loader."""
    spec = _spec(project)
    first = _ingest(spec)
    code = (
        "import pickle, sys; from pipelines.ingest import ingest; from steelyard.progress import Silent\n"
        "report = ingest(pickle.loads(bytes.fromhex(sys.argv[1])), progress=Silent())\n"
        "print(report.is_unchanged, report.documents_loaded, report.warehouse_digest, 'dlt' in sys.modules)"
    )
    import pickle

    command = [sys.executable, "-c", code, pickle.dumps(spec).hex()]
    out = subprocess.run(command, capture_output=True, text=True, check=True, env=_child_env(), timeout=120).stdout
    assert out.split() == ["True", "0", first.warehouse_digest, "False"]


def _child_env() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def test_ingest_one_changed_page_adds_one_version_and_one_snapshot(project):
    """An edit of the newest state is a new snapshot; the old ones stay as they were."""
    spec = _spec(project)
    before = _ingest(spec)
    _write_pages(project / DATES[1], a="A newer")
    after = _ingest(spec)
    assert (after.documents_loaded, after.is_unchanged) == (1, False)
    assert after.snapshots[:2] == before.snapshots
    assert len(after.snapshots) == 3
    assert Warehouse(spec.warehouse).changed_documents(2, 3) == {"a"}
    assert _texts(spec, 2)["a"] == "A new"
    assert after.warehouse_digest != before.warehouse_digest


def test_ingest_changed_bytes_with_the_same_content_add_no_snapshot(project):
    """White space at a page's end, or a field that nobody reads, is no new state of the documents."""
    spec = _spec(project)
    before = _ingest(spec)
    _write_pages(project / DATES[1], b="---\nreviewed: yes\n---\nB\n\n")
    after = _ingest(spec)
    assert (after.is_unchanged, after.documents_loaded) == (False, 0)
    assert (after.snapshots, after.warehouse_digest) == (before.snapshots, before.warehouse_digest)
    assert _ingest(spec).is_unchanged


def test_ingest_changed_pairs_leave_the_documents_alone(project):
    """Pairs and cases are replaced; the documents are not read again."""
    spec = _spec(project)
    before = _ingest(spec)
    (project / "pairs.jsonl").write_text('{"id":"p9","input":"q","output":"a"}\n')
    after = _ingest(spec)
    assert (after.documents_loaded, after.snapshots, after.pairs) == (0, before.snapshots, 1)
    assert [pair.id for pair in Warehouse(spec.warehouse).pairs()] == ["p9"]
    without = _ingest(dataclasses.replace(spec, pairs=None))
    assert (without.pairs, Warehouse(spec.warehouse).pairs()) == (0, [])


def test_ingest_digest_is_the_same_elsewhere_and_later(project, tmp_path_factory):
    """The digest covers content: neither folder, nor time, nor the number of runs."""
    import shutil

    copy = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(project, copy)
    here, there = _ingest(_spec(project)), _ingest(_spec(copy))
    assert here.warehouse_digest == there.warehouse_digest
    assert source_digest(_spec(project)) == source_digest(_spec(copy))


def test_ingest_bad_rows_are_quarantined_by_file_and_line(project):
    """A malformed line and an empty page do not stop the rest, and stay in the quarantine."""
    with (project / "pairs.jsonl").open("a") as file:
        file.write("{bad\n")
    _write_pages(project / DATES[1], empty="")
    spec = _spec(project)
    report = _ingest(spec)
    assert (report.refused, report.pairs, report.snapshots[-1].documents) == (2, 2, 3)
    refusals = Warehouse(spec.warehouse).refusals()
    assert [(one.table, one.location) for one in refusals] == [
        ("documents", str(project / DATES[1] / "empty.md")),
        ("pairs", f"{project / 'pairs.jsonl'}:3"),
    ]
    assert refusals[1].payload == "{bad"
    (project / DATES[1] / "empty.md").unlink()
    assert _ingest(spec).refused == 1


def test_ingest_too_many_bad_rows_stop_after_the_quarantine(project):
    """Over the share all tables are named at once, the rows are kept, and repairing them is enough."""
    (project / "cases.jsonl").write_text("{bad\n")
    _write_pages(project / DATES[1], e="", f="", g="", h="")
    spec = _spec(project)
    with pytest.raises(DataError, match=r"cases: 1 of 1 rows were refused") as caught:
        _ingest(spec)
    assert "documents: 4 of 7 rows were refused (57.1%; the limit is 50.0%)" in str(caught.value)
    assert caught.value.exit_code == 3
    assert len(Warehouse(spec.warehouse).refusals()) == 5
    assert [one.date for one in Warehouse(spec.warehouse).snapshots()] == [DATES[0]]
    for name in "efgh":
        (project / DATES[1] / f"{name}.md").unlink()
    (project / "cases.jsonl").write_text('{"id":"c1","question":"what?","expected":"x","documents":["d"]}\n')
    report = _ingest(spec)
    assert (report.refused, Warehouse(spec.warehouse).refusals()) == (0, [])
    assert _texts(spec, 2) == {"a": "A new", "b": "B", "d": "D"}


@pytest.mark.parametrize("has_bad_file", [False, True])
def test_ingest_empty_corpus_is_refused_with_its_path(project, has_bad_file):
    """No documents, no run: the folder is named, and the files in it that were refused."""
    (project / "now").mkdir()
    if has_bad_file:
        (project / "now" / "zero.md").write_bytes(b"")
    with pytest.raises(DataError, match="documents: there is none in") as caught:
        _ingest(_spec(project, dated=()))
    assert str(project / "now") in str(caught.value)
    assert ("zero.md: the file is empty" in str(caught.value)) == has_bad_file


def test_ingest_changed_past_is_refused_and_changes_nothing(project):
    """An old snapshot that was edited stops the run before anything is written."""
    spec = _spec(project)
    before = _ingest(spec)
    _write_pages(project / DATES[0], a="rewritten")
    with pytest.raises(DataError, match=f"the snapshot of {DATES[0]} have changed"):
        _ingest(spec)
    _write_pages(project / DATES[0], a="A old")
    after = _ingest(spec)
    assert (after.is_unchanged, after.warehouse_digest) == (True, before.warehouse_digest)


def test_ingest_document_that_returns_is_one_document_again(project):
    """Gone and come back with the same text: it is there once, and not in between."""
    spec = _spec(project)
    _ingest(spec)
    _write_pages(project / DATES[1], c="C")
    _ingest(spec)
    assert [sorted(_texts(spec, sequence)) for sequence in (1, 2, 3)] == [list("abc"), list("abd"), list("abcd")]


def test_contract_unknown_column_stops_the_load(project):
    """A table's columns are fixed: a row with another one is an error, not a new column."""
    spec = _spec(project)
    _ingest(spec)
    row = {"sequence": 9, "surprise": 1}
    with pytest.raises(Exception, match="surprise"):
        Loader(spec.warehouse).register_snapshot({**row}, {})
    assert len(_ingest(spec).snapshots) == 2


def test_quarantine_of_a_later_stage_is_replaced_by_its_own_only(project):
    """Validating twice leaves its rows once, beside those of the ingest; ingesting again keeps them."""
    with (project / "pairs.jsonl").open("a") as file:
        file.write("{bad\n")
    spec = _spec(project)
    _ingest(spec)
    leak = Refusal("pairs", "pairs: p1", "leaks", "q")
    for _ in range(2):
        append_refusals(spec.warehouse, [leak])
    warehouse = Warehouse(spec.warehouse)
    assert [one.reason for one in warehouse.refusals("validate")] == ["leaks"]
    assert len(warehouse.refusals()) == 2
    append_refusals(spec.warehouse, [])
    assert len(warehouse.refusals()) == 1
    assert _ingest(spec).is_unchanged


def test_warehouse_that_is_no_database_is_a_service_error(project):
    """A damaged or foreign file is named, with what to do."""
    spec = _spec(project)
    spec.warehouse.parent.mkdir()
    spec.warehouse.write_text(json.dumps({"not": "a database"}) * 1_000)
    with pytest.raises(ServiceError, match="cannot be used") as caught:
        _ingest(spec)
    assert str(spec.warehouse) in str(caught.value)
