"""One run at a time on a project: a second one waits, or is cancelled; a run that starts too late is cancelled.

Belongs here: taking a turn in a flow that a deployment started. Not here: the lock (see `steelyard.workspace`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from prefect import runtime
from prefect.states import Cancelled

from flows.build import Job
from steelyard.errors import BusyError


def take_turn(job: Job, work: Callable[[], Any]) -> Any:
    """Return what `work` returns, done while nobody else works on the project, or a state that says why not.

    A run that nobody deployed (from the command line) is turned away at once with `BusyError`: somebody is watching.
    """
    is_deployed = runtime.deployment.id is not None
    schedules = job.project.schedules
    reason = lateness(
        runtime.flow_run.scheduled_start_time if is_deployed else None,
        now=dt.datetime.now(dt.UTC),
        start_within_minutes=schedules.start_within_minutes,
    )
    if reason is not None:
        return Cancelled(message=reason)
    try:
        with job.workspace.locked(is_waiting=is_deployed and schedules.overlap == "wait"):
            return work()
    except BusyError as error:
        if not is_deployed:
            raise
        return Cancelled(message=f"{error.args[0]}: schedules.overlap is cancel")


def lateness(scheduled: dt.datetime | None, *, now: dt.datetime, start_within_minutes: float | None) -> str | None:
    """Return why a run is too late to start, or None."""
    if scheduled is None or start_within_minutes is None:
        return None
    minutes = (now - scheduled).total_seconds() / 60
    if minutes <= start_within_minutes:
        return None
    return f"{minutes:.0f} minutes late; schedules.start_within_minutes is {start_within_minutes:g}"
