"""What a gate can see: power before an evaluation, and the cases that would settle an open comparison after it.

Belongs here: formulas for the exact test of two arms, and their result in words. Not here: the test itself (see
`steelyard.statistics`).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from steelyard.records import Power
from steelyard.statistics import FEWEST_DIFFERING

_MOST_CASES = 1_000_000  # nobody writes more: "no number of cases would do"
_DEVIATIONS = 6.0  # how far from its mean a count is looked at: what is beyond has a probability below 1e-8
_PRECISION = 0.002  # of a detectable difference: a fifth of a point
_MANY_CLUSTERS = 50
_EXPERIMENTS, _SEED = 4_000, 17  # a simulated power is known to a point; the same question has the same answer


class Criterion(NamedTuple):
    """A decision to be made: the largest p value and the margin that a difference has to exceed."""

    significance: float
    margin: float


def power_of(cases: float, *, difference: float, disagreement: float, test: Criterion) -> float:
    """Return the probability that a true difference is found in so many independent cases.

    `disagreement` is the share of cases that one arm gets right and the other wrong. The sum is exact over the
    number of discordant cases and the wins among them (Fagerland, Lydersen and Laake 2013; unconditional power:
    Duffy, Biometrics 40 (1984) 1005).
    """
    import numpy as np
    from scipy.special import bdtr, bdtrik, gammaln, xlog1py, xlogy

    total = max(round(cases), 1)
    disagreement = min(max(disagreement, difference), 1.0)
    if disagreement <= 0:
        return 0.0
    reach = _DEVIATIONS * math.sqrt(total * disagreement * (1 - disagreement)) + 1
    discordant = np.arange(
        max(FEWEST_DIFFERING, int(total * disagreement - reach)),
        min(total, math.ceil(total * disagreement + reach)) + 1,
    )
    # the most losses that are still significant; -1 where none are few enough
    allowed = np.ceil(np.nan_to_num(bdtrik(test.significance / 2, discordant, 0.5)))
    allowed -= bdtr(allowed, discordant, 0.5) > test.significance / 2
    beyond_margin = np.ceil((discordant - test.margin * total) / 2) - 1  # wins - losses > margin * total
    losses = np.minimum(allowed, beyond_margin)
    chance_of_loss = (disagreement - difference) / (2 * disagreement)
    found = np.where(losses < 0, 0.0, bdtr(np.maximum(losses, 0), discordant, chance_of_loss))
    ways = gammaln(total + 1) - gammaln(discordant + 1) - gammaln(total - discordant + 1)
    chances = np.exp(ways + xlogy(discordant, disagreement) + xlog1py(total - discordant, -disagreement))
    return float((found * chances).sum())


def power_in_clusters(
    cluster_sizes: tuple[int, ...], *, difference: float, disagreement: float, correlation: float, test: Criterion
) -> float:
    """Return the probability that a true difference is found in cases that come in clusters.

    Many clusters are treated as the independent cases that they are worth. Few are simulated: their sums take more
    values than single cases do, and the test wastes less of its significance than the effective number says.
    """
    effect = power_effect(cluster_sizes, correlation=correlation)
    if effect == 1 or len(cluster_sizes) >= _MANY_CLUSTERS:
        return power_of(sum(cluster_sizes) / effect, difference=difference, disagreement=disagreement, test=test)
    return _simulated_power(cluster_sizes, difference, max(disagreement, difference), correlation, test)


def _simulated_power(
    cluster_sizes: tuple[int, ...], difference: float, disagreement: float, correlation: float, test: Criterion
) -> float:
    """Simulate evaluations in which a case copies its cluster's outcome with probability sqrt(correlation)."""
    import numpy as np

    from steelyard.statistics import sign_flip_test

    random, cases = np.random.default_rng(_SEED), sum(cluster_sizes)
    cluster: Any = np.repeat(np.arange(len(cluster_sizes)), cluster_sizes)
    own, common = random.random((_EXPERIMENTS, cases)), random.random((_EXPERIMENTS, len(cluster_sizes)))[:, cluster]
    drawn = np.where(random.random((_EXPERIMENTS, cases)) < math.sqrt(correlation), common, own)
    lost = (disagreement - difference) / 2
    outcomes = (drawn >= 1 - (disagreement - lost)).astype(float) - (drawn < lost)
    sums = np.add.reduceat(outcomes, np.cumsum([0, *cluster_sizes[:-1]]), axis=1)
    found = (sign_flip_test(sums) <= test.significance) & (outcomes.mean(axis=1) > test.margin)
    return float(found.mean())


