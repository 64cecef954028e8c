"""The backfill flows: past states loaded and indexed in partitions, previewed first, never published unless asked.

Belongs here: the form, the preview, and one run a partition. Not here: which dates (`steelyard.backfill`), and loading
(`pipelines.backfill`).
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any, Literal

from prefect import flow, runtime
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from pydantic import BaseModel, ConfigDict, Field, model_validator

from flows.build import Job, ingest_spec, load_job
from flows.parts import Parts, sealed_snapshots
from flows.plan import PASSAGES_PER_SECOND, content_keys, documents_of
from flows.progress import RunLog
from flows.release import stage
from flows.stages.index import index_snapshot
from flows.turns import take_turn
from pipelines.backfill import load_dates
from pipelines.history import describe_states
from pipelines.warehouse import Warehouse
from steelyard.backfill import Partition, plan_partitions
from steelyard.errors import ServiceError
from steelyard.fingerprint import digest
from steelyard.records import Snapshot

ALL_SOURCES = "all"
_CHARACTERS_PER_TOKEN = 4  # rough, for English: the preview says "about"
_INDEX_RETRIES = 2
_MOST_ATTEMPTS = 100  # runs of one partition that failed before; more than anybody repeats by hand

load = stage("load", retries=2)(load_dates)


class BackfillRequest(BaseModel):
    """Which states are loaded, and what is done with them."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="Backfill")

    first_date: dt.date = Field(title="First date", description="Load the states from this date on.")
    last_date: dt.date = Field(title="Last date", description="Load the states up to and with this date.")
    source: str = Field(
        default=ALL_SOURCES, title="Source", description="Take the dates of this document source; or of all of them."
    )
    stages: Literal["load", "load and index"] = Field(
        default="load and index", title="Stages", description="Only load into the warehouse, or make searchable too."
    )
    partition_size: int = Field(
        default=1, ge=1, le=100, title="Partition size", description="Dates in one run; each run can be resumed."
    )
    is_dry_run: bool = Field(
        default=False, title="Dry run", description="Only write the preview: what would be loaded, what is there."
    )
    is_published: bool = Field(
        default=False, title="Publish", description="Let the champion answer from the last date when all are done."
    )

    @model_validator(mode="after")
    def _range(self) -> BackfillRequest:
        if self.first_date > self.last_date:
            raise ValueError(f"first date {self.first_date} is after last date {self.last_date}")
        if self.is_published and self.stages == "load":
            raise ValueError("only what is indexed can be published: choose load and index")
        return self


@flow(name="backfill", flow_run_name="backfill {request.first_date} to {request.last_date}", validate_parameters=True)
def backfill(
    project_file: str, request: BackfillRequest, profile: str | None = None, overrides: list[str] | None = None
) -> dict[str, Any]:
    """Load past states of the documents: a preview first, then one run a partition.

    A repeated backfill does nothing; one that failed goes on where it stopped.

    Args:
        project_file: The project's YAML file.
        request: Which states, and what is done with them.
        profile: Lay <stem>.<profile>.yaml over it.
        overrides: Settings of this run, as a.b=c.
    """
    job = load_job(Path(project_file), profile=profile, overrides=overrides or (), progress=RunLog())
    partitions = _partitions(job, request)
    create_table_artifact(
        key=f"backfill-{job.project.name}",
        table=preview(job, partitions),
        description=f"Preview: {len(partitions)} runs, {'published' if request.is_published else 'not published'}",
    )
    is_indexing = request.stages == "load and index"
    todo = [part for part in partitions if not part.is_done(is_indexing=is_indexing)]
    result = {"partitions": len(partitions), "done_before": len(partitions) - len(todo), "published": None}
    if request.is_dry_run:
        return {**result, "run": 0}
    _run_all(job, todo, len(partitions), is_indexing=is_indexing)
    if request.is_published:
        result["published"] = take_turn(job, lambda: _publish(job, partitions[-1].dates[-1]))
    return {**result, "run": len(todo)}


@flow(name="backfill-partition", flow_run_name="backfill {dates}", validate_parameters=True)
def backfill_partition(
    project_file: str,
    dates: list[str],
    is_indexing: bool,
    profile: str | None = None,
    overrides: list[str] | None = None,
) -> Any:
    """Load, and index unless told otherwise, the states of some dates; nothing is published."""
    job = load_job(Path(project_file), profile=profile, overrides=overrides or (), progress=RunLog())
    return take_turn(job, lambda: _fill(job, dates, is_indexing=is_indexing))


