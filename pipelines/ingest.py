"""Ingest: bring the warehouse to the state of the sources, and say what changed.

Belongs here: the order of reading, checking, loading and registering. Not here: how each of them is done.
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.documents import SUFFIXES
from pipelines.files import identify_files, list_files
from pipelines.history import LoadedSnapshot, State, boundary_of, describe_states, states_to_load
from pipelines.load import Loader, roll_back
from pipelines.reading import Questions, Reading, read_questions
from pipelines.spec import CaseSource, IngestSpec, Limits, PairSource
from pipelines.warehouse import IngestNote, Warehouse
from steelyard.errors import DataError, ServiceError
from steelyard.fingerprint import canonical_json, digest, digest_lines
from steelyard.progress import Progress
from steelyard.records import Case, Pair, Snapshot

_READER_VERSION = 1  # raised when reading the same files gives other rows


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What the warehouse holds after an ingest, and what this run did; `documents_loaded` are new or changed ones."""

    snapshots: tuple[Snapshot, ...]
    warehouse_digest: str
    documents_loaded: int
    pairs: int
    cases: int
    refused: int
    is_unchanged: bool


def source_digest(spec: IngestSpec) -> str:
    """Return the digest of all that an ingest would read: equal digests, nothing to do.

    Covers the files' names below their sources and their bytes, dates, limits and readers; no paths, no clock. Raises
    `ConfigError` when a path is missing.
    """
    return _source_digest(spec, describe_states(spec))


def ingest(spec: IngestSpec, *, progress: Progress) -> IngestReport:
    """Load what changed in the sources since the last ingest.

    Refused rows are kept in the quarantine with their reasons. Raises `DataError` when a table's share of refused rows
    is over the limit, when there are no documents, or when the past has changed; `ConfigError` when a path is missing;
    `ServiceError` when the warehouse cannot be used.
    """
    warehouse = Warehouse(spec.warehouse)
    states = describe_states(spec)
    source = _source_digest(spec, states)
    note = warehouse.last_ingest()
    if note is not None and note.source_digest == source:
        return _report(warehouse, note, documents_loaded=0, is_unchanged=True)
    history = warehouse.history()
    rules = _rules_digest(spec.limits)
    latest_read = note.state_digest if note is not None and note.rules_digest == rules else None
    missing = states_to_load(states, history, latest_read=latest_read)
    questions = read_questions(spec)
    roll_back(spec.warehouse, history)
    loader = Loader(spec.warehouse)
    problems = questions.problems(spec.limits.max_refused_share)
    loaded = 0
    for state in missing:
        count, problem = load_state(spec, warehouse, loader, state, progress=progress)
        loaded += count
        if problem is not None:
            problems.append(problem)
            break
    if problems:
        loader.replace_refusals(questions.refusals)
        raise refused_sources(spec, problems)
    _check_as_of(spec, warehouse)
    loader.load_questions(
        pairs=_numbered(questions.pairs),
        cases=_numbered(questions.cases),
        refusals=questions.refusals,
        ingest=_note(warehouse, questions, source=source, state=states[-1].digest, rules=rules),
    )
    note = warehouse.last_ingest()
    assert note is not None, "the load above has ended"
    return _report(warehouse, note, documents_loaded=loaded, is_unchanged=False)


def _source_digest(spec: IngestSpec, states: Sequence[State]) -> str:
    return digest(
        {
            "states": [[state.date, state.digest] for state in states],
            "pairs": None if spec.pairs is None else _identify_questions(spec.pairs, "pairs"),
            "cases": _identify_questions(spec.cases, "cases"),
            "rules": _rules_digest(spec.limits),
        }
    )


def _identify_questions(source: PairSource | CaseSource, subject: str) -> list[Any]:
    return [source.format, identify_files(list_files(source.path, SUFFIXES[source.format], subject=subject))]


def _rules_digest(limits: Limits) -> str:
    readers = [importlib.metadata.version(name) for name in ("inscriptis", "python-frontmatter")]
    return digest([_READER_VERSION, readers, asdict(limits)])


