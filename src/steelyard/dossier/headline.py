"""The verdict in one sentence with its reason, and what would change it.

Belongs here: sentences made from a judgement. Not here: judging.
"""

from __future__ import annotations

import math
from dataclasses import replace

from steelyard.dossier.content import Dossier
from steelyard.metrics import metric
from steelyard.records import Arm, Comparison, Interval, Rule
from steelyard.words import arm_name, interval_in_words, level_in_words, listed, percent, points, quantity


def headline(dossier: Dossier) -> str:
    """Return the verdict: "hybrid is promoted" or "no arm is promoted"."""
    return f"{arm_name(dossier.promoted)} is promoted" if dossier.promoted else "No arm is promoted"


def reason(dossier: Dossier) -> str:
    """Return why, as the second half of a sentence."""
    if dossier.promoted is None:
        return _why_none(dossier)
    return ", ".join(part for part in (_reached(dossier, dossier.promoted), *_why(dossier, dossier.promoted)) if part)


def _reached(dossier: Dossier, arm: Arm) -> str:
    name = dossier.objective.metric
    score = dossier.scorecards[arm].metrics.get(name)
    if score is None or score.value is None:
        return f"it was not scored on {name}"
    within = dossier.judgement.intervals.get(arm, {}).get(name)
    return f"it reaches {percent(score.value)} on {metric(name).label.lower()} over {score.n} cases{_within(within)}"


def _within(interval: Interval | None) -> str:
    if interval is None:
        return ""
    return f" ({level_in_words(interval)} interval {interval_in_words(interval, 'share')})"


def _why(dossier: Dossier, arm: Arm) -> tuple[str, ...]:
    beaten = [c for c in comparisons_of(dossier, arm) if is_superior(dossier, c)]
    verdict = dossier.judgement.verdicts[arm]
    kept = f"and keeps {'its one rule' if len(verdict.rules) == 1 else f'all {len(verdict.rules)} rules'}"
    if beaten:
        nearest = min(beaten, key=lambda c: c.difference)
        return f"{points(nearest.difference).removeprefix('+')} above {arm_name(nearest.baseline)}", kept
    return (*verdict.reasons[:1], kept)


def _why_none(dossier: Dossier) -> str:
    undecided = [arm for arm in dossier.arms if dossier.ruling(arm) == "cannot tell"]
    arm = undecided[0] if undecided else best_arm(dossier)
    verdict = dossier.judgement.verdicts.get(arm)
    told = "; ".join(verdict.reasons) if verdict else "not judged"
    return f"{'undecided:' if undecided else 'the best on the objective is'} {arm_name(arm)}: {told}"


def best_arm(dossier: Dossier) -> Arm:
    """Return the arm with the highest mean on the objective; the simplest of several."""

    def value(arm: Arm) -> float:
        score = dossier.scorecards[arm].metrics.get(dossier.objective.metric)
        return -1.0 if score is None or score.value is None else score.value

    return max(dossier.arms, key=value)


def comparisons_of(dossier: Dossier, arm: Arm) -> list[Comparison]:
    """Return an arm's comparisons on the objective, all seen from that arm."""
    seen = [c for c in dossier.judgement.comparisons if c.metric == dossier.objective.metric]
    return [c if c.arm == arm else turned(c) for c in seen if arm in {c.arm, c.baseline}]


def turned(comparison: Comparison) -> Comparison:
    """Return the same comparison seen from the other arm."""
    seen = comparison.interval
    return replace(
        comparison,
        arm=comparison.baseline,
        baseline=comparison.arm,
        difference=-comparison.difference,
        interval=None if seen is None else replace(seen, low=-seen.high, high=-seen.low),
        wins=comparison.losses,
        losses=comparison.wins,
    )


def is_superior(dossier: Dossier, comparison: Comparison) -> bool:
    """Tell whether a comparison is a win: by more than the margin, and not by chance."""
    objective = dossier.objective
    return comparison.difference > objective.margin and comparison.p_corrected <= objective.significance


def what_would_change(dossier: Dossier) -> list[str]:
    """Return what would have to be otherwise for another verdict, one sentence each."""
    found = []
    for arm in dossier.arms:
        verdict = dossier.judgement.verdicts.get(arm)
        if verdict is None:
            continue
        failed = [rule for rule in verdict.rules if not rule.is_passed]
        if verdict.ruling == "promote":
            found += _nearest_limit(dossier, arm, verdict.rules)
        elif failed:
            found.append(f"{arm_name(arm)} would need {listed([_missing(dossier, arm, rule) for rule in failed])}.")
        elif verdict.ruling == "reject":
            margin = points(dossier.objective.margin).removeprefix("+")
            found.append(f"{arm_name(arm)} keeps every rule; it would have to be better by more than {margin}.")
    return [*found, *_more_cases(dossier)]


def _nearest_limit(dossier: Dossier, arm: Arm, rules: tuple[Rule, ...]) -> list[str]:
    """Tell which rule the promoted arm keeps by the least."""
    shares = [
        (rule, abs(rule.measured - rule.limit))
        for rule in rules
        if rule.measured is not None and rule.limit is not None and metric(rule.name).unit == "share"
    ]
    if not shares:
        return []
    rule, slack = min(shares, key=lambda pair: pair[1])
    cases = _cases(dossier, arm, rule.name, slack)
    return [
        f"{arm_name(arm)} would lose its promotion first over {metric(rule.name).label.lower()}: "
        f"{percent(rule.measured or 0)} where {percent(rule.limit or 0)} is asked, "
        f"{points(slack).removeprefix('+')} away{cases}."
    ]


def _missing(dossier: Dossier, arm: Arm, rule: Rule) -> str:
    known = metric(rule.name)
    name = known.label.lower()
    if rule.measured is None or rule.limit is None:
        return f"{name} to be measured"
    asked, seen = (quantity(value, known.unit, currency=dossier.currency) for value in (rule.limit, rule.measured))
    cases = _cases(dossier, arm, rule.name, abs(rule.measured - rule.limit)) if known.unit == "share" else ""
    return f"{name} of {asked} instead of {seen}{cases}"


def _cases(dossier: Dossier, arm: Arm, name: str, gap: float) -> str:
    score = dossier.scorecards[arm].metrics.get(name)
    if score is None or not score.n:
        return ""
    count = max(1, math.ceil(gap * score.n - 1e-9))  # 0.05 * 100 is a little more than 5
    return f" ({count} of {score.n} answers)"


def _more_cases(dossier: Dossier) -> list[str]:
    power = dossier.judgement.power
    undecided = [arm_name(arm) for arm in dossier.arms if dossier.ruling(arm) == "cannot tell"]
    if not undecided or power is None or power.cases_to_settle is None:
        return []
    return [
        f"About {power.cases_to_settle:,} cases would settle what cannot be told about {listed(undecided)} "
        f"with {power.cases:,}."
    ]
