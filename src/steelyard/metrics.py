"""What each metric is called, its unit, which direction is better, and whether it is a yes or no.

Belongs here: words about metrics, shared by reports and traces. Not here: computing them (see `steelyard.evaluate`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from steelyard.words import Unit


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric for people; `is_higher_better` is None where neither direction is.

    `is_yes_no` says that one answer's score is 0 or 1, "share" as a unit that the mean lies between them.
    """

    name: str
    label: str
    meaning: str
    unit: Unit = "share"
    is_higher_better: bool | None = True
    is_yes_no: bool = False


def _yes_no(name: str, label: str, meaning: str, *, is_higher_better: bool = True) -> Metric:
    return Metric(name, label, meaning, is_higher_better=is_higher_better, is_yes_no=True)


def _cost(name: str, label: str, meaning: str, unit: Unit) -> Metric:
    return Metric(name, label, meaning, unit=unit, is_higher_better=False)


_METRICS = (
    _yes_no("fact", "Right facts", "answers that hold the right facts"),
    _yes_no("exact_match", "Exact match", "answers that equal the ideal answer"),
    Metric("token_f1", "Token F1", "overlap of words with the ideal answer"),
    Metric("field_accuracy", "Right fields", "fields that hold the right value"),
    _yes_no("format", "Right format", "answers in the agreed form, right or wrong"),
    _yes_no("json_valid", "Valid JSON", "answers that are a JSON object"),
    _yes_no("refusal", "Unanswerable, declined", "unanswerable questions that were declined"),
    Metric("refusal_precision", "Refusals that were due", "refusals of questions that have no answer"),
    _yes_no("false_refusal", "Answerable, declined", "answerable questions that were declined", is_higher_better=False),
    Metric(
        "unsupported", "Unsupported answers", "answers, or parts of them, that nothing shown supports",
        is_higher_better=False,
    ),
    _yes_no("citation", "Valid citation", "answers, refusals aside, that cite a document which was shown"),
    _yes_no("citation_support", "Supporting citation", "answers, refusals aside, whose cited passage holds the answer"),
    _yes_no("injection", "Injection resisted", "answers that ignore orders hidden in documents"),
    _yes_no("retention", "Abilities kept", "things the base model could do before tuning"),
    Metric("retrieval_recall", "Right document found", "gold documents among those retrieved"),
    _yes_no("passage_recall", "Right passage found", "questions whose answer stands in a retrieved passage"),
    Metric("mrr", "Rank of the right passage", "mean reciprocal rank of the first gold passage"),
    Metric("judge", "Judge prefers it to RAG", "answers that a model finds better than RAG's, ties counting half"),
    Metric("judge_not_licensed", "Judge without licence prefers it", "as above, by a judge whose word does not count"),
    Metric("fresh_before_update", "Right before an update", "changed facts that were right already"),
    Metric("fresh_after_update", "Right after an update", "changed facts that are right at once"),
    _cost("prompt_tokens", "Prompt", "tokens read for one question", "tokens"),
    _cost("completion_tokens", "Answer", "tokens written for one question", "tokens"),
    _cost("latency_p50_seconds", "Latency, median", "one question asked alone", "seconds"),
    _cost("latency_p95_seconds", "Latency, 95th percentile", "one question asked alone", "seconds"),
    _cost("setup_seconds", "Set-up", "from nothing to the first answer", "seconds"),
    _cost("update_seconds", "Update", "from a changed document to an answer that knows it", "seconds"),
    _cost("seconds_until_right", "Until right", "from a changed document to a right answer", "seconds"),
    _cost("cost_until_right", "Cost until right", "from a changed document to a right answer", "money"),
    _cost("cost_per_1000_queries", "1,000 questions", "cost of asking a thousand questions", "money"),
    _cost("cost_per_correct_answer", "A right answer", "cost of one answer that is right", "money"),
    _cost("break_even_queries_per_day", "Break-even", "questions a day from which it is cheaper than RAG", "count"),
)  # fmt: skip
_FIELD = "field_accuracy."
_OF_KIND = re.compile(r"(\w+) of (\w+) cases")  # how a rule names a metric over one kind of case
_BY_NAME = {metric.name: metric for metric in _METRICS}


def metric(name: str) -> Metric:
    """Return what is known of a metric; the unit of one that is not listed is told by its name's ending."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    if parts := _OF_KIND.fullmatch(name):
        known = metric(parts[1])
        return replace(known, name=name, label=f"{known.label}, {parts[2]} cases")
    if name.startswith(_FIELD):
        field = name.removeprefix(_FIELD)
        return Metric(name, f"Right field: {field}", f"answers whose {field} is right", is_yes_no=True)
    label = name.replace("_", " ").capitalize()
    if name.endswith("_seconds"):
        return Metric(name, label.removesuffix(" seconds"), name, unit="seconds", is_higher_better=None)
    if name.endswith("_tokens"):
        return Metric(name, label.removesuffix(" tokens"), name, unit="tokens", is_higher_better=None)
    return Metric(name, label, name, is_higher_better=None)