def refused_sources(spec: IngestSpec, problems: Sequence[str]) -> DataError:
    """Return the error that tells what was refused and where it is kept."""
    return DataError(
        f"the sources of {spec.name} were not taken:\n" + "\n".join(problems),
        remedy="correct the rows named above (all of them are in the warehouse's quarantine with their reasons), or"
        " allow a larger share of refused rows",
    )


def load_state(
    spec: IngestSpec, warehouse: Warehouse, loader: Loader, state: State, *, progress: Progress
) -> tuple[int, str | None]:
    """Load one state and register it; return how many documents were new or changed, or why it was not taken.

    A state seen now with the content of the last snapshot adds none.
    """
    history = warehouse.history()
    boundary = boundary_of(state, history, now=dt.datetime.now(dt.UTC))
    sequence = history[-1].sequence + 1 if history else 1
    reading = Reading(state, max_bytes=spec.limits.max_document_bytes, progress=progress)
    if reading.has_documents():
        loader.load_documents(reading.rows, boundary=boundary, longest_bytes=lambda: reading.longest_bytes)
    problem = reading.problem(spec.limits.max_refused_share)
    if problem is not None:
        roll_back(spec.warehouse, history)
        loader.replace_refusals({f"documents@{sequence}": reading.refusals})
        return 0, problem
    content, count = _content_digest(warehouse, boundary)
    if count != reading.taken:
        raise ServiceError(
            f"the warehouse {spec.warehouse} gave back {count:,} of {reading.taken:,} documents",
            remedy="run again; if it happens again, delete the warehouse: it is loaded again from the sources",
        )
    if state.date is None and history and history[-1].digest == content:
        loader.replace_refusals({f"documents@{history[-1].sequence}": reading.refusals})
        return 0, None
    snapshot = LoadedSnapshot(
        sequence=sequence,
        date=state.date or boundary.date().isoformat(),
        is_dated=state.date is not None,
        boundary=boundary,
        state_digest=state.digest,
        digest=content,
        documents=count,
    )
    loader.register_snapshot(asdict(snapshot), {f"documents@{sequence}": reading.refusals})
    return warehouse.count_new_documents(boundary), None


def _content_digest(warehouse: Warehouse, boundary: dt.datetime) -> tuple[str, int]:
    count = 0

    def lines() -> Iterator[str]:
        nonlocal count
        for id_, content_hash in warehouse.contents_at(boundary):
            count += 1
            yield f"{id_}\n{content_hash}"

    return digest_lines(lines()), count


def _check_as_of(spec: IngestSpec, warehouse: Warehouse) -> None:
    if spec.pairs is not None and spec.pairs.as_of is not None:
        warehouse.snapshot_as_of(spec.pairs.as_of)


def _numbered(questions: Sequence[Pair | Case]) -> Iterator[dict[str, Any]]:
    for ordinal, question in enumerate(questions):
        yield {**asdict(question), "ordinal": ordinal, "documents": list(question.documents)}


def _note(warehouse: Warehouse, questions: Questions, *, source: str, state: str, rules: str) -> dict[str, Any]:
    snapshots = warehouse.snapshots()
    refused = len(warehouse.refusals(f"documents@{snapshots[-1].sequence}"))
    content = {
        "snapshots": [[snapshot.sequence, snapshot.digest] for snapshot in snapshots],
        "pairs": digest_lines(map(canonical_json, questions.pairs)),
        "cases": digest_lines(map(canonical_json, questions.cases)),
    }
    return {
        "source_digest": source,
        "state_digest": state,
        "rules_digest": rules,
        "warehouse_digest": digest(content),
        "pairs": len(questions.pairs),
        "cases": len(questions.cases),
        "refused": refused + sum(len(refusals) for refusals in questions.refusals.values()),
    }


def _report(warehouse: Warehouse, note: IngestNote, *, documents_loaded: int, is_unchanged: bool) -> IngestReport:
    return IngestReport(
        snapshots=warehouse.snapshots(),
        warehouse_digest=note.warehouse_digest,
        documents_loaded=documents_loaded,
        pairs=note.pairs,
        cases=note.cases,
        refused=note.refused,
        is_unchanged=is_unchanged,
    )
