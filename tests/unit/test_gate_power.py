"""Power: against simulation, and in words."""

from __future__ import annotations

import numpy as np
import pytest

from steelyard.gate.expectation import Expectation, compared_clusters, measured
from steelyard.gate.power import (
    Criterion,
    cases_to_find,
    detectable_difference,
    expected_power,
    power_effect,
    power_in_clusters,
    power_in_words,
    power_of,
)
from steelyard.gate.rules import GateRules
from steelyard.records import Case, Score, Scorecard
from steelyard.statistics import exact_mcnemar

TEST = Criterion(0.05, 0.05)
EXPECTED = {"difference": 0.15, "disagreement": 0.2, "correlation": 0.2, "power": 0.8, "test": TEST}


@pytest.mark.parametrize(("cases", "difference", "disagreement"), [(30, 0.3, 0.4), (120, 0.12, 0.2), (400, 0.07, 0.1)])
def test_power_of_agrees_with_simulation(cases, difference, disagreement):
    """The sum over discordant cases is what 40,000 simulated evaluations find."""
    shares = [(disagreement + difference) / 2, (disagreement - difference) / 2, 1 - disagreement]
    wins, losses, _ = np.random.default_rng(1).multinomial(cases, shares, size=40_000).T
    found = (exact_mcnemar(wins, losses) <= 0.05) & (wins - losses > 0.05 * cases)
    assert power_of(cases, difference=difference, disagreement=disagreement, test=TEST) == pytest.approx(
        found.mean(), abs=0.008
    )


def test_detectable_difference_has_the_power_that_was_asked_for():
    """At the smallest detectable difference power is just reached; half of it is missed."""
    found = detectable_difference((1,) * 120, disagreement=0.2, correlation=0.3, power=0.8, test=TEST)
    assert power_of(120, difference=found, disagreement=0.2, test=TEST) == pytest.approx(0.8, abs=0.02)
    assert power_of(120, difference=found / 2, disagreement=0.2, test=TEST) < 0.4


def test_cases_to_find_is_the_number_that_suffices():
    """So many cases reach the power, a tenth fewer do not; within the margin none do."""
    needed = cases_to_find(difference=0.1, disagreement=0.2, power=0.8, test=TEST)
    assert power_of(needed, difference=0.1, disagreement=0.2, test=TEST) >= 0.8
    assert power_of(0.9 * needed, difference=0.1, disagreement=0.2, test=TEST) < 0.8
    assert cases_to_find(difference=0.05, disagreement=0.2, power=0.8, test=TEST) is None


def test_power_in_few_clusters_lies_between_one_and_all_cases():
    """Cases of 20 documents that hang together tell more than 20 cases and less than as many independent ones."""
    question = {"difference": 0.2, "disagreement": 0.3, "test": TEST}
    found = power_in_clusters((4,) * 20, correlation=0.3, **question)
    assert power_of(20, **question) < found < power_of(80, **question)
    assert found == power_in_clusters((4,) * 20, correlation=0.3, **question)


def test_power_effect_grows_with_clusters_and_their_correlation():
    """Cases alone cost nothing; clusters of four whose cases agree cost four times as many; large ones weigh more."""
    assert power_effect((1,) * 50, correlation=0.9) == 1.0
    assert power_effect((4,) * 50, correlation=1.0) == 4.0
    assert power_effect((4,) * 50, correlation=0.0) == 1.0
    assert power_effect((1, 9), correlation=1.0) == pytest.approx(8.2)


def test_expected_power_in_words_names_points():
    """The sentence that a run begins with."""
    alone = expected_power((1,) * 120, **EXPECTED)
    assert power_in_words(alone) == "120 cases, 20% disagreement: this gate can see 12 points"
    clustered = expected_power((3,) * 40, **EXPECTED)
    assert power_in_words(clustered) == "120 cases of 40 documents, 20% disagreement: this gate can see 14 points"
    assert clustered.cases_to_settle > alone.cases_to_settle


@pytest.mark.parametrize("sizes", [(1,) * 5, (30,) * 5, ()])
def test_expected_power_of_five_documents_is_none(sizes):
    """However many cases five documents have, no difference between them can be told from chance."""
    power = expected_power(sizes, **EXPECTED)
    assert power.detectable is None
    assert "can see no difference" in power_in_words(power)


def test_compared_clusters_leaves_out_cases_without_an_objective():
    """Unanswerable and retention cases are scored on something else."""
    kinds = ("fact", "fact", "unanswerable", "retention", "injection")
    cases = [Case(str(n), "?", kind, "!", cluster="ab"[n % 2]) for n, kind in enumerate(kinds)]
    assert compared_clusters(cases) == (2, 1)


def test_measured_expectation_is_what_the_two_best_arms_show():
    """Whole documents of four on which the arms differ: the share of cases, and a correlation of one."""
    cases = [Case(f"{n:03}", "?", "fact", "!", cluster=f"doc-{n // 4}") for n in range(80)]
    rules = GateRules(metric="fact", margin=0.05, significance=0.05, minimum=0.2, draws=1_000, seed=1, power=0.8)

    def card(arm, is_right):
        by_case = {case.id: {"fact": float(is_right(n))} for n, case in enumerate(cases)}
        mean = sum(row["fact"] for row in by_case.values()) / len(cases)
        return Scorecard(arm, {"fact": Score(mean, len(cases))}, {}, by_case)

    cards = {
        "base": card("base", lambda n: False),
        "rag": card("rag", lambda n: n // 4 < 10),
        "hybrid": card("hybrid", lambda n: n // 4 < 15),
    }
    found = measured(cards, rules, cases=cases)
    assert found == Expectation(pytest.approx(0.25), pytest.approx(1.0, abs=0.03))
    assert measured({"rag": cards["rag"]}, rules, cases=cases) is None
