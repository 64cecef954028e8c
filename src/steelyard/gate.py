"""The gate: from scorecards to a verdict on every arm, with reasons.

Belongs here: pure functions, no I/O. Not here: measuring, and what follows from a verdict (see `steelyard.promote`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from steelyard.errors import GateError
from steelyard.records import ARMS, Arm, Rule, Ruling, Score, Scorecard, Verdict

BASELINE: Arm = "rag"  # what a guard-rail's `drop` is measured from
CODE_VERSION = 2  # raise when a verdict comes out differently on the same scorecards
_FEWEST_DISCORDANT = 6  # below it no exact two-sided sign test reaches p <= 0.05: 2 * 0.5 ** 5 = 0.0625


@dataclass(frozen=True, slots=True)
class Limit:
    """A guard-rail: `metric` at least `minimum`, at most `maximum`, or at most `drop` below the baseline, RAG."""

    metric: str
    minimum: float | None = None
    maximum: float | None = None
    drop: float | None = None


@dataclass(frozen=True, slots=True)
class GateRules:
    """What a promotion asks for, in plain values (see `steelyard.config.models.GateSettings`)."""

    metric: str
    margin: float
    significance: float
    minimum: float
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """A paired comparison of two arms on yes/no scores over the same cases."""

    better: Arm
    worse: Arm
    difference: float
    wins: int
    losses: int
    p_value: float


def exact_mcnemar(wins: int, losses: int) -> float:
    """Return the two-sided p value of the exact McNemar test (McNemar 1947; a sign test on discordant pairs)."""
    if wins + losses == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(wins, wins + losses, 0.5).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number (Holm 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def judge(scorecards: Mapping[Arm, Scorecard], rules: GateRules) -> dict[Arm, Verdict]:
    """Rule on every arm that was weighed; at most one is promoted.

    An arm is eligible when it reaches the objective's minimum and keeps every guard-rail. Among eligible arms the
    simplest one wins (base, RAG, tuned, hybrid) unless a less simple one is better by more than the margin in a
    paired exact test, corrected across all comparisons.

    Raises `GateError` when no arm has a score on the objective.
    """
    arms = [arm for arm in ARMS if arm in scorecards]
    if not any(_score(scorecards[arm], rules.metric).n for arm in arms):
        raise GateError(
            f"the gate has no case to compare the arms on: none is scored on {rules.metric}",
            remedy="add answerable cases (kind fact, fresh or injection), or name another gate.objective.metric",
        )
    checked = {arm: _check_arm(scorecards[arm], rules, baseline=scorecards.get(BASELINE)) for arm in arms}
    eligible = [arm for arm in arms if all(rule.is_passed for rule in checked[arm])]
    comparisons = _compare_all(eligible, scorecards, rules)
    winner = _winner(eligible, comparisons, rules)
    return {arm: _verdict(arm, checked[arm], winner, comparisons, rules) for arm in arms}


def _score(card: Scorecard, metric: str) -> Score:
    return card.metrics.get(metric, Score(None, 0))


def _check_arm(card: Scorecard, rules: GateRules, *, baseline: Scorecard | None) -> tuple[Rule, ...]:
    objective = Limit(rules.metric, minimum=rules.minimum)
    return tuple(_check(card, _resolved(limit, baseline)) for limit in (objective, *rules.limits))


def _resolved(limit: Limit, baseline: Scorecard | None) -> Limit:
    """Turn a limit against the baseline into a minimum; without a score of the baseline nobody keeps it."""
    if limit.drop is None:
        return limit
    value = None if baseline is None else _score(baseline, limit.metric).value
    return Limit(limit.metric, minimum=None if value is None else value - limit.drop)


def _check(card: Scorecard, limit: Limit) -> Rule:
    score = _score(card, limit.metric)
    bound, word = (limit.maximum, "at most") if limit.maximum is not None else (limit.minimum, "at least")
    if bound is None:
        return Rule(limit.metric, score.value, None, False, f"{limit.metric} of the baseline was not scored")
    if score.value is None:
        return Rule(limit.metric, None, bound, False, f"{limit.metric} was not scored; asked {word} {bound}")
    is_passed = score.value >= bound if limit.minimum is not None else score.value <= bound
    text = f"{limit.metric} {score.value:.3g} over {score.n}, asked {word} {bound:.3g}"
    return Rule(limit.metric, score.value, bound, is_passed, text)


def _compare_all(eligible: Sequence[Arm], cards: Mapping[Arm, Scorecard], rules: GateRules) -> list[Comparison]:
    pairs = [(a, b) for index, a in enumerate(eligible) for b in eligible[index + 1 :]]
    raw = [_compare(a, b, cards, rules.metric) for a, b in pairs]
    corrected = holm([comparison.p_value for comparison in raw])
    return [
        Comparison(c.better, c.worse, c.difference, c.wins, c.losses, p) for c, p in zip(raw, corrected, strict=True)
    ]


def _compare(simpler: Arm, other: Arm, cards: Mapping[Arm, Scorecard], metric: str) -> Comparison:
    """Compare on every case that either arm is scored on; a missing score counts as wrong."""
    first, second = cards[simpler].by_case, cards[other].by_case
    cases = [case for case in first if metric in first[case] or metric in second.get(case, {})]
    values = [((first[case].get(metric) or 0.0), (second[case].get(metric) or 0.0)) for case in cases]
    wins = sum(b > a for a, b in values)
    losses = sum(a > b for a, b in values)
    difference = sum(b - a for a, b in values) / max(len(values), 1)
    p_value = exact_mcnemar(wins, losses)
    if difference >= 0:
        return Comparison(other, simpler, difference, wins, losses, p_value)
    return Comparison(simpler, other, -difference, losses, wins, p_value)


def _is_superior(comparison: Comparison, rules: GateRules) -> bool:
    return comparison.difference > rules.margin and comparison.p_value <= rules.significance


def _winner(eligible: Sequence[Arm], comparisons: Sequence[Comparison], rules: GateRules) -> Arm | None:
    beaten = {comparison.worse for comparison in comparisons if _is_superior(comparison, rules)}
    return next((arm for arm in eligible if arm not in beaten), None)


def _verdict(
    arm: Arm, checked: tuple[Rule, ...], winner: Arm | None, comparisons: Sequence[Comparison], rules: GateRules
) -> Verdict:
    failed = tuple(rule.explanation for rule in checked if not rule.is_passed)
    if failed:
        return Verdict(arm, "reject", failed, checked)
    if arm == winner:
        return Verdict(arm, "promote", _why_it_won(arm, comparisons, rules), checked)
    against = next(c for c in comparisons if {c.better, c.worse} == {arm, winner})
    ruling, reason = _rule_against_winner(arm, against, rules)
    return Verdict(arm, ruling, (reason,), checked)


def _why_it_won(arm: Arm, comparisons: Sequence[Comparison], rules: GateRules) -> tuple[str, ...]:
    mine = [c for c in comparisons if arm in {c.better, c.worse}]
    if not mine:
        return ("the only arm that reaches the minimum and keeps every guard-rail",)
    beaten = [_tell(c, rules) for c in mine if c.better == arm and _is_superior(c, rules)]
    others = [
        c.worse if c.better == arm else c.better for c in mine if not (c.better == arm and _is_superior(c, rules))
    ]
    simpler = [f"simpler than {other}, which is not better beyond the margin" for other in others]
    return tuple(beaten + simpler)


def _rule_against_winner(arm: Arm, against: Comparison, rules: GateRules) -> tuple[Ruling, str]:
    if against.better != arm and _is_superior(against, rules):
        return "reject", _tell(against, rules)
    is_open = against.better == arm and against.difference > rules.margin
    if is_open and against.wins + against.losses < _FEWEST_DISCORDANT:
        return "cannot tell", (
            f"better than {against.worse} by {against.difference:.3f}, but only {against.wins + against.losses} cases "
            f"tell them apart; {_FEWEST_DISCORDANT} are the fewest that can"
        )
    if is_open:
        return "cannot tell", f"{_tell(against, rules)}: not significant"
    winner = against.worse if against.better == arm else against.better
    return (
        "reject",
        f"not better than {winner}, which wins ties, by more than {rules.margin:g} ({_tell(against, rules)})",
    )


def _tell(comparison: Comparison, rules: GateRules) -> str:
    if comparison.difference == 0:
        return f"{comparison.better} and {comparison.worse} are equal on {rules.metric}"
    return (
        f"{comparison.better} beats {comparison.worse} on {rules.metric} by {comparison.difference:.3f} "
        f"({comparison.wins} cases won, {comparison.losses} lost, p = {comparison.p_value:.2g}, Holm-corrected)"
    )
