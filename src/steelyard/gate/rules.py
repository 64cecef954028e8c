"""What a promotion asks for, and which of it one arm keeps.

Belongs here: limits on single scores. Not here: arms against one another (see `compare`) and the ruling (see `judge`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from steelyard.records import ARMS, Arm, CaseKind, Interval, Rule, Score, Scorecard

SHARES_OF_FAULTS = frozenset({"false_refusal", "unsupported"})  # a missing score counts 1 in their means

Measure = tuple[str, CaseKind | None]  # a metric, over cases of one kind or over all


@dataclass(frozen=True, slots=True)
class Limit:
    """A guard-rail or a budget.

    `metric` (over cases of `kind`, or all) at least `minimum`, at most `maximum`, at most `drop` below the baseline,
    or at most `rise` above it.
    """

    metric: str
    minimum: float | None = None
    maximum: float | None = None
    drop: float | None = None
    rise: float | None = None
    kind: CaseKind | None = None

    @property
    def name(self) -> str:
        """The metric, with the kind of cases where it is limited to one."""
        return self.metric if self.kind is None else f"{self.metric} of {self.kind} cases"


@dataclass(frozen=True, slots=True)
class Cheaper:
    """An arm that is not worse wins where it costs at least `saving` (a share) less, told by `metric`."""

    metric: str
    saving: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRules:
    """What a promotion asks for, in plain values (see `steelyard.config.models.GateSettings`).

    `power` is the probability that "cases to settle" are counted for; `draws` and `seed` are the bootstrap's.
    """

    metric: str
    margin: float
    significance: float
    minimum: float
    draws: int
    seed: int
    power: float
    limits: tuple[Limit, ...] = ()
    cheaper: Cheaper | None = None
    preference: tuple[Arm, ...] = ARMS


@dataclass(frozen=True, slots=True)
class Baseline:
    """What limits of the kind "at most this much worse" are measured from.

    `name` is "champion" or an arm; where the champion's scorecard lacks a score (nobody measured its latency), that of
    `fallback` counts.
    """

    name: str
    card: Scorecard | None
    fallback: Scorecard | None = None

    def value(self, limit: Limit) -> float | None:
        """Return the baseline's score, or None when it was not scored."""
        values = (score_of(card, limit).value for card in (self.card, self.fallback) if card is not None)
        return next((value for value in values if value is not None), None)


def score_of(card: Scorecard, limit: Limit) -> Score:
    """Return the score that a limit is about."""
    scores = card.metrics if limit.kind is None else card.by_kind.get(limit.kind, {})
    return scores.get(limit.metric, Score(None, 0))


def check_arm(
    card: Scorecard, rules: GateRules, *, baseline: Baseline, intervals: Mapping[Measure, Interval]
) -> tuple[Rule, ...]:
    """Return every rule as it came out for an arm: the objective's minimum, guard-rails and budgets in their order."""
    objective = Limit(rules.metric, minimum=rules.minimum)
    return tuple(
        replace(_check(card, limit, baseline), interval=intervals.get((limit.metric, limit.kind)))
        for limit in (objective, *rules.limits)
    )


def _check(card: Scorecard, limit: Limit, baseline: Baseline) -> Rule:
    score, (bound, is_floor, origin) = score_of(card, limit), _bound(limit, baseline)
    asked = "at least" if is_floor else "at most"
    if bound is None:
        return Rule(limit.name, score.value, None, False, f"{limit.name} of the baseline, {baseline.name}, not scored")
    measured = _counted_against(score, limit.metric, is_floor=is_floor)
    if measured is None:
        missing = f" for {score.not_scored} of {score.n} cases" if score.value is not None else ""
        text = f"{limit.name} was not scored{missing}; asked {asked} {bound:.3g}{origin}"
        return Rule(limit.name, None, bound, False, text)
    is_passed = measured >= bound if is_floor else measured <= bound
    text = f"{limit.name} {measured:.3g} over {score.n}, asked {asked} {bound:.3g}{origin}"
    return Rule(limit.name, measured, bound, is_passed, text)


def _bound(limit: Limit, baseline: Baseline) -> tuple[float | None, bool, str]:
    """Return the limit as a number, whether it is a floor, and where it comes from; None without a baseline."""
    if limit.minimum is not None:
        return limit.minimum, True, ""
    if limit.maximum is not None:
        return limit.maximum, False, ""
    value = baseline.value(limit)
    if limit.drop is not None:
        return None if value is None else value - limit.drop, True, f" ({limit.drop:g} below {baseline.name})"
    rise = limit.rise or 0.0
    return None if value is None else value + rise, False, f" ({rise:g} above {baseline.name})"


def _counted_against(score: Score, metric: str, *, is_floor: bool) -> float | None:
    """Return a mean in which what was not scored counts against the arm, or None where it does not.

    A mean counts a missing score as 0, in a share of faults as 1. A cost or a time has no worst value: under a
    maximum, one that was not measured for every case is not kept.
    """
    is_counted = is_floor or not score.not_scored or metric in SHARES_OF_FAULTS
    return score.value if is_counted else None
