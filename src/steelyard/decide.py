"""Whether tuning can pay: a table of rules over measurements; the default is no.

Belongs here: pure functions from measurements and rules to a decision with its reasons. Not here: measuring.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from steelyard.records import TuneDecision, TuneRule

CODE_VERSION = 2  # raise when the rules decide differently on the same measurements

Measure = Literal[
    "usable_pairs",
    "format_gap",
    "behaviour_gap",
    "retrieval_gap",
    "saved_prompt_tokens",
    "break_even_queries_per_day",
    "training_tokens",
    "training_cost",
    "changed_documents_per_month",
    "days_since_training",
    "rag_latency_p95_seconds",
]
MEASURES: tuple[Measure, ...] = get_args(Measure)
Role = Literal["required", "reason"]
Mode = Literal["auto", "always", "never"]

_SENTENCES: Mapping[Measure, str] = {
    "usable_pairs": "{:,.0f} training pairs are usable",
    "format_gap": "RAG's format score, with the best cheap remedy, is {:.2f} below the target",
    "behaviour_gap": "{:.0%} of held-out questions stay wrong with the right passage in the prompt",
    "retrieval_gap": "{:.0%} of held-out questions are wrong only because retrieval misses the right passage",
    "saved_prompt_tokens": "a tuned prompt is {:,.0f} tokens shorter a question than RAG's",
    "break_even_queries_per_day": "shorter prompts pay for the training from {:,.0f} questions a day on",
    "training_tokens": "training reads {:,.0f} tokens",
    "training_cost": "training costs {:,.2f}",
    "changed_documents_per_month": "{:,.1f} documents change in a month",
    "days_since_training": "the last training was {:,.1f} days ago",
    "rag_latency_p95_seconds": "RAG answers 95 of 100 questions within {:.2f} s",
}
_REMEDIES: Mapping[Measure, str] = {
    "usable_pairs": "add pairs (steelyard pairs --help), or change validation.pairs",
    "format_gap": "a base checkpoint or worked examples that keep to the format less well",
    "behaviour_gap": "pairs that the base checkpoint gets wrong even with the right passage",
    "saved_prompt_tokens": "longer worked examples in RAG's prompt, or more questions a day",
}


@dataclass(frozen=True, slots=True)
class WhenRule:
    """A limit on one measurement; a `required` rule has to hold, of the `reason` rules one is enough."""

    measure: Measure
    role: Role
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None


def decide_tuning(
    measured: Mapping[Measure, float | None],
    rules: Sequence[WhenRule],
    *,
    mode: Mode,
    is_trained: bool,
    override: str | None = None,
) -> TuneDecision:
    """Decide by the rules: yes when every required one holds and at least one reason does.

    A measurement that is missing or None holds no rule. `mode` "always" does without reasons and needs pairs only,
    "never" needs nothing; `override` says who asked for that mode on the command line. `is_trained` tells that an
    adapter of the same pairs, base and recipe is there.
    """
    outcomes = tuple(_outcome(rule, measured.get(rule.measure)) for rule in rules)
    said = override or f"the project file says decide.tune: {mode}"
    if mode == "never":
        return TuneDecision(False, (said,), ("set decide.tune: auto",), outcomes, override=override)
    if not measured.get("usable_pairs"):
        return TuneDecision(
            False, ("there are no training pairs",), (_REMEDIES["usable_pairs"],), outcomes, override=override
        )
    required = [rule for rule in outcomes if rule.role == "required" and _counts(rule, mode)]
    missing = [rule for rule in required if not rule.is_held]
    reasons = tuple(rule.explanation for rule in outcomes if rule.role == "reason" and rule.is_held)
    if missing:
        return TuneDecision(
            False,
            tuple(rule.explanation for rule in missing),
            tuple(_would_hold(rule) for rule in missing),
            outcomes,
            override=override,
        )
    if mode == "always":
        return TuneDecision(
            True, (said, *reasons), ("set decide.tune: auto",), outcomes, is_reused=is_trained, override=override
        )
    held = [rule for rule in outcomes if rule.role == "reason" and rule.is_held]
    if held:
        stop = tuple(f"{rule.measure} no longer {rule.limit}" for rule in held)
        return TuneDecision(True, reasons, stop, outcomes, is_reused=is_trained)
    return _no_reason(outcomes, measured)


def _no_reason(outcomes: tuple[TuneRule, ...], measured: Mapping[Measure, float | None]) -> TuneDecision:
    open_rules = [rule for rule in outcomes if rule.role == "reason"]
    reasons = [rule.explanation for rule in open_rules] or ["the project file gives no reason to tune (tune.when)"]
    gap = measured.get("retrieval_gap")
    if gap:
        reasons.append(_SENTENCES["retrieval_gap"].format(gap) + ": better retrieval helps there, tuning does not")
    return TuneDecision(
        False,
        ("no reason to tune holds", *reasons),
        (*(_would_hold(rule) for rule in open_rules), "set decide.tune: always"),
        outcomes,
    )


def _counts(rule: TuneRule, mode: Mode) -> bool:
    """Who asks for tuning in any case has set the cool-down and the budget aside, not the need for pairs."""
    return mode == "auto" or rule.measure == "usable_pairs"


def _outcome(rule: WhenRule, value: float | None) -> TuneRule:
    limit = _limit(rule)
    if value is None:
        text = f"{rule.measure} was not measured; asked {limit}"
        return TuneRule(rule.measure, rule.role, None, limit, False, text)
    is_held = (
        (rule.at_least is None or value >= rule.at_least)
        and (rule.at_most is None or value <= rule.at_most)
        and (rule.above is None or value > rule.above)
        and (rule.below is None or value < rule.below)
    )
    if math.isinf(value):  # days since a training that never was
        return TuneRule(rule.measure, rule.role, None, limit, is_held, f"{rule.measure}: never yet (asked: {limit})")
    sentence = _SENTENCES[rule.measure].format(value)
    return TuneRule(rule.measure, rule.role, value, limit, is_held, f"{sentence} (asked: {limit})")


def _limit(rule: WhenRule) -> str:
    words = {"at least": rule.at_least, "at most": rule.at_most, "above": rule.above, "below": rule.below}
    return " and ".join(f"{word} {value:,g}" for word, value in words.items() if value is not None)


def _would_hold(rule: TuneRule) -> str:
    known = _REMEDIES.get(rule.measure)  # type: ignore[call-overload]
    return f"{rule.measure} {rule.limit}" + (f": {known}" if known else "")
