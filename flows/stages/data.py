"""Ingest and validate: sources become a warehouse, and the part of it that keeps the contract.

Belongs here: calling both and remembering what was accepted. Not here: loading (see `pipelines`) and the rules (see
`steelyard.validate`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from flows.build import Job, ingest_spec, validation_rules
from pipelines.ingest import IngestReport, ingest
from pipelines.quarantine import append_refusals
from pipelines.warehouse import Warehouse
from steelyard.fingerprint import digest
from steelyard.records import Case, Pair, Snapshot
from steelyard.validate.fingerprint import validation_fingerprint

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Contract:
    """The pairs and cases that were accepted; digests name them in fingerprints."""

    pairs: tuple[Pair, ...]
    cases: tuple[Case, ...]
    refused: int
    warnings: tuple[str, ...]

    @classmethod
    def accepted(
        cls, pairs: Sequence[Pair], cases: Sequence[Case], record: Mapping[str, Any], *, refused_at_ingest: int
    ) -> Contract:
        """Return what a validation's record in the ledger leaves of the rows."""
        refused_pairs, refused_cases = set(record["refused_pairs"]), set(record["refused_cases"])
        return cls(
            pairs=tuple(pair for pair in pairs if pair.id not in refused_pairs),
            cases=tuple(case for case in cases if case.id not in refused_cases),
            refused=refused_at_ingest + len(refused_pairs) + len(refused_cases),
            warnings=tuple(record["warnings"]),
        )

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
    return Contract.accepted(pairs, cases, record, refused_at_ingest=report.refused)


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
    return validation_fingerprint(documents_digest=latest.digest, pairs=pairs, cases=cases, rules=validation_rules(job))


def pairs_snapshot(
    job: Job, snapshots: Sequence[Snapshot], contract: Contract, *, is_recorded: bool = True
) -> Snapshot:
    """Return the snapshot that the pairs' contexts are retrieved from.

    That of `as_of` where the project names a date. Otherwise the one that these pairs were first seen with, so that a
    changed document does not make an old training set a new one.
    """
    pairs = job.project.sources.pairs
    if pairs is not None and pairs.as_of is not None:
        return Warehouse(job.workspace.warehouse).snapshot_as_of(pairs.as_of.isoformat())
    ledger, latest = job.workspace.ledger, snapshots[-1]
    known = {snapshot.sequence: snapshot for snapshot in snapshots}
    record = ledger.find("pairs-snapshot", contract.pairs_digest)
    if record is not None and record["sequence"] in known:
        return known[record["sequence"]]
    if is_recorded:
        ledger.record("pairs-snapshot", contract.pairs_digest, {"sequence": latest.sequence})
    return latest


def _validate(
    job: Job, warehouse: Warehouse, pairs: Sequence[Pair], cases: Sequence[Case], latest: Snapshot
) -> dict[str, list[str]]:
    from steelyard.validate import ContractError, validate

    try:
        report = validate(
            warehouse.documents(latest.sequence),
            pairs,
            cases,
            rules=validation_rules(job),
            docs_folder=job.workspace.data_docs,
            progress=job.progress,
        )
    except ContractError as error:
        append_refusals(job.workspace.warehouse, error.report.refusals)
        raise
    append_refusals(job.workspace.warehouse, report.refusals)
    kept_pairs, kept_cases = {pair.id for pair in report.pairs}, {case.id for case in report.cases}
    return {
        "refused_pairs": [pair.id for pair in pairs if pair.id not in kept_pairs],
        "refused_cases": [case.id for case in cases if case.id not in kept_cases],
        "warnings": [
            f"{result.table}: {result.name}: {result.observed}, expected {result.expected}"
            for result in report.results
            if not result.success
        ],
    }
