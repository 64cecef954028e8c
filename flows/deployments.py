"""The deployments of a project: what is started when, and the forms that start it by hand.

Belongs here: schedules, limits, triggers and defaults of parameters. Not here: the flows, and starting servers (see
`steelyard.servers`).

`python -m flows.deployments PROJECT_FILE` serves them in this process, as `steelyard up` does in one of its own.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from prefect import Flow, serve
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import EntrypointType, RunnerDeployment
from prefect.events import DeploymentEventTrigger
from prefect.schedules import Cron, Interval, Schedule

from flows.backfill import ALL_SOURCES, backfill, backfill_partition
from flows.build import Job, load_job
from flows.refresh import DRIFT_EVENT, drift_resource, refresh
from flows.release import release
from flows.review import review, rollback
from steelyard.config.models import Timing

_RUNS_AT_ONCE = 6  # of all deployments; most wait for the project's lock


def deployments_of(job: Job) -> list[RunnerDeployment]:
    """Return a project's deployments, each named after the project."""
    schedules = job.project.schedules
    made = [
        _deployment(job, refresh, "Ingest, validate, index, publish.", schedules.refresh),
        _deployment(job, release, "Weigh the arms and promote the winner.", schedules.release, triggers=[_drift(job)]),
        _deployment(job, review, "Act on answered reviews.", schedules.review),
        _deployment(job, rollback, "Go back to the champion before.", None),
    ]
    partition = _deployment(job, backfill_partition, "One partition of a backfill; started by it.", None)
    forms = [backfill_deployment(job)] if _dates(job) else []
    return [*made, *forms, partition]  # the last one tells `steelyard up` that all are registered


def backfill_deployment(job: Job) -> RunnerDeployment:
    """Return the backfill's deployment: its form offers the project's own dates and sources."""
    dates = _dates(job)
    request = {"first_date": dates[0], "last_date": dates[-1]}
    made = _deployment(job, backfill, "Load past states of the documents.", None, parameters={"request": request})
    schema: Any = made._parameter_openapi_schema
    form = schema.definitions["BackfillRequest"]["properties"]
    form["source"]["enum"] = [ALL_SOURCES, *(one.name for one in job.project.sources.documents)]
    for name, date in request.items():
        form[name]["default"] = date
    return made


def _deployment(
    job: Job,
    flow: Flow[..., Any],
    description: str,
    timing: Timing | None,
    *,
    triggers: list[DeploymentEventTrigger] | None = None,
    parameters: dict[str, Any] | None = None,
) -> RunnerDeployment:
    schedules = job.project.schedules
    strategy = ConcurrencyLimitStrategy.ENQUEUE if schedules.overlap == "wait" else ConcurrencyLimitStrategy.CANCEL_NEW
    made: RunnerDeployment = flow.to_deployment(
        name=job.project.name,
        description=description,
        tags=["steelyard", job.project.name],
        schedules=[_schedule(timing, schedules.time_zone)] if timing else [],
        triggers=triggers or [],
        parameters={**job.words, **(parameters or {})},
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=strategy),
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    return made


def _schedule(timing: Timing, time_zone: str) -> Schedule:
    if timing.cron is not None:
        return Cron(timing.cron, timezone=time_zone)
    return Interval(timedelta(minutes=timing.interval_minutes or 0), timezone=time_zone)


def _drift(job: Job) -> DeploymentEventTrigger:
    return DeploymentEventTrigger(
        name=f"{job.project.name}: drift starts a release",
        expect={DRIFT_EVENT},
        match={"prefect.resource.id": drift_resource(job)},
    )


def _dates(job: Job) -> list[str]:
    return sorted({dated.date.isoformat() for one in job.project.sources.documents for dated in one.snapshots})


def serve_project(project_file: Path, *, profile: str | None = None, overrides: tuple[str, ...] = ()) -> None:
    """Register a project's deployments and run what they start, until interrupted."""
    job = load_job(project_file, profile=profile, overrides=overrides)
    # Schedules go on while nobody serves them: schedules.start_within_minutes says what becomes of those runs.
    serve(*deployments_of(job), limit=_RUNS_AT_ONCE, pause_on_shutdown=False, print_starting_message=False)


def _main(words: list[str]) -> None:
    import argparse

    parser = argparse.ArgumentParser(prog="python -m flows.deployments", description=serve_project.__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--profile")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    given = parser.parse_args(words)
    serve_project(given.file, profile=given.profile, overrides=tuple(given.overrides))


if __name__ == "__main__":
    _main(sys.argv[1:])
