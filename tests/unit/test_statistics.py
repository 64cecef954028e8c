"""Tests and intervals against textbook values, enumeration and simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap

from steelyard.statistics import (
    Clustered,
    cluster_bootstrap,
    cluster_sums,
    design_effect,
    exact_mcnemar,
    holm,
    noninferiority_bound,
    share_interval,
    sign_flip_test,
)


def test_exact_mcnemar_textbook_values_agree():
    """2 * P(X <= 1 | n = 10, 1/2) = 22/1024; no discordant pair says nothing; many pairs at once."""
    assert exact_mcnemar(9, 1) == pytest.approx(22 / 1024)
    assert exact_mcnemar(0, 0) == 1.0
    wins, losses = np.array([3, 8, 40]), np.array([3, 2, 20])
    expected = [binomtest(int(w), int(w + b), 0.5).pvalue for w, b in zip(wins, losses, strict=True)]
    assert exact_mcnemar(wins, losses) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(4))
def test_sign_flip_test_counts_every_pattern(seed):
    """The transformed product of cosines is the count over all 1,024 patterns of signs."""
    sums = np.random.default_rng(seed).integers(-4, 5, size=10).astype(float)
    patterns = np.array(list(itertools.product([-1, 1], repeat=10)))
    share = (np.abs(patterns @ sums) >= abs(sums.sum())).mean()
    assert sign_flip_test(sums) == pytest.approx(share, abs=1e-12)


def test_sign_flip_test_of_single_cases_is_mcnemar():
    """With one yes/no case a cluster both are the same test; the general path agrees with the short one."""
    sums = np.array([1.0] * 9 + [-1.0] + [0.0] * 30)
    assert sign_flip_test(sums) == pytest.approx(22 / 1024)
    assert sign_flip_test(3 * sums) == pytest.approx(22 / 1024)


def test_sign_flip_test_of_graded_scores_counts_every_pattern():
    """Rounding to a grid moves a p value by no more than the patterns that it makes equal."""
    sums = np.random.default_rng(5).normal(0.3, 1.0, size=12)
    patterns = np.array(list(itertools.product([-1, 1], repeat=12)))
    share = (np.abs(patterns @ sums) >= abs(sums.sum()) - 1e-12).mean()
    assert sign_flip_test(sums) == pytest.approx(share, abs=0.005)


def test_sign_flip_test_of_five_clusters_is_never_significant():
    """Five clusters allow 32 patterns: two of them make 0.0625."""
    assert sign_flip_test(np.full(5, 10.0)) == pytest.approx(0.0625)
    assert sign_flip_test(np.full(6, 10.0)) == pytest.approx(0.03125)


def test_holm_three_p_values_are_corrected_in_order():
    """Holm's step-down by hand, for one set of tests and for rows of them."""
    assert holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])
    assert holm(np.array([[0.01, 0.04, 0.03], [0.5, 0.9, 0.8]])).tolist() == [
        pytest.approx([0.03, 0.06, 0.06]),
        pytest.approx([1.0, 1.0, 1.0]),
    ]


def test_cluster_sums_repeats_are_averaged_first():
    """A case that was asked three times counts once."""
    values = np.array([1.0, 0.0, 0.0, 1.0, 1.0])
    cases = ["a", "a", "a", "b", "c"]
    data = cluster_sums(values, ["x", "x", "x", "x", "y"], cases=cases)
    assert data.sums == pytest.approx([1 + 1 / 3, 1.0])
    assert data.counts.tolist() == [2, 1]


def test_cluster_sums_leaves_out_what_does_not_apply():
    """A value that is not there is no zero."""
    data = cluster_sums(np.array([[1.0, np.nan, 1.0], [0.5, 0.5, np.nan]]), ["b", "a", "b"])
    assert data.sums.tolist() == [[0.0, 2.0], [0.5, 0.5]]
    assert data.counts.tolist() == [[0, 2], [1, 1]]


def test_cluster_bootstrap_of_single_cases_agrees_with_scipy():
    """With one case a cluster it is the percentile bootstrap of a mean."""
    values = np.random.default_rng(3).random(80)
    reference = bootstrap((values,), np.mean, n_resamples=10_000, method="percentile", rng=1).confidence_interval
    bounds = cluster_bootstrap(Clustered(values, np.ones(80)), draws=10_000, seed=1, level=0.95)
    assert (bounds.low, bounds.high) == pytest.approx(tuple(reference), abs=0.003)


def test_cluster_bootstrap_of_repeated_cases_is_as_wide_as_without_the_repeats():
    """Ten cases that say the same are one observation."""
    values = np.random.default_rng(4).random(40)
    once = cluster_bootstrap(Clustered(values, np.ones(40)), draws=2_000, seed=1, level=0.95)
    tenfold = cluster_bootstrap(Clustered(10 * values, np.full(40, 10.0)), draws=2_000, seed=1, level=0.95)
    assert tenfold.low == pytest.approx(once.low)
    assert tenfold.high == pytest.approx(once.high)


def test_share_interval_of_single_cases_is_wilson():
    """Without clusters it is the interval that scipy gives, also when all cases agree."""
    rows = np.zeros((3, 50))
    rows[1, :20], rows[2] = 1.0, 1.0
    # alternating clusters of one: the between-case variance is the binomial one but for n / (n - 1)
    bounds = share_interval(Clustered(rows, np.ones_like(rows)), level=0.95)
    for place, right in enumerate((0, 20, 50)):
        reference = binomtest(right, 50).proportion_ci(0.95, method="wilson")
        assert (bounds.low[place], bounds.high[place]) == pytest.approx((reference.low, reference.high), abs=0.003)


def test_design_effect_of_whole_clusters_is_their_size():
    """Clusters of five whose cases all agree are worth a fifth of their cases; independent ones are worth all."""
    outcomes = np.random.default_rng(6).integers(0, 2, size=200).astype(float)
    share = outcomes.mean()
    together = Clustered(5 * outcomes, np.full(200, 5.0))
    assert design_effect(together, mean_square=share) == pytest.approx(5.0, rel=0.01)
    alone = Clustered(outcomes, np.ones(200))
    assert design_effect(alone, mean_square=share) == pytest.approx(1.0, rel=0.01)


def test_noninferiority_bound_of_no_loss_in_few_cases_is_careful():
    """Twenty cases without a loss do not show that fewer than one in twenty is lost; two thousand do."""
    few, many = (noninferiority_bound(Clustered(np.zeros(n), np.ones(n)), level=0.95) for n in (20, 2_000))
    assert few < -0.05 < many < 0
    clusters = Clustered(np.zeros(20), np.full(20, 100.0))
    assert noninferiority_bound(clusters, level=0.95) < -0.05


def test_noninferiority_bound_agrees_with_bonett_and_price():
    """Without clusters: difference and variance from one added win and one added loss (their equation 4)."""
    wins, losses, total = 14, 9, 120
    sums = np.array([1.0] * wins + [-1.0] * losses + [0.0] * (total - wins - losses))
    p_win, p_loss = (wins + 1) / (total + 2), (losses + 1) / (total + 2)
    half = 1.96 * np.sqrt((p_win + p_loss - (p_win - p_loss) ** 2) / (total + 2))
    bound = noninferiority_bound(Clustered(sums, np.ones(total)), level=0.95)
    assert bound == pytest.approx(p_win - p_loss - half, abs=0.002)
