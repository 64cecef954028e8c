"""Starting a deployment from outside of Prefect.

Belongs here: one call. Not here: who calls it (see `steelyard.serving.app`).
"""

from __future__ import annotations

from prefect.deployments import run_deployment


def start_review(project: str, *, version: str, delivery: str) -> str:
    """Start the review of a version and return the flow run's id; the same delivery starts one run only."""
    run = run_deployment(
        f"review/{project}", parameters={"version": version}, idempotency_key=f"webhook-{delivery}", timeout=0
    )
    return str(run.id)
