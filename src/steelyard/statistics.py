"""Tests and intervals for scores that are paired by case and clustered by document.

Belongs here: pure, vectorised functions on arrays, each with its source. Not here: power (see `steelyard.gate.power`)
and what a result leads to (see `steelyard.gate`).

Shapes: the last axis is what is summed over (cases or clusters), all axes before it are rows computed side by side:
arms, metrics or simulated experiments.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

FEWEST_DIFFERING = 6  # below it no sign test of two sides reaches p <= 0.05: 2 * 0.5 ** 5 = 0.0625
_FEWEST_STEPS = 4_094  # of the grid that graded sums are rounded to; two less than a power of two, as all grids
_STEPS_A_CLUSTER = 16  # on average: rounding then moves a total by about a hundredth of its spread
_MOST_WHOLE_STEPS = 8_190  # whole sums are taken as they are up to this total
_CELLS_AT_ONCE = 4_000_000  # 32 MB of floats: what one chunk may hold


class Clustered(NamedTuple):
    """Sums of values and numbers of cases by cluster, both (..., clusters); clusters in the order of their names."""

    sums: Floats
    counts: Floats


class Bounds(NamedTuple):
    """Lower and upper ends of intervals, one a row."""

    low: Floats
    high: Floats


def cluster_sums(values: Floats, clusters: Sequence[str], *, cases: Sequence[str] | None = None) -> Clustered:
    """Sum values (..., rows of data) by cluster; NaN marks a case that a value does not apply to.

    Where a case was repeated, `cases` names the case of each value: repeats are averaged first, so that a case counts
    once however often it was asked.
    """
    values = np.asarray(values, dtype=float)
    if cases is not None:
        first = {case: place for place, case in reversed(list(enumerate(cases)))}
        repeats = _grouped(values, cases)
        with np.errstate(invalid="ignore"):
            values = repeats.sums / repeats.counts
        clusters = [clusters[first[case]] for case in sorted(first)]
    return _grouped(values, clusters)


def _grouped(values: Floats, names: Sequence[str]) -> Clustered:
    _, group = np.unique(np.asarray(names), return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    ordered = values[..., order]
    applies = ~np.isnan(ordered)
    return Clustered(
        np.add.reduceat(np.where(applies, ordered, 0.0), starts, axis=-1),
        np.add.reduceat(applies.astype(float), starts, axis=-1),
    )


def exact_mcnemar(wins: NDArray[np.int64] | int, losses: NDArray[np.int64] | int) -> Floats:
    """Return the two-sided p values of the exact McNemar test: a sign test on discordant pairs.

    McNemar, Psychometrika 12 (1947) 153; exact form: Fagerland, Lydersen and Laake, BMC Med Res Methodol 13 (2013) 91.
    """
    from scipy.special import bdtr  # the binomial distribution function; scipy.stats takes seconds to import

    fewer, total = np.minimum(wins, losses), np.add(wins, losses)
    return np.asarray(np.minimum(1.0, 2 * bdtr(fewer, total, 0.5)), dtype=float)


def sign_flip_test(sums: Floats) -> Floats:
    """Return the two-sided exact p values of "no difference" from sums of differences (..., clusters).

    When two arms are equal, which is which in a cluster is a coin's toss: every sum is as likely with the opposite
    sign, however strongly the cases within a cluster hang together. The p value is the share of all sign patterns
    whose total is at least as far from zero (Fisher, The Design of Experiments, 1935, section 21; for clusters:
    Gail et al., Statistics in Medicine 15 (1996) 1069). All patterns are counted, none are drawn: the distribution
    of the total is the product of cosines, transformed back (Pagano and Tritchler, JASA 78 (1983) 435). With one
    yes/no case a cluster this is the exact McNemar test. Sums that are not whole are rounded to 16 steps a
    cluster or more, which keeps the test exact.
    """
    rows = np.atleast_2d(np.asarray(sums, dtype=float))
    signed = _on_grid(rows.reshape(-1, rows.shape[-1]))
    steps = np.abs(signed)
    if steps.max(initial=0) <= 1:
        p_values = exact_mcnemar((signed > 0).sum(axis=1), (signed < 0).sum(axis=1))
    else:
        p_values = np.concatenate([_tail(signed[some], steps[some]) for some in _row_chunks(steps)])
    return p_values.reshape(np.shape(sums)[:-1])


def _on_grid(rows: Floats) -> NDArray[np.int64]:
    totals = np.abs(rows).sum(axis=1, keepdims=True)
    is_whole = np.all(rows == np.rint(rows), axis=1, keepdims=True) & (totals <= _MOST_WHOLE_STEPS)
    steps = max(_FEWEST_STEPS, _power_of_two(_STEPS_A_CLUSTER * rows.shape[1]) - 2)
    unit = np.where(is_whole | (totals == 0), 1.0, totals / steps)
    return np.rint(rows / unit).astype(np.int64)


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()


def _row_chunks(steps: NDArray[np.int64]) -> Iterator[slice]:
    size = max(1, _CELLS_AT_ONCE // (int(steps.sum(axis=1).max(initial=0)) + 1))
    return (slice(start, start + size) for start in range(0, len(steps), size))


def _tail(signed: NDArray[np.int64], steps: NDArray[np.int64]) -> Floats:
    """Return P(|total| >= |observed|) over all sign patterns, for rows of whole steps."""
    from scipy.fft import irfft

    observed, largest = np.abs(signed.sum(axis=1)), int(steps.sum(axis=1).max())
    length = _power_of_two(2 * largest + 2)
    upper = np.cumsum(irfft(_cosine_products(steps, length), length, axis=1)[:, largest::-1], axis=1)[:, ::-1]
    p_values = 2 * np.take_along_axis(upper, observed[:, None], axis=1)[:, 0]
    fewest = np.ldexp(1.0, 1 - (steps > 0).sum(axis=1))  # one pattern of each sign: no p value is smaller
    return np.where(observed == 0, 1.0, np.clip(p_values, fewest, 1.0))


def _cosine_products(steps: NDArray[np.int64], length: int) -> Floats:
    """Return the product over clusters of cos(2 pi j step / length) for j up to length / 2, a row for each of `steps`.

    Equal steps are raised to their number; where nearly every step is another one, each is looked up.
    """
    places: NDArray[np.int32] = np.arange(length // 2 + 1, dtype=np.int32)
    table = np.cos(2 * np.pi / length * np.arange(length))
    distinct = np.unique(steps[steps > 0])
    products = np.ones((len(steps), len(places)))
    if len(distinct) <= steps.shape[1]:
        for step in distinct:
            products *= table[places * step & length - 1] ** (steps == step).sum(axis=1)[:, None]
        return products
    for row, own in enumerate(steps.astype(np.int32)):
        for step in own:
            products[row] *= table[places * step & length - 1]
    return products


def holm(p_values: Floats) -> Floats:
    """Return p values (..., tests) corrected for their number, in the order given.

    Holm, Scandinavian Journal of Statistics 6 (1979) 65.
    """
    p_values = np.asarray(p_values, dtype=float)
    order = np.argsort(p_values, axis=-1, kind="stable")
    factors = np.arange(p_values.shape[-1], 0, -1)
    stepped = np.maximum.accumulate(np.take_along_axis(p_values, order, axis=-1) * factors, axis=-1)
    corrected = np.empty_like(stepped)
    np.put_along_axis(corrected, order, np.minimum(stepped, 1.0), axis=-1)
    return corrected


def cluster_bootstrap(data: Clustered, *, draws: int, seed: int, level: float) -> Bounds:
    """Return percentile intervals of means over cases, for rows (..., clusters): whole clusters are drawn again.

    Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13; clusters as units: Field and Welsh,
    JRSS B 69 (2007) 369. All rows share the draws, so that intervals of arms and of their difference agree.
    """
    shape, clusters = data.sums.shape[:-1], data.sums.shape[-1]
    sums, counts = (np.reshape(part, (-1, clusters)).T for part in (data.sums, np.broadcast_arrays(*data)[1]))
    means = np.empty((draws, sums.shape[1]))
    done = 0
    for weights in _weights(clusters, draws=draws, seed=seed):
        with np.errstate(invalid="ignore"):
            means[done : done + len(weights)] = (weights @ sums) / (weights @ counts)
        done += len(weights)
    quantile = np.nanquantile if np.isnan(means).any() else np.quantile
    tail = (1 - level) / 2
    low, high = quantile(means, [tail, 1 - tail], axis=0)
    return Bounds(low.reshape(shape), high.reshape(shape))


def _weights(clusters: int, *, draws: int, seed: int) -> Iterator[Floats]:
    """Yield how often each cluster is drawn (some draws, clusters): multinomial, every draw as many as there are."""
    generator = np.random.default_rng(seed)
    size = max(1, _CELLS_AT_ONCE // (2 * clusters))
    for start in range(0, draws, size):
        some = min(size, draws - start)
        chosen = generator.integers(clusters, size=(some, clusters), dtype=np.int32)
        chosen += np.arange(some, dtype=np.int32)[:, None] * clusters
        yield np.bincount(chosen.ravel(), minlength=some * clusters).reshape(some, clusters).astype(float)


def share_interval(data: Clustered, *, level: float) -> Bounds:
    """Return Wilson's intervals of shares (yes/no scores), at the number of cases that the clusters are worth.

    Wilson, JASA 22 (1927) 209, with the effective sample size of Dean and Pagano, J Surv Stat Methodol 3 (2015) 484.
    Unlike a bootstrap it does not shrink to a point when all cases agree.
    """
    from scipy.special import ndtri

    cases = data.counts.sum(axis=-1)
    share = data.sums.sum(axis=-1) / cases
    effective = cases / design_effect(data, mean_square=share)
    z = ndtri((1 + level) / 2)
    scale = 1 + z**2 / effective
    centre = (share + z**2 / (2 * effective)) / scale
    half = z * np.sqrt(share * (1 - share) / effective + z**2 / (4 * effective**2)) / scale
    # rounding alone keeps the ends of 0 and of 1 from touching them
    return Bounds(np.where(share == 0, 0.0, centre - half), np.where(share == 1, 1.0, centre + half))


def design_effect(data: Clustered, *, mean_square: Floats) -> Floats:
    """Return how many times as many cases are needed because those of a cluster hang together; at least 1.

    `mean_square` is the mean of the squared values, which is the share itself for yes/no scores. The ratio of the
    clusters' variance of a mean to that of independent cases (Kish, Survey Sampling, 1965, 5.3); 1 where all cases
    agree, which shows nothing of clusters.
    """
    cases = data.counts.sum(axis=-1)
    independent = (mean_square - (data.sums.sum(axis=-1) / cases) ** 2) / cases
    with np.errstate(invalid="ignore", divide="ignore"):
        effect = _ratio_variance(data) / independent
    return np.maximum(np.nan_to_num(effect, nan=1.0, posinf=1.0), 1.0)


def _ratio_variance(data: Clustered) -> Floats:
    """Return the variance of sum / count over clusters (Cochran, Sampling Techniques, 1977, 6.4)."""
    cases = data.counts.sum(axis=-1, keepdims=True)
    residuals = data.sums - data.sums.sum(axis=-1, keepdims=True) / cases * data.counts
    clusters = np.maximum((data.counts > 0).sum(axis=-1), 2)
    return np.asarray(clusters / (clusters - 1) * (residuals**2).sum(axis=-1) / cases[..., 0] ** 2)


def noninferiority_bound(data: Clustered, *, level: float) -> Floats:
    """Return a lower bound of mean differences of scores between 0 and 1, careful where little was seen.

    Adjusted Wald interval for paired shares (Bonett and Price, Journal of Educational and Behavioral Statistics 37
    (2012) 479): one won and one lost case are added. Here they are whole clusters of average size, the variance is
    that between clusters, and the quantile Student's. A bootstrap of cases without a loss would claim that there is
    none.
    """
    from scipy.special import stdtrit

    size = data.counts.sum(axis=-1, keepdims=True) / (data.counts > 0).sum(axis=-1, keepdims=True)
    padded = Clustered(
        np.concatenate([data.sums, size, -size], axis=-1), np.concatenate([data.counts, size, size], axis=-1)
    )
    difference = padded.sums.sum(axis=-1) / padded.counts.sum(axis=-1)
    freedom = np.maximum((data.counts > 0).sum(axis=-1) - 1, 1)
    return np.asarray(difference - stdtrit(freedom, (1 + level) / 2) * np.sqrt(_ratio_variance(padded)))
