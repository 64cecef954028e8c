"""The gate: pure, paired, and never generous to what is missing."""

from __future__ import annotations

import pytest

from steelyard.errors import GateError
from steelyard.gate import GateRules, Limit, exact_mcnemar, holm, judge
from steelyard.records import Score, Scorecard

RULES = GateRules(metric="fact", margin=0.05, significance=0.05, minimum=0.2)


def card(arm, right, total=100, metric="fact", **metrics):
    """Make a scorecard with `right` of `total` cases right, the first ones."""
    by_case = {f"case-{n:03}": {metric: float(n < right)} for n in range(total)}
    scores = {metric: Score(right / total, total)} | {name: Score(value, total) for name, value in metrics.items()}
    return Scorecard(arm=arm, metrics=scores, by_kind={}, by_case=by_case)


def rulings(cards, rules=RULES):
    """Return arm → ruling."""
    return {arm: verdict.ruling for arm, verdict in judge({c.arm: c for c in cards}, rules).items()}


def test_exact_mcnemar_textbook_values_agree():
    """2 * P(X <= 1 | n = 10, 1/2) = 22/1024; no discordant pair says nothing."""
    assert exact_mcnemar(9, 1) == pytest.approx(22 / 1024)
    assert exact_mcnemar(0, 0) == 1.0


def test_holm_three_p_values_are_corrected_in_order():
    """Holm's step-down by hand."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_judge_clear_winner_is_promoted_and_the_rest_rejected():
    """An arm far ahead of all others is promoted; arms under the minimum are rejected with the number."""
    cards = [card("base", 0), card("rag", 10), card("tuned", 0), card("hybrid", 70)]
    assert rulings(cards) == {"base": "reject", "rag": "reject", "tuned": "reject", "hybrid": "promote"}
    reasons = judge({c.arm: c for c in cards}, RULES)["rag"].reasons
    assert "0.1 over 100" in reasons[0]


def test_judge_tie_goes_to_the_simpler_arm():
    """Equal scores promote the simpler arm."""
    assert rulings([card("rag", 60), card("hybrid", 60)]) == {"rag": "promote", "hybrid": "reject"}


def test_judge_small_lead_is_cannot_tell():
    """A lead beyond the margin that chance explains is no verdict on the better arm."""
    assert rulings([card("rag", 5, total=10), card("hybrid", 6, total=10)]) == {
        "rag": "promote",
        "hybrid": "cannot tell",
    }


def test_judge_guard_rail_vetoes_the_best_arm():
    """A failed guard-rail rejects an arm whatever it wins."""
    rules = GateRules("fact", 0.05, 0.05, 0.2, (Limit("format", minimum=0.9),))
    cards = [card("rag", 40, format=0.95), card("hybrid", 90, format=0.5)]
    assert rulings(cards, rules) == {"rag": "promote", "hybrid": "reject"}


def test_judge_guard_rail_against_the_baseline_forbids_a_drop():
    """An arm may fall below RAG by the drop that is allowed, and no further; RAG keeps its own level."""
    rules = GateRules("fact", 0.05, 0.05, 0.2, (Limit("refusal", drop=0.1),))
    near, far = card("hybrid", 90, refusal=0.41), card("hybrid", 90, refusal=0.39)
    rag = card("rag", 40, refusal=0.5)
    assert rulings([rag, near], rules) == {"rag": "reject", "hybrid": "promote"}
    assert rulings([rag, far], rules) == {"rag": "promote", "hybrid": "reject"}
    assert rulings([card("rag", 40), near], rules) == {"rag": "reject", "hybrid": "reject"}


def test_judge_unscored_guard_rail_counts_against_the_arm():
    """A metric that was not scored fails its rule."""
    rules = GateRules("fact", 0.05, 0.05, 0.2, (Limit("citation", minimum=0.1),))
    assert rulings([card("rag", 90)], rules) == {"rag": "reject"}


def test_judge_missing_score_counts_as_wrong():
    """A case that the better arm has no score on is lost to it."""
    strong, weak = card("hybrid", 100), card("rag", 95)
    for case in list(strong.by_case)[:50]:
        strong.by_case[case]["fact"] = None
    assert rulings([weak, strong])["rag"] == "promote"


def test_judge_order_of_cases_does_not_matter():
    """Shuffled cases give the same verdicts."""
    cards = [card("rag", 40), card("hybrid", 70)]
    shuffled = [Scorecard(c.arm, c.metrics, {}, dict(sorted(c.by_case.items(), reverse=True))) for c in cards]
    assert judge({c.arm: c for c in cards}, RULES) == judge({c.arm: c for c in shuffled}, RULES)


def test_judge_no_arm_reaches_the_minimum_promotes_nothing():
    """Nobody is promoted for being the best of the bad."""
    assert set(rulings([card("base", 0), card("rag", 10)]).values()) == {"reject"}


def test_judge_without_a_scored_case_is_an_error():
    """A gate that cannot run is an error, not a verdict."""
    with pytest.raises(GateError, match="no case to compare"):
        judge({"rag": Scorecard("rag", {}, {}, {})}, RULES)
