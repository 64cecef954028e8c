"""The smoke test of a model as it is served: a few of the project's cases, chosen and judged.

Belongs here: which cases, and when the test passes. Not here: loading the model and asking it (see
`flows.stages.smoke`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from steelyard.errors import DataError
from steelyard.records import Case


@dataclass(frozen=True, slots=True)
class SmokeCase:
    """A case, and whether the arm got it right when it was evaluated."""

    case: Case
    was_right: bool


@dataclass(frozen=True, slots=True)
class SmokeResult:
    """How a model as served did: `right` of `expected` cases that were right in the evaluation were so again.

    `fault` is what kept it from answering at all, None when it answered.
    """

    asked: int
    expected: int
    right: int
    fault: str | None = None


def choose_cases(
    cases: Sequence[Case], by_case: Mapping[str, Mapping[str, float | None]], *, count: int
) -> tuple[SmokeCase, ...]:
    """Return up to `count` cases, evenly spaced, of those that the arm got right; of all where it got none right."""
    judged = [SmokeCase(case, was_right(by_case.get(case.id, {}))) for case in cases]
    pool = [one for one in judged if one.was_right] or judged
    if count >= len(pool):
        return tuple(pool)
    return tuple(pool[number * len(pool) // count] for number in range(count))


def was_right(scores: Mapping[str, float | None]) -> bool:
    """Tell whether a case's scores say that its answer was right: the fact, or the refusal where one was due."""
    return 1.0 in {scores.get("fact"), scores.get("refusal")}


def judge_smoke(result: SmokeResult, *, minimum: float) -> str | None:
    """Return why a smoke test failed, or None when it passed: all answered, and `minimum` of what was right still is.

    An arm that got nothing right in the evaluation is only asked to answer.
    """
    if result.fault is not None:
        return result.fault
    if result.expected and result.right / result.expected < minimum:
        return f"as served it gets {result.right} of {result.expected} questions right that it got right before"
    return None


def in_words(result: SmokeResult) -> str:
    """Return a result in one phrase."""
    if result.fault is not None:
        return result.fault
    return f"{result.asked} smoke cases answered, {result.right} of {result.expected} right as before"


def smoke_cases_to_json(cases: Sequence[SmokeCase]) -> str:
    """Return cases as the file that the evidence holds."""
    return json.dumps([asdict(case) for case in cases], ensure_ascii=False, indent=1) + "\n"


def smoke_cases_from_json(text: str) -> tuple[SmokeCase, ...]:
    """Return what `smoke_cases_to_json` wrote; raises `DataError` when the text holds something else."""
    from pydantic import TypeAdapter, ValidationError

    try:
        cases: tuple[SmokeCase, ...] = TypeAdapter(tuple[SmokeCase, ...]).validate_json(text)
    except ValidationError as error:
        raise DataError(f"the evidence's smoke cases cannot be read: {error.errors()[0]['msg']}") from None
    return cases
