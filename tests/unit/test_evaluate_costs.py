"""Costs: every formula on numbers that can be checked by hand; a missing price is never a price of nothing."""

from __future__ import annotations

import pytest

from steelyard.evaluate.costs import (
    ArmCosts,
    Effort,
    Prices,
    Question,
    break_even_queries_per_day,
    cost_per_correct_answer,
    effort_cost,
    monthly_cost,
    question_cost,
)

QUESTION = Question(prompt_tokens=500, completion_tokens=100, seconds=1.8)
RAG = ArmCosts(question=0.002, setup=1.0, update=0.1)


def test_question_cost_is_billed_by_tokens_or_by_time():
    """500 tokens at 2 and 100 at 10 a million are 0.002; 1.8 seconds at 2 an hour are 0.001."""
    tokens = Prices(machine_hour=2.0, million_prompt_tokens=2.0, million_completion_tokens=10.0)
    assert question_cost(QUESTION, tokens) == pytest.approx(0.002)
    assert question_cost(QUESTION, Prices(machine_hour=2.0)) == pytest.approx(0.001)
    assert question_cost(QUESTION, Prices()) is None


def test_effort_cost_needs_a_price_for_what_was_done_only():
    """An hour of indexing and two of training; training may have a price by tokens; no effort costs nothing."""
    effort = Effort(indexing_seconds=3_600, training_seconds=7_200, training_tokens=500_000)
    assert effort_cost(effort, Prices(machine_hour=0.5)) == pytest.approx(1.5)
    assert effort_cost(effort, Prices(machine_hour=0.5, million_training_tokens=8.0)) == pytest.approx(4.5)
    assert effort_cost(effort, Prices(million_training_tokens=8.0)) is None
    assert effort_cost(Effort(), Prices()) == 0.0


def test_cost_per_correct_answer_without_a_correct_answer_is_none():
    """A question of 0.002, a quarter right: 0.008."""
    assert cost_per_correct_answer(0.002, 0.25) == pytest.approx(0.008)
    assert cost_per_correct_answer(0.002, 0.0) is None
    assert cost_per_correct_answer(0.002, None) is None


def test_monthly_cost_spreads_the_set_up_and_adds_the_updates():
    """1.0 over 10 months and 4 updates of 0.1."""
    assert monthly_cost(RAG, updates_per_month=4, horizon_months=10) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("arm", "expected"),
    [
        # 10 dearer a month, 0.001 cheaper a question: 10,000 questions a month, 30.4375 days.
        (ArmCosts(question=0.001, setup=1.0, update=2.6), (10_000 / 30.4375, True)),
        (ArmCosts(question=0.003, setup=1.0, update=2.6), (None, True)),
        (ArmCosts(question=0.002, setup=1.0, update=2.6), (None, True)),
        (ArmCosts(question=0.001, setup=0.5, update=0.1), (0.0, True)),
        (ArmCosts(question=0.002, setup=1.0, update=0.1), (0.0, True)),
        (ArmCosts(question=0.003, setup=0.0, update=0.0), (None, True)),
        (ArmCosts(question=None, setup=1.0, update=1.0), (None, False)),
        (ArmCosts(question=0.001, setup=None, update=1.0), (None, False)),
    ],
)
def test_break_even_is_a_number_nothing_never_or_unknown(arm, expected):
    """Dearer to keep and cheaper to ask has a break-even; dearer to ask has none in the long run."""
    value, is_measured = break_even_queries_per_day(arm, RAG, updates_per_month=4, horizon_months=12)
    assert is_measured is expected[1]
    assert value == (None if expected[0] is None else pytest.approx(expected[0]))
