"""The flows of a review: acting on what a reviewer answered, and going back.

Belongs here: run names and artifacts. Not here: what is checked and done (see `flows.stages.reviewing`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from pydantic import Field

from flows.build import Job, load_job, tracking
from flows.progress import RunLog
from flows.release import stage
from flows.stages.reviewing import Outcome, review_table, settle_reviews, undo
from steelyard.promote.proposals import read_proposals

settle = stage("settle reviews", retries=2)(settle_reviews)
go_back = stage("roll back")(undo)


@flow(name="review", flow_run_name="review of {project_file}", validate_parameters=True)
def review(
    project_file: str,
    version: Annotated[
        str | None, Field(title="Version", description="Look at this version only; at all when left out.")
    ] = None,
    profile: str | None = None,
    overrides: list[str] | None = None,
) -> list[dict[str, Any]]:
    """Act on versions whose tag `review` a person has set: check, smoke-test, move `champion`, or say why not."""
    job = load_job(Path(project_file), profile=profile, overrides=overrides or (), progress=RunLog())
    outcomes: list[Outcome] = settle(job, version=version)
    _tell(job, outcomes)
    return [{"version": one.version, "review": one.review, "reason": one.reason} for one in outcomes]


@flow(name="rollback", flow_run_name="roll back {project_file}", validate_parameters=True)
def rollback(
    project_file: str,
    reason: Annotated[str, Field(title="Reason", description="Why; kept on record.")],
    by: Annotated[
        str | None, Field(title="Your name", description="Kept on record as given; nobody vouches for it.")
    ] = None,
    profile: str | None = None,
    overrides: list[str] | None = None,
) -> dict[str, Any]:
    """Give `champion` back to the version before, once that one answers the smoke cases."""
    job = load_job(Path(project_file), profile=profile, overrides=overrides or (), progress=RunLog())
    outcome: Outcome = go_back(job, by=by, vouched_by="nobody", reason=reason)
    _tell(job, [outcome])
    return {"champion": outcome.champion, "reason": outcome.reason}


def _tell(job: Job, outcomes: list[Outcome]) -> None:
    name = job.project.name
    lines = [f"- version {one.version}: **{one.review}**, {_plain(one.reason)}" for one in outcomes]
    text = "\n".join(lines) or "Nothing was answered since the last look."
    create_markdown_artifact(key=f"review-{name}", markdown=text, description=f"Reviews of {name}")
    rows = review_table(read_proposals(name, tracking(job).uri))
    if rows and outcomes:
        create_table_artifact(key=f"reviews-{name}", table=[dict(row) for row in rows], description="All versions")


def _plain(text: str) -> str:
    """Return text from elsewhere so that Markdown shows it as it is."""
    return "".join(f"\\{char}" if char in "\\`*_[]<>#|!" else char for char in " ".join(text.split()))