def detectable_difference(
    cluster_sizes: tuple[int, ...], *, disagreement: float, correlation: float, power: float, test: Criterion
) -> float | None:
    """Return the smallest true difference that is found with this power; None where not even the largest is."""

    def power_at(difference: float) -> float:
        return power_in_clusters(
            cluster_sizes, difference=difference, disagreement=disagreement, correlation=correlation, test=test
        )

    if len(cluster_sizes) < FEWEST_DIFFERING or power_at(1.0) < power:
        return None
    low, high = 0.0, 1.0
    while high - low > _PRECISION:
        middle = (low + high) / 2
        if power_at(middle) < power:
            low = middle
        else:
            high = middle
    return high


def cases_to_find(*, difference: float, disagreement: float, power: float, test: Criterion) -> int | None:
    """Return how many independent cases find a true difference with this power; None where no number does.

    A difference of no more than the margin is never found reliably, however many cases there are.
    """
    if difference <= test.margin:
        return None
    high = FEWEST_DIFFERING
    while power_of(high, difference=difference, disagreement=disagreement, test=test) < power:
        high *= 2
        if high > _MOST_CASES:
            return None
    low = high // 2
    while high - low > max(1, high // 200):  # to half a per cent: more would be a false promise
        middle = (low + high) // 2
        if power_of(middle, difference=difference, disagreement=disagreement, test=test) < power:
            low = middle
        else:
            high = middle
    return high


def power_effect(cluster_sizes: tuple[int, ...], *, correlation: float) -> float:
    """Return how many times as many cases are needed because cases of a cluster hang together.

    1 + (m - 1) * correlation, with m the mean size of the cluster that a case is in (Kish 1965, 8.2; unequal sizes:
    Kerry and Bland, Statistics in Medicine 20 (2001) 377).
    """
    return 1.0 + max(mean_cluster_size(cluster_sizes) - 1.0, 0.0) * correlation


def mean_cluster_size(cluster_sizes: tuple[int, ...]) -> float:
    """Return the mean size of the cluster that a case is in: large ones count as often as they have cases."""
    return sum(size * size for size in cluster_sizes) / max(sum(cluster_sizes), 1)


def expected_power(
    cluster_sizes: tuple[int, ...],
    *,
    difference: float,
    disagreement: float,
    correlation: float,
    power: float,
    test: Criterion,
) -> Power:
    """Return what a gate will see in an evaluation whose cases come in clusters of these sizes."""
    cases = sum(cluster_sizes)
    effect = power_effect(cluster_sizes, correlation=correlation)
    needed = cases_to_find(difference=difference, disagreement=disagreement, power=power, test=test)
    return Power(
        cases=cases,
        clusters=len(cluster_sizes),
        disagreement=disagreement,
        significance=test.significance,
        power=power,
        detectable=detectable_difference(
            cluster_sizes, disagreement=disagreement, correlation=correlation, power=power, test=test
        ),
        cases_to_settle=None if needed is None else math.ceil(needed * effect),
    )


def power_in_words(power: Power) -> str:
    """Return one sentence: how small a difference between two arms this gate can see."""
    documents = "" if power.clusters == power.cases else f" of {power.clusters:,} documents"
    head = f"{power.cases:,} cases{documents}, {power.disagreement:.0%} disagreement"
    if power.detectable is None:
        return f"{head}: this gate can see no difference; two arms must differ on {FEWEST_DIFFERING} cases at least"
    return f"{head}: this gate can see {100 * power.detectable:.0f} points"
