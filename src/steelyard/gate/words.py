"""The gate's reasons in words.

Belongs here: sentences about comparisons. Not here: deciding (see `judge`).
"""

from __future__ import annotations

from steelyard.gate.compare import Contrast
from steelyard.gate.power import Criterion, cases_to_find
from steelyard.gate.rules import GateRules
from steelyard.records import Interval
from steelyard.statistics import FEWEST_DIFFERING


def tell(contrast: Contrast) -> str:
    """Return which of two arms is ahead, by how much, and how sure that is."""
    if contrast.comparison.difference < 0:
        contrast = contrast.seen_from(contrast.comparison.baseline)
    own = contrast.comparison
    if own.wins == own.losses == 0:
        return f"{own.arm} and {own.baseline} are equal on {own.metric} in all {own.ties} cases"
    if own.difference == 0:
        return f"{own.arm} and {own.baseline} are equal on {own.metric} ({own.wins} cases won, {own.losses} lost)"
    correction = "" if own.p_corrected == own.p_value else ", Holm-corrected"
    return (
        f"{own.arm} beats {own.baseline} on {own.metric} by {own.difference:.3f}{in_brackets(own.interval)} "
        f"({own.wins} cases won, {own.losses} lost, p = {own.p_corrected:.2g}{correction})"
    )


def in_brackets(interval: Interval | None) -> str:
    """Return the ends of an interval, after a space."""
    return "" if interval is None else f" [{interval.low:.2f}, {interval.high:.2f}]"


def tell_cheaper(contrast: Contrast, rules: GateRules) -> str:
    """Return why an arm wins without being better."""
    own = contrast.comparison
    metric = "" if rules.cheaper is None else rules.cheaper.metric
    return (
        f"{own.arm} is not worse than {own.baseline} on {own.metric} by {rules.margin:g} "
        f"(difference {own.difference:+.3f}, at least {contrast.lower_bound:+.3f}) and cheaper by {metric}"
    )


def tell_difference(contrast: Contrast) -> str:
    """Return the difference from the first arm's side."""
    own = contrast.comparison
    return f"{own.metric} {own.difference:+.3f}{in_brackets(own.interval)} against the {own.baseline}"


def tell_open(contrast: Contrast, rules: GateRules, *, comparisons: int) -> str:
    """Return why a difference beyond the margin is no verdict, and how many cases would settle it."""
    own = contrast.comparison
    settle = _cases_that_settle(contrast, rules, comparisons=comparisons)
    told = own.wins + own.losses
    if told < FEWEST_DIFFERING:
        return (
            f"better than {own.baseline} by {own.difference:.3f}{in_brackets(own.interval)}, but only {told} cases "
            f"tell them apart; {FEWEST_DIFFERING} are the fewest that can; {settle}"
        )
    if contrast.differing < FEWEST_DIFFERING:
        return (
            f"{tell(contrast)}: only {contrast.differing} documents tell them apart; {FEWEST_DIFFERING} are the fewest "
            f"that can; {settle}"
        )
    return f"{tell(contrast)}: not significant; {settle}"


def _cases_that_settle(contrast: Contrast, rules: GateRules, *, comparisons: int) -> str:
    difference = abs(contrast.comparison.difference)
    needed = cases_to_find(
        difference=difference,
        disagreement=contrast.disagreement,
        power=rules.power,
        test=Criterion(rules.significance / max(comparisons, 1), rules.margin),
    )
    if needed is None:
        return f"no number of cases settles a difference as near to the margin of {rules.margin:g}"
    return f"about {_rounded(needed * contrast.effect):,} cases would settle it if it is as large as measured"


def _rounded(cases: float) -> int:
    """Return a number of cases in two digits: an estimate is no better."""
    return int(float(f"{cases:.1e}")) if cases >= 100 else round(cases)  # noqa: PLR2004 - two digits as they are


def tell_too_few(cases: int, clusters: int) -> str:
    """Return why no verdict is possible."""
    return (
        f"no verdict is possible: {cases} cases of {clusters} documents; below {FEWEST_DIFFERING} discordant pairs, of "
        f"as many documents, no difference can be told from chance"
    )
