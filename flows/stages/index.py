"""Index: every snapshot of the warehouse becomes searchable; the latest is published.

Belongs here: which snapshots are missing, and how long they took. Not here: splitting, embedding and storing (see
`steelyard.index`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from flows.build import Job
from flows.parts import Parts, collection_of, sealed_snapshots, split_settings
from pipelines.ingest import IngestReport
from pipelines.warehouse import Warehouse
from steelyard.fingerprint import digest
from steelyard.records import Snapshot


@dataclass(frozen=True, slots=True)
class IndexState:
    """The collection after a run: digests by snapshot, and what it cost to make them, now or earlier."""

    collection: str
    digests: dict[int, str]
    passages_embedded: int
    setup_seconds: float
    update_seconds: float


def index_documents(job: Job, parts: Parts, report: IngestReport) -> IndexState:
    """Index the snapshots that are not sealed yet, in their order, and publish the latest."""
    sealed, pointer = sealed_snapshots(job)
    collection, latest = collection_of(job), report.snapshots[-1]
    missing = [snapshot for snapshot in report.snapshots if snapshot.sequence not in sealed]
    embedded = 0
    for snapshot in missing:
        embedded += index_snapshot(job, parts, snapshot)
    if missing or pointer != (collection, latest.sequence):
        parts.index.publish(latest.sequence)
        sealed = dict(parts.index.sealed())
    seconds = [_recorded_seconds(job, snapshot) for snapshot in report.snapshots]
    return IndexState(
        collection=collection,
        digests={snapshot.sequence: sealed[snapshot.sequence] for snapshot in report.snapshots},
        passages_embedded=embedded,
        setup_seconds=sum(seconds),
        update_seconds=seconds[-1],
    )


def index_snapshot(job: Job, parts: Parts, snapshot: Snapshot) -> int:
    """Index one snapshot without publishing it, and return how many passages were embedded."""
    from steelyard.index.sync import sync_snapshot

    parts.embedder.embed(["loading the model is not part of the time that an update takes"])
    started = time.perf_counter()
    report = sync_snapshot(
        parts.index,
        parts.embedder,
        Warehouse(job.workspace.warehouse).documents(snapshot.sequence),
        snapshot=snapshot.sequence,
        split=split_settings(job),
        batch_size=job.project.index.batch_size,
        progress=job.progress,
    )
    seconds = time.perf_counter() - started
    job.workspace.ledger.record("index", _key(job, snapshot), {"seconds": seconds, "passages": report.passages_total})
    return report.passages_embedded


def _recorded_seconds(job: Job, snapshot: Snapshot) -> float:
    record = job.workspace.ledger.find("index", _key(job, snapshot))
    return 0.0 if record is None else float(record["seconds"])


def _key(job: Job, snapshot: Snapshot) -> str:
    return digest([collection_of(job), snapshot.sequence, snapshot.digest])
