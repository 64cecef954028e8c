"""What an evaluation teaches about the next one: how often two arms differ, and how much documents hang together.

Belongs here: the two numbers that power depends on. Not here: power (see `power`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from steelyard.gate.compare import Sample, contrasts
from steelyard.gate.power import mean_cluster_size
from steelyard.gate.rules import GateRules
from steelyard.records import Arm, Case, Scorecard

_UNCOMPARED_KINDS = frozenset({"unanswerable", "retention"})  # they have scores of their own, and no objective's


class Expectation(NamedTuple):
    """The share of cases on which two arms differ, and the correlation of differences within a document."""

    disagreement: float
    correlation: float


def measured(scorecards: Mapping[Arm, Scorecard], rules: GateRules, *, cases: Sequence[Case]) -> Expectation | None:
    """Return what the two arms that score highest on the objective show; None where they never differ."""
    scored = {arm: card.metrics[rules.metric].value for arm, card in scorecards.items() if rules.metric in card.metrics}
    best = sorted((arm for arm in scored if scored[arm] is not None), key=lambda arm: -(scored[arm] or 0.0))[:2]
    if len(best) < 2:  # noqa: PLR2004 - a pair
        return None
    sample = Sample.of(cases).scored_on(rules.metric, [scorecards[arm] for arm in best])
    (contrast,) = contrasts([(best[0], best[1])], {arm: scorecards[arm] for arm in best}, sample, rules)
    if contrast.disagreement == 0:
        return None
    size = mean_cluster_size(cluster_sizes(sample.clusters))
    correlation = (contrast.effect - 1) / (size - 1) if size > 1 else 0.0
    return Expectation(contrast.disagreement, min(max(correlation, 0.0), 1.0))


def compared_clusters(cases: Sequence[Case]) -> tuple[int, ...]:
    """Return the number of cases of each document among those that arms will be compared on."""
    sample = Sample.of([case for case in cases if case.kind not in _UNCOMPARED_KINDS])
    return cluster_sizes(sample.clusters)


def cluster_sizes(clusters: Sequence[str]) -> tuple[int, ...]:
    """Return how many cases each cluster has, in the order of their names."""
    from collections import Counter

    return tuple(count for _, count in sorted(Counter(clusters).items()))
