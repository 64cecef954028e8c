"""The smoke test: a few of the project's cases, asked of a registered version as it is served.

Belongs here: loading the version and scoring its answers. Not here: which cases, and when the test passes (see
`steelyard.review.smoke`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from flows.build import Job, output_rules, tracking
from steelyard.errors import ConfigError, DataError
from steelyard.evaluate.scores import score_case
from steelyard.promote.seal import read_text
from steelyard.records import Answer, Arm
from steelyard.review.smoke import SmokeCase, SmokeResult, smoke_cases_from_json, was_right
from steelyard.serving.loading import load_served

SMOKE_FILE = "smoke-cases.json"  # in the run of the evidence


def index_settings(job: Job) -> dict[str, Any] | None:
    """Return where the index lies now: a project's folder may have moved since a version was registered."""
    return {"path": str(job.workspace.index)} if job.project.index.store.type == "lancedb" else None


def smoke_test(job: Job, *, version: str, evidence_run: str) -> SmokeResult:
    """Ask a version the smoke cases of its evidence.

    What is wrong with the version or its data is a result; raises `ServiceError` when something outside cannot be
    reached, because that says nothing about the version.
    """
    cases = smoke_cases(job, evidence_run)
    if not cases:
        return SmokeResult(0, 0, 0, fault="its evidence holds no smoke cases")
    expected = sum(case.was_right for case in cases)
    try:
        served = load_served(
            job.project.name, version, tracking(job).uri, cache=job.cache, index_settings=index_settings(job)
        )
        replies = served([one.case.question for one in cases])
    except (DataError, ConfigError) as error:
        return SmokeResult(len(cases), expected, 0, fault=str(error.args[0]))
    right = sum(one.was_right and _is_right(job, one, reply) for one, reply in zip(cases, replies, strict=True))
    return SmokeResult(len(cases), expected, right)


def smoke_cases(job: Job, evidence_run: str) -> Sequence[SmokeCase]:
    """Return the smoke cases that an evidence holds; none when it holds none."""
    text = read_text(evidence_run, SMOKE_FILE, tracking(job).uri)
    return () if text is None else smoke_cases_from_json(text)


def _is_right(job: Job, one: SmokeCase, reply: Mapping[str, Any]) -> bool:
    answer = Answer(cast(Arm, reply["arm"]), one.case.id, str(reply["answer"]), (), (), 0, 0, "")
    return was_right(score_case(one.case, answer, (), output_rules(job)))
