"""The tuning decision: a table of rules, each with what was measured; the default is no."""

from __future__ import annotations

import itertools

import pytest

from steelyard.decide import MEASURES, WhenRule, decide_tuning

PAIRS = WhenRule("usable_pairs", "required", at_least=500, at_most=50_000)
FORMAT = WhenRule("format_gap", "reason", above=0.0)
BEHAVIOUR = WhenRule("behaviour_gap", "reason", at_least=0.1)
COOL_DOWN = WhenRule("days_since_training", "required", at_least=7)
BUDGET = WhenRule("training_cost", "required", at_most=20)
RULES = (PAIRS, FORMAT, BEHAVIOUR)
GAP = {"usable_pairs": 600.0, "format_gap": 0.1, "behaviour_gap": 0.3, "retrieval_gap": 0.0}
NO_GAP = {"usable_pairs": 600.0, "format_gap": -0.05, "behaviour_gap": 0.05, "retrieval_gap": 0.0}


def decide(measured, rules=RULES, **changes):
    """Decide with the usual rules."""
    return decide_tuning(measured, rules, **({"mode": "auto", "is_trained": False} | changes))


@pytest.mark.parametrize("held", itertools.product([True, False], repeat=5))
def test_decide_truth_table_every_required_rule_and_one_reason(held):
    """Over all combinations: yes exactly when all required rules hold and at least one reason does."""
    pairs, cool_down, budget, form, behaviour = held
    measured = {
        "usable_pairs": 500.0 if pairs else 499.0,
        "days_since_training": 8.0 if cool_down else 6.0,
        "training_cost": 20.0 if budget else 21.0,
        "format_gap": 0.01 if form else 0.0,
        "behaviour_gap": 0.1 if behaviour else 0.09,
    }
    decision = decide(measured, (PAIRS, COOL_DOWN, BUDGET, FORMAT, BEHAVIOUR))
    assert decision.is_tuning_worthwhile == (pairs and cool_down and budget and (form or behaviour))
    assert [rule.is_held for rule in decision.rules] == list(held)


@pytest.mark.parametrize("measure", MEASURES)
def test_decide_missing_measurement_holds_no_rule(measure):
    """What was not measured is neither a reason nor permission, and the sentence says so."""
    rules = (*RULES, WhenRule(measure, "required", at_least=0))
    decision = decide({**GAP, measure: None}, rules)
    assert not decision.is_tuning_worthwhile
    assert any(measure in reason or "no training pairs" in reason for reason in decision.reasons)


@pytest.mark.parametrize("measure", MEASURES)
def test_decide_every_measurement_is_told_in_a_sentence_with_its_limit(measure):
    """Each measure can be a rule, and reads as what was seen and what was asked."""
    (rule,) = decide({"usable_pairs": 600.0, measure: 0.25}, (WhenRule(measure, "reason", at_least=0.125),)).rules
    assert rule.is_held
    assert rule.explanation.endswith("(asked: at least 0.125)")


def test_decide_rag_good_enough_skips():
    """Where RAG leaves nothing to repair there is no reason to tune."""
    decision = decide(NO_GAP)
    assert decision.action == "skip"
    assert "no reason to tune holds" in decision.reasons[0]
    assert "set decide.tune: always" in decision.would_change


def test_decide_retrieval_gap_only_skips_and_points_at_retrieval():
    """Misses that the right passage repairs are no reason to train."""
    decision = decide({**NO_GAP, "retrieval_gap": 0.4})
    assert decision.action == "skip"
    assert "retrieval" in decision.reasons[-1]
    assert "40%" in decision.reasons[-1]


def test_decide_no_pairs_skips_and_says_so():
    """Without pairs there is nothing to tune on."""
    decision = decide({**GAP, "usable_pairs": 0.0})
    assert not decision.is_tuning_worthwhile
    assert "no training pairs" in decision.reasons[0]


def test_decide_499_pairs_skips_and_names_both_numbers():
    """One pair too few is too few."""
    decision = decide({**GAP, "usable_pairs": 499.0})
    assert not decision.is_tuning_worthwhile
    assert "499" in decision.reasons[0]
    assert "at least 500" in decision.reasons[0]


def test_decide_gap_runs_and_says_what_would_stop_it():
    """The reasons that hold are told, and with them what would take them away."""
    decision = decide(GAP)
    assert decision.action == "run"
    assert "0.10 below the target" in decision.reasons[0]
    assert decision.would_change == ("format_gap no longer above 0", "behaviour_gap no longer at least 0.1")


def test_decide_same_pairs_base_and_recipe_reuses():
    """What is trained already is not trained again."""
    assert decide(GAP, is_trained=True).action == "reuse"
    assert decide(NO_GAP, is_trained=True).action == "skip"


def test_decide_never_and_always_obey_the_project():
    """The project file has the last word, within what is possible."""
    assert decide(GAP, mode="never").action == "skip"
    assert decide(NO_GAP, mode="always").action == "run"
    assert decide({**NO_GAP, "usable_pairs": 0.0}, mode="always").action == "skip"
    assert decide({**NO_GAP, "usable_pairs": 499.0}, mode="always").action == "skip"


def test_decide_override_sets_budget_aside_and_is_kept():
    """Who forces a training gets it, and is named."""
    rules = (*RULES, BUDGET)
    assert decide({**GAP, "training_cost": 30.0}, rules).action == "skip"
    forced = decide({**GAP, "training_cost": 30.0}, rules, mode="always", override="--force-tune by ann")
    assert forced.action == "run"
    assert forced.override == forced.reasons[0] == "--force-tune by ann"


def test_decide_first_training_keeps_every_cool_down():
    """Before the first training any number of days has gone by, and the record stays plain JSON."""
    decision = decide({**GAP, "days_since_training": float("inf")}, (*RULES, COOL_DOWN))
    assert decision.action == "run"
    assert decision.rules[-1].is_held
    assert decision.rules[-1].measured is None
