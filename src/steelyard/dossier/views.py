"""What stands in the tables of a page: rows of text made from a dossier.

Belongs here: choosing and wording rows. Not here: markup (see `templates/`) and the decision table (see `criteria`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steelyard.dossier.content import Dossier
from steelyard.dossier.headline import comparisons_of
from steelyard.metrics import metric
from steelyard.records import CASE_KINDS, Arm, Case, Comparison, Interval, Score
from steelyard.statistics import cluster_sums, share_interval
from steelyard.words import NOT_MEASURED, arm_name, interval_in_words, level_in_words, points, quantity

KIND_LEVEL = 0.95  # the level of the gate's own intervals


@dataclass(frozen=True, slots=True)
class ArmCard:
    """One arm at a glance: its ruling, its value on the objective, why."""

    name: Arm
    ruling: str
    value: str
    interval: str
    reasons: tuple[str, ...]

    @property
    def label(self) -> str:
        """The arm's name for people."""
        return arm_name(self.name)


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """One comparison as text."""

    arm: str
    baseline: str
    difference: str
    interval: str
    wins: int
    losses: int
    ties: int
    clusters: int
    p: str
    method: str


@dataclass(frozen=True, slots=True)
class KindRow:
    """One kind of case: what counts as right there, and each arm's score with its interval."""

    kind: str
    label: str
    cases: int
    scores: tuple[tuple[Arm, Score, Interval | None], ...]

    @property
    def values(self) -> list[str]:
        """The scores as text, with their intervals."""
        return [
            f"{quantity(score.value, 'share')} ({interval_in_words(interval, 'share')})"
            if interval and score.value is not None
            else quantity(score.value, "share")
            for _, score, interval in self.scores
        ]


@dataclass(frozen=True, slots=True)
class RuleRow:
    """One rule of one arm as text."""

    arm: Arm
    label: str
    measured: str
    interval: str
    limit: str
    is_passed: bool
    words: str


def arm_cards(dossier: Dossier) -> list[ArmCard]:
    """Return a card for every arm."""
    return [_card(dossier, arm) for arm in dossier.arms]


def _card(dossier: Dossier, arm: Arm) -> ArmCard:
    name = dossier.objective.metric
    score = dossier.scorecards[arm].metrics.get(name, Score(None, 0))
    interval = dossier.judgement.intervals.get(arm, {}).get(name)
    verdict = dossier.judgement.verdicts.get(arm)
    return ArmCard(
        name=arm,
        ruling=dossier.ruling(arm),
        value=quantity(score.value, metric(name).unit),
        interval=f"{level_in_words(interval)} interval {interval_in_words(interval, 'share')}" if interval else "",
        reasons=verdict.reasons if verdict else (),
    )


def shown_comparisons(dossier: Dossier) -> list[Comparison]:
    """Return the comparisons on the objective: the promoted arm's first and seen from it, then the others."""
    mine = comparisons_of(dossier, dossier.promoted) if dossier.promoted else []
    rest = [
        c
        for c in dossier.judgement.comparisons
        if c.metric == dossier.objective.metric and dossier.promoted not in {c.arm, c.baseline}
    ]
    return [*mine, *rest]


def comparison_row(comparison: Comparison) -> ComparisonRow:
    """Return a comparison as text."""
    seen = comparison.interval
    p = comparison.p_corrected
    return ComparisonRow(
        arm=comparison.arm,
        baseline=comparison.baseline,
        difference=points(comparison.difference),
        interval=f"{level_in_words(seen)}: {points(seen.low).partition(' ')[0]} to {points(seen.high)}" if seen else "",
        wins=comparison.wins,
        losses=comparison.losses,
        ties=comparison.ties,
        clusters=comparison.clusters,
        p="< 0.001" if p < 0.001 else f"{p:.3f}",  # noqa: PLR2004 - more digits tell nothing
        method=seen.method if seen else "",
    )


def kind_rows(dossier: Dossier) -> list[KindRow]:
    """Return a row for every kind of case that was asked."""
    rows = []
    for kind in CASE_KINDS:
        cases = [case for case in dossier.cases if case.kind == kind]
        name = dossier.deciding_metric(kind)
        scores = [
            (
                arm,
                dossier.scorecards[arm].by_kind.get(kind, {}).get(name, Score(None, 0)),
                _interval(dossier, arm, cases),
            )
            for arm in dossier.arms
        ]
        if cases:
            rows.append(KindRow(kind, metric(name).label, len(cases), tuple(scores)))
    return rows


def _interval(dossier: Dossier, arm: Arm, cases: Sequence[Case]) -> Interval | None:
    """Return Wilson's interval of the share of right answers, over documents; None for scores that are no yes or no."""
    import numpy as np

    rows = dossier.scorecards[arm].by_case
    name = dossier.deciding_metric(cases[0].kind) if cases else ""
    scored = [case for case in cases if name in rows.get(case.id, {})]
    if not scored or not metric(name).is_yes_no:
        return None
    values = np.array([[rows[case.id][name] or 0.0 for case in scored]])
    bounds = share_interval(cluster_sums(values, [case.cluster or case.id for case in scored]), level=KIND_LEVEL)
    return Interval(float(bounds.low[0]), float(bounds.high[0]), KIND_LEVEL, "Wilson, effective number of cases")


def rule_rows(dossier: Dossier) -> list[RuleRow]:
    """Return every rule of every arm."""
    rows = []
    for arm in dossier.arms:
        verdict = dossier.judgement.verdicts.get(arm)
        for rule in verdict.rules if verdict else ():
            known = metric(rule.name)
            rows.append(
                RuleRow(
                    arm=arm,
                    label=known.label,
                    measured=quantity(rule.measured, known.unit, currency=dossier.currency),
                    interval=interval_in_words(rule.interval, known.unit, currency=dossier.currency),
                    limit=_limit(rule.limit, dossier, rule.name),
                    is_passed=rule.is_passed,
                    words=rule.explanation,
                )
            )
    return rows


def _limit(limit: float | None, dossier: Dossier, name: str) -> str:
    return "none" if limit is None else quantity(limit, metric(name).unit, currency=dossier.currency)


def break_even_words(dossier: Dossier) -> str:
    """Return from how many questions a day an arm is cheaper than RAG, or that this was not measured."""
    found = {}
    for arm in dossier.arms:
        score = dossier.scorecards[arm].metrics.get("break_even_queries_per_day")
        if score is not None and score.n:
            found[arm] = "never" if score.value is None else f"from {quantity(score.value, 'count')} questions a day"
    if not found:
        return f"Break-even against RAG: {NOT_MEASURED}."
    told = "; ".join(f"{arm} {when}" for arm, when in found.items())
    return f"Cheaper than RAG, training and retraining included: {told}."
