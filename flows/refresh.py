"""The refresh flow: what changed becomes searchable; a large change, or worse answers, ask for a release.

Belongs here: the order, and the event. Not here: what a stage does (see `flows.stages`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.events import emit_event

from flows.build import Job, load_job, tracking
from flows.parts import Parts, sealed_snapshots
from flows.progress import RunLog
from flows.release import index, ingest, stage, validate
from flows.stages.smoke import smoke_test
from flows.turns import take_turn
from steelyard.promote.proposals import champion_of, read_proposals

DRIFT_EVENT = "steelyard.drift"
check_canaries = stage("canaries")(smoke_test)


@flow(name="refresh", flow_run_name="refresh {project_file}", validate_parameters=True)
def refresh(project_file: str, profile: str | None = None, overrides: list[str] | None = None) -> Any:
    """Ingest, validate, index, publish; tell when the change is large enough for a release.

    Args:
        project_file: The project's YAML file.
        profile: Lay <stem>.<profile>.yaml over it.
        overrides: Settings of this run, as a.b=c.
    """
    job = load_job(Path(project_file), profile=profile, overrides=overrides or (), progress=RunLog())
    return take_turn(job, lambda: _refresh(job))


def _refresh(job: Job) -> dict[str, Any]:
    before, parts = sealed_snapshots(job)[1], Parts(job)
    try:
        data = ingest(job)
        contract = validate(job, data)
        state = index(job, parts, data)
    finally:
        parts.close()
    latest = data.snapshots[-1]
    is_new = before is None or before.snapshot != latest.sequence
    share = data.documents_loaded / latest.documents if is_new and latest.documents else 0.0
    fall = _canary_fall(job) if is_new else None
    told = {
        "snapshot": latest.sequence,
        "changed_share": round(share, 4),
        "canary_fall": fall,
        "passages_embedded": state.passages_embedded,
        "refused": contract.refused,
    }
    reasons = drift(job, changed_share=share, canary_fall=fall)
    if reasons and before is not None:  # a first load is no drift
        resource = {"prefect.resource.id": drift_resource(job), "prefect.resource.name": job.project.name}
        emit_event(DRIFT_EVENT, resource=resource, payload={**told, "reasons": reasons})
    create_markdown_artifact(key=f"refresh-{job.project.name}", markdown=_page(told, reasons), description="Refresh")
    return {**told, "reasons": reasons}


def drift_resource(job: Job) -> str:
    """Return the name under which events of a project go."""
    return f"steelyard.project.{job.project.name}"


def drift(job: Job, *, changed_share: float, canary_fall: float | None) -> list[str]:
    """Return what is worth a release, in words."""
    triggers, reasons = job.project.triggers, []
    if triggers.changed_share is not None and changed_share >= triggers.changed_share:
        reasons.append(f"{changed_share:.1%} of the documents changed; the trigger is {triggers.changed_share:.1%}")
    if triggers.canary_fall is not None and canary_fall is not None and canary_fall >= triggers.canary_fall:
        reasons.append(f"canary answers fell by {canary_fall:.1%}; the trigger is {triggers.canary_fall:.1%}")
    return reasons


def _canary_fall(job: Job) -> float | None:
    """Return the share of smoke cases that the champion got right when it was weighed and misses now."""
    uri = tracking(job).uri
    champion = champion_of(job.project.name, uri) if job.project.triggers.canary_fall is not None else None
    reviewed = {one.version: one for one in read_proposals(job.project.name, uri)} if champion else {}
    if champion is None or champion not in reviewed:
        return None
    result = check_canaries(job, version=champion, evidence_run=reviewed[champion].evidence_run)
    return None if result.expected == 0 else 1 - result.right / result.expected


def _page(told: dict[str, Any], reasons: list[str]) -> str:
    lines = [f"- {name.replace('_', ' ')}: {value}" for name, value in told.items()]
    return "\n".join([*lines, "", *(reasons or ["No reason for a release."])])
