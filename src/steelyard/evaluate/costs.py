"""What an arm costs in money, from what was measured and a table of prices.

Belongs here: pure functions with their formulas. Not here: measuring, and where prices come from (`costs` in the
project file). None means "no price is set for this": no cost is ever assumed.
"""

from __future__ import annotations

from dataclasses import dataclass

_SECONDS_PER_HOUR = 3_600
_TOKENS_PER_PRICE = 1_000_000
_DAYS_PER_MONTH = 365.25 / 12


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices in one currency; None where none is known."""

    machine_hour: float | None = None
    million_prompt_tokens: float | None = None
    million_completion_tokens: float | None = None
    million_training_tokens: float | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What one question takes on average: tokens, and seconds when it is asked alone."""

    prompt_tokens: float
    completion_tokens: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Effort:
    """What setting up or bringing up to date takes: seconds of indexing, seconds and tokens of training."""

    indexing_seconds: float = 0.0
    training_seconds: float = 0.0
    training_tokens: int = 0

    @property
    def seconds(self) -> float:
        """All of it, one after the other."""
        return self.indexing_seconds + self.training_seconds


@dataclass(frozen=True, slots=True)
class ArmCosts:
    """Costs of an arm in the prices' currency: one question, setting up, and each update of the documents."""

    question: float | None
    setup: float | None
    update: float | None


def question_cost(question: Question, prices: Prices) -> float | None:
    """Return what one question costs.

    By tokens where they have a price: (prompt tokens x price + completion tokens x price) / 10^6; else by time:
    seconds / 3600 x machine hour. Time is that of a question asked alone, so a server that answers many at once is
    cheaper.
    """
    if prices.million_prompt_tokens is not None and prices.million_completion_tokens is not None:
        return (
            question.prompt_tokens * prices.million_prompt_tokens
            + question.completion_tokens * prices.million_completion_tokens
        ) / _TOKENS_PER_PRICE
    return _time_cost(question.seconds, prices)


def effort_cost(effort: Effort, prices: Prices) -> float | None:
    """Return what an effort costs: indexing by time, training by tokens where they have a price, else by time."""
    indexing = _time_cost(effort.indexing_seconds, prices)
    if prices.million_training_tokens is None:
        training = _time_cost(effort.training_seconds, prices)
    else:
        training = effort.training_tokens * prices.million_training_tokens / _TOKENS_PER_PRICE
    return None if indexing is None or training is None else indexing + training


def _time_cost(seconds: float, prices: Prices) -> float | None:
    if seconds == 0:
        return 0.0
    return None if prices.machine_hour is None else seconds / _SECONDS_PER_HOUR * prices.machine_hour


def cost_per_correct_answer(question: float, share_right: float | None) -> float | None:
    """Return cost of a question / share of questions answered right; None when none is."""
    return question / share_right if share_right else None


def monthly_cost(costs: ArmCosts, *, updates_per_month: float, horizon_months: float) -> float | None:
    """Return what an arm costs a month before the first question: set-up / horizon + updates x cost of an update."""
    if costs.setup is None or costs.update is None:
        return None
    return costs.setup / horizon_months + updates_per_month * costs.update


def break_even_queries_per_day(
    arm: ArmCosts, rag: ArmCosts, *, updates_per_month: float, horizon_months: float
) -> tuple[float | None, bool]:
    """Return the questions a day from which on `arm` is cheaper than `rag`, and whether that could be computed.

    (F_arm - F_rag) / ((q_rag - q_arm) x 30.4375), F being `monthly_cost` with training, indexing and the updates in
    it, q the cost of a question. 0 where the arm costs no more at any number; (None, True) where it stays dearer
    however many there are; (None, False) where a price is missing.
    """
    fixed = [
        monthly_cost(costs, updates_per_month=updates_per_month, horizon_months=horizon_months) for costs in (arm, rag)
    ]
    if fixed[0] is None or fixed[1] is None or arm.question is None or rag.question is None:
        return None, False
    extra, saving = fixed[0] - fixed[1], rag.question - arm.question
    if extra <= 0 and saving >= 0:
        return 0.0, True
    if saving <= 0:
        return None, True
    return extra / (saving * _DAYS_PER_MONTH), True