def _fill(job: Job, dates: list[str], *, is_indexing: bool) -> dict[str, int]:
    snapshots = load(ingest_spec(job), dates, progress=job.progress)
    sealed, parts, embedded = sealed_snapshots(job)[0], Parts(job), 0
    try:
        missing = [one for one in snapshots if is_indexing and one.sequence not in sealed]
        for snapshot in missing:
            embedded += stage(f"index {snapshot.date}", retries=_INDEX_RETRIES)(index_snapshot)(job, parts, snapshot)
    finally:
        parts.close()
    return {"snapshots": len(snapshots), "passages_embedded": embedded}


def _publish(job: Job, date: str) -> int:
    snapshot = {one.date: one for one in Warehouse(job.workspace.warehouse).snapshots()}[date]
    parts = Parts(job)
    try:
        parts.index.publish(snapshot.sequence)
    finally:
        parts.close()
    return snapshot.sequence


def _partitions(job: Job, request: BackfillRequest) -> tuple[Partition, ...]:
    sources = [one for one in job.project.sources.documents if request.source in {ALL_SOURCES, one.name}]
    snapshots = _dated(job)
    sealed, _ = sealed_snapshots(job)
    return plan_partitions(
        [dated.date.isoformat() for source in sources for dated in source.snapshots],
        first=request.first_date.isoformat(),
        last=request.last_date.isoformat(),
        size=request.partition_size,
        loaded=[one.date for one in snapshots],
        indexed=[one.date for one in snapshots if one.sequence in sealed],
    )


def _dated(job: Job) -> list[Snapshot]:
    return [
        Snapshot(one.sequence, one.date, one.digest, one.documents)
        for one in Warehouse(job.workspace.warehouse).history()
        if one.is_dated
    ]


def preview(job: Job, partitions: tuple[Partition, ...]) -> list[dict[str, Any]]:
    """Return one row a partition: documents, passages and tokens that are new in it, about how long, what is there."""
    spec, before, rows = ingest_spec(job), set[str](), []
    states = {state.date: state for state in describe_states(spec)}
    for number, part in enumerate(partitions, start=1):
        documents = passages = characters = 0
        for date in part.dates:
            now = set[str]()
            for document in documents_of(states[date], spec):
                keys = content_keys(job, document)
                new = keys - before
                documents += bool(new)
                passages += len(new)
                characters += round(len(document.text) * len(new) / max(len(keys), 1))
                now |= keys
            before = now
        rows.append(
            {
                "partition": number,
                "dates": ", ".join(part.dates),
                "documents": documents,
                "passages": passages,
                "tokens (about)": characters // _CHARACTERS_PER_TOKEN,
                "seconds (about)": round(passages / PASSAGES_PER_SECOND),
                "loaded already": ", ".join(part.loaded) or "none",
                "indexed already": ", ".join(part.indexed) or "none",
            }
        )
    return rows


def _run_all(job: Job, todo: list[Partition], total: int, *, is_indexing: bool) -> None:
    done = total - len(todo)
    artifact = create_progress_artifact(
        progress=100 * done / total, key=f"backfill-progress-{job.project.name}", description="Partitions"
    )
    for part in todo:
        _run_one(job, part, is_indexing=is_indexing)
        done += 1
        update_progress_artifact(artifact, progress=100 * done / total)


def _run_one(job: Job, part: Partition, *, is_indexing: bool) -> None:
    arguments = {**job.words, "dates": list(part.dates), "is_indexing": is_indexing}
    if runtime.deployment.id is None:  # nobody serves the deployment of a partition: here and now
        backfill_partition(**arguments)
        return
    key = digest([part.dates, is_indexing, [state.digest for state in describe_states(ingest_spec(job))]])
    run = _deployed_run(job, arguments, key=f"{job.workspace.root}-{key}")
    state = run.state
    if state is None or not state.is_completed():
        raise ServiceError(
            f"the run of {', '.join(part.dates)} ended as {state.name if state else 'unknown'}",
            remedy="see its log in the Prefect UI, then start the same backfill again: it goes on from there",
        )


def _deployed_run(job: Job, arguments: dict[str, Any], *, key: str) -> FlowRun:
    """Run a partition once under its key: one under way is waited for, one that failed is followed by another."""
    name = f"backfill-partition/{job.project.name}"
    for attempt in range(_MOST_ATTEMPTS):
        named = {"parameters": arguments, "idempotency_key": f"{key}-{attempt}"}
        run = run_deployment(name, timeout=0, as_subflow=False, **named)
        if run.state is not None and run.state.is_final():
            continue  # of an earlier backfill that found, or left, something to do
        return run_deployment(name, poll_interval=1, as_subflow=False, **named)
    raise ServiceError(f"partition {arguments['dates']} was run {_MOST_ATTEMPTS} times", remedy="see its runs")
