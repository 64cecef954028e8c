"""Ingest and validate: sources become a warehouse, and the part of it that keeps the contract.

Belongs here: calling both and remembering what was accepted. Not here: loading (see `pipelines`) and the rules (see
`steelyard.validate`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from flows.build import Job, ingest_spec, validation_rules
from pipelines.ingest import IngestReport, ingest
from pipelines.quarantine import append_refusals
from pipelines.warehouse import Warehouse
from steelyard.errors import DataError
from steelyard.fingerprint import digest
from steelyard.records import Case, Pair, Snapshot

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Contract:
    """The pairs and cases that were accepted; digests name them in fingerprints."""

    pairs: tuple[Pair, ...]
    cases: tuple[Case, ...]
    refused: int
    warnings: tuple[str, ...]

    @property
    def pairs_digest(self) -> str:
        """Digest of the accepted pairs in their order."""
        return digest(self.pairs)

    @property
    def cases_digest(self) -> str:
        """Digest of the accepted cases in their order."""
        return digest(self.cases)


def ingest_sources(job: Job) -> IngestReport:
    """Bring the warehouse to the state of the sources."""
    return ingest(ingest_spec(job), progress=job.progress)


def accept(job: Job, report: IngestReport) -> Contract:
    """Return what keeps the contract; checked once for the same data and rules."""
    warehouse = Warehouse(job.workspace.warehouse)
    pairs, cases = read_questions(job, warehouse)
    latest = report.snapshots[-1]
    fingerprint = contract_fingerprint(job, pairs, cases, latest)
    record = job.workspace.ledger.find("validate", fingerprint)
    if record is None:
        record = _validate(job, warehouse, pairs, cases, latest)
        job.workspace.ledger.record("validate", fingerprint, record)
    refused_pairs, refused_cases = set(record["refused_pairs"]), set(record["refused_cases"])
    return Contract(
        pairs=tuple(pair for pair in pairs if pair.id not in refused_pairs),
        cases=tuple(case for case in cases if case.id not in refused_cases),
        refused=report.refused + len(refused_pairs) + len(refused_cases),
        warnings=tuple(record["warnings"]),
    )


def read_questions(job: Job, warehouse: Warehouse) -> tuple[list[Pair], list[Case]]:
    """Return the pairs and cases of the warehouse, or the samples that the project asks for."""
    sources = job.project.sources
    pairs = warehouse.pairs() if sources.pairs is not None else []
    pair_sample = None if sources.pairs is None else sources.pairs.sample
    return evenly_spaced(pairs, pair_sample), evenly_spaced(warehouse.cases(), sources.cases.sample)


def evenly_spaced(rows: Sequence[Row], count: int | None) -> list[Row]:
    """Return `count` rows at equal distances, or all of them."""
    if count is None or count >= len(rows):
        return list(rows)
    return [rows[index * len(rows) // count] for index in range(count)]


def contract_fingerprint(job: Job, pairs: Sequence[Pair], cases: Sequence[Case], latest: Snapshot) -> str:
    """Return the identity of a validation: data and rules."""
    from steelyard.validate.fingerprint import validation_fingerprint

    return validation_fingerprint(documents_digest=latest.digest, pairs=pairs, cases=cases, rules=validation_rules(job))


def pairs_snapshot(job: Job, report: IngestReport, contract: Contract) -> Snapshot:
    """Return the snapshot that the pairs' contexts are retrieved from.

    That of `as_of` where the project names a date. Otherwise the one that these pairs were first seen with, so that a
    changed document does not make an old training set a new one.
    """
    pairs = job.project.sources.pairs
    if pairs is not None and pairs.as_of is not None:
        return Warehouse(job.workspace.warehouse).snapshot_as_of(pairs.as_of.isoformat())
    ledger, latest = job.workspace.ledger, report.snapshots[-1]
    known = {snapshot.sequence: snapshot for snapshot in report.snapshots}
    record = ledger.find("pairs-snapshot", contract.pairs_digest)
    if record is not None and record["sequence"] in known:
        return known[record["sequence"]]
    ledger.record("pairs-snapshot", contract.pairs_digest, {"sequence": latest.sequence})
    return latest


def _validate(
    job: Job, warehouse: Warehouse, pairs: Sequence[Pair], cases: Sequence[Case], latest: Snapshot
) -> dict[str, list[str]]:
    from steelyard.validate import validate

    report = validate(
        warehouse.documents(latest.sequence),
        pairs,
        cases,
        rules=validation_rules(job),
        docs_folder=job.workspace.data_docs,
        progress=job.progress,
    )
    append_refusals(job.workspace.warehouse, report.refusals)
    if not report.cases:
        raise DataError("no case keeps the contract", remedy="see the quarantine in the warehouse for the reasons")
    kept_pairs, kept_cases = {pair.id for pair in report.pairs}, {case.id for case in report.cases}
    return {
        "refused_pairs": [pair.id for pair in pairs if pair.id not in kept_pairs],
        "refused_cases": [case.id for case in cases if case.id not in kept_cases],
        "warnings": [result.name for result in report.results if not result.success],
    }
