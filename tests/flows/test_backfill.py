"""Backfill of the lifecycle sample from its five dates: in partitions, resumable, unpublished, once."""

from __future__ import annotations

import datetime as dt

import pytest
from five_dates import DATES, add_dates

from flows import backfill as flow
from flows.build import load_job
from flows.parts import sealed_snapshots
from pipelines.warehouse import Warehouse
from steelyard.errors import ConfigError, ServiceError


@pytest.fixture
def project(make_project, prefect_server, monkeypatch):
    """Return the file of a project with five dates, nothing loaded."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    made = make_project()
    add_dates(made.file)
    with temporary_settings({PREFECT_API_URL: prefect_server}):
        yield made.file


def request(**changes) -> flow.BackfillRequest:
    """Return a request for all five dates."""
    return flow.BackfillRequest(
        **{"first_date": dt.date(2023, 1, 1), "last_date": dt.date(2026, 8, 22), "partition_size": 2} | changes
    )


def test_backfill_five_dates_interrupted_resumes_and_repeats_without_work(project, monkeypatch):
    """A dry run changes nothing; a failed partition is done by the next call; then there is nothing left to do."""
    job = load_job(project)
    assert flow.backfill(str(project), request(is_dry_run=True))["run"] == 0
    assert Warehouse(job.workspace.warehouse).history() == ()

    real, calls = flow.index_snapshot, []

    def fail_at_the_third(job, parts, snapshot):
        calls.append(snapshot.date)
        if len(calls) == 3:
            raise ServiceError("the disk is full")
        return real(job, parts, snapshot)

    monkeypatch.setattr(flow, "index_snapshot", fail_at_the_third)
    monkeypatch.setattr(flow, "_INDEX_RETRIES", 0)
    with pytest.raises(ServiceError, match="disk is full"):
        flow.backfill(str(project), request())
    assert [one.date for one in Warehouse(job.workspace.warehouse).snapshots()] == list(DATES[:4])
    assert len(sealed_snapshots(job)[0]) == 2

    monkeypatch.setattr(flow, "index_snapshot", real)
    assert flow.backfill(str(project), request()) == {
        "partitions": 3, "done_before": 1, "published": None, "run": 2
    }  # fmt: skip
    sealed, pointer = sealed_snapshots(job)
    assert (sorted(sealed), pointer) == ([1, 2, 3, 4, 5], None)
    assert flow.backfill(str(project), request())["run"] == 0
    assert flow.backfill(str(project), request(is_published=True))["published"] == 5
    assert sealed_snapshots(job)[1].snapshot == 5


def test_backfill_range_without_its_beginning_refused(project):
    """A history that begins in its middle could not be completed later."""
    with pytest.raises(ConfigError, match="come before 2025-01-01"):
        flow.backfill(str(project), request(first_date=dt.date(2025, 1, 1)))


def test_backfill_request_that_makes_no_sense_refused():
    """What the form cannot check, the model does."""
    with pytest.raises(ValueError, match="is after last date"):
        request(first_date=dt.date(2027, 1, 1))
    with pytest.raises(ValueError, match="only what is indexed"):
        request(stages="load", is_published=True)
