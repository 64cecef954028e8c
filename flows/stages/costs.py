"""Costs: seconds and money of asking an arm, setting it up and keeping it up to date, added to its scorecard.

Belongs here: which measurement is billed to which arm. Not here: the formulas (see `steelyard.evaluate.costs`) and
measuring.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from flows.build import Job, prices
from flows.stages.evaluation import ArmResult
from flows.stages.index import IndexState
from flows.stages.latency import Latencies
from flows.stages.replay import Freshness, Replay
from flows.stages.tuning import Tuned
from steelyard.config.models import Costs
from steelyard.evaluate.costs import (
    ArmCosts,
    Effort,
    Question,
    break_even_queries_per_day,
    cost_per_correct_answer,
    effort_cost,
    question_cost,
)
from steelyard.records import RETRIEVING_ARMS, TUNED_ARMS, Arm, Score, Scorecard

_NOT_MEASURED = Score(None, 0)


@dataclass(frozen=True, slots=True)
class _Bill:
    """What an arm takes: seconds of single questions, set-up, update (None where nothing helps), and their costs."""

    seconds: Sequence[float]
    setup: Effort
    update: Effort | None
    costs: ArmCosts

    @property
    def is_priced(self) -> bool:
        """Whether questions and updates have a price."""
        return self.costs.question is not None and self.costs.update is not None


def with_costs(
    job: Job,
    results: Mapping[Arm, ArmResult],
    latencies: Latencies,
    replay: Replay,
    *,
    state: IndexState,
    tuned: Tuned | None,
) -> dict[Arm, Scorecard]:
    """Return the scorecards with latency, effort, money and freshness added.

    Of money and freshness there is always a score: (None, n = 0) is "not measured", (None, n > 0) is "never".
    """
    cards = {arm: result.scorecard for arm, result in results.items()}
    bills = {arm: _bill(job, card, latencies.seconds[arm], state, tuned) for arm, card in cards.items()}
    return {
        arm: replace(
            card,
            metrics={
                **card.metrics,
                **_latency_scores(bills[arm]),
                **_money_scores(card, bills, job.project.costs),
                **_freshness_scores(arm, replay.freshness.get(arm), bills[arm]),
            },
        )
        for arm, card in cards.items()
    }


def _bill(job: Job, card: Scorecard, seconds: Sequence[float], state: IndexState, tuned: Tuned | None) -> _Bill:
    setup, update = _efforts(card.arm, state, tuned)
    asked = Question(
        prompt_tokens=card.metrics["prompt_tokens"].value or 0.0,
        completion_tokens=card.metrics["completion_tokens"].value or 0.0,
        seconds=fmean(seconds),
    )
    table = prices(job)
    costs = ArmCosts(question_cost(asked, table), effort_cost(setup, table), effort_cost(update or Effort(), table))
    return _Bill(seconds, setup, update, costs)


def _efforts(arm: Arm, state: IndexState, tuned: Tuned | None) -> tuple[Effort, Effort | None]:
    """Return set-up and update: an index takes in what changed, a tuned model without one is trained again."""
    training = Effort()
    if arm in TUNED_ARMS and tuned is not None:
        training = Effort(training_seconds=tuned.adapter.seconds, training_tokens=tuned.adapter.tokens)
    if arm in RETRIEVING_ARMS:
        return replace(training, indexing_seconds=state.setup_seconds), Effort(state.update_seconds)
    return training, training if arm in TUNED_ARMS else None


def _latency_scores(bill: _Bill) -> dict[str, Score]:
    import numpy as np

    return {
        "latency_p50_seconds": Score(float(np.percentile(bill.seconds, 50)), len(bill.seconds)),
        "latency_p95_seconds": Score(float(np.percentile(bill.seconds, 95)), len(bill.seconds)),
        "setup_seconds": Score(bill.setup.seconds, 1),
        "update_seconds": Score(None if bill.update is None else bill.update.seconds, 1),
    }


def _money_scores(card: Scorecard, bills: Mapping[Arm, _Bill], settings: Costs) -> dict[str, Score]:
    costs, right = bills[card.arm].costs, card.metrics.get("fact", _NOT_MEASURED)
    scores = dict.fromkeys(("cost_per_1000_queries", "cost_per_correct_answer"), _NOT_MEASURED)
    if costs.question is not None:
        scores["cost_per_1000_queries"] = Score(1_000 * costs.question, 1)
        scores["cost_per_correct_answer"] = Score(cost_per_correct_answer(costs.question, right.value), right.n)
    if card.arm in TUNED_ARMS:
        value, is_measured = break_even_queries_per_day(
            costs,
            bills["rag"].costs,
            updates_per_month=settings.updates_per_month,
            horizon_months=settings.horizon_months,
        )
        scores["break_even_queries_per_day"] = Score(value, int(is_measured))
    return scores


def _freshness_scores(arm: Arm, freshness: Freshness | None, bill: _Bill) -> dict[str, Score]:
    """Return what an update brings at once, and what it takes until an answer is right: the update and one question.

    A tuned arm without an index is billed a whole training: that is what it takes, not a promise that it helps. A
    retrieving arm that gets no fresh case right after the update is never right.
    """
    if freshness is None:
        names = ("fresh_before_update", "fresh_after_update", "seconds_until_right", "cost_until_right")
        return dict.fromkeys(names, _NOT_MEASURED)
    seconds = cost = None
    if bill.update is not None and (arm not in RETRIEVING_ARMS or freshness.after.value):
        seconds = bill.update.seconds + fmean(bill.seconds)
        cost = (bill.costs.update or 0.0) + (bill.costs.question or 0.0)
    return {
        "fresh_before_update": freshness.before,
        "fresh_after_update": freshness.after,
        "seconds_until_right": Score(seconds, 1),
        "cost_until_right": Score(cost, 1) if bill.is_priced else _NOT_MEASURED,
    }
