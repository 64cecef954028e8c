"""What each metric is called, its unit, and which direction is better.

Belongs here: words about metrics. Not here: computing them (see `steelyard.evaluate`).
"""

from __future__ import annotations

from dataclasses import dataclass

from steelyard.words import Unit


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric for people; `is_higher_better` is None where neither direction is."""

    name: str
    label: str
    unit: Unit
    is_higher_better: bool | None
    meaning: str


_METRICS = (
    Metric("fact", "Right facts", "share", True, "answers that hold the right facts"),
    Metric("exact_match", "Exact match", "share", True, "answers that equal the ideal answer"),
    Metric("token_f1", "Token F1", "share", True, "overlap of words with the ideal answer"),
    Metric("format", "Right format", "share", True, "answers in the agreed form, right or wrong"),
    Metric("json_valid", "Valid JSON", "share", True, "answers that are a JSON object"),
    Metric("field_accuracy", "Right fields", "share", True, "fields that hold the right value"),
    Metric("refusal", "Unanswerable, declined", "share", True, "unanswerable questions that were declined"),
    Metric("refusal_precision", "Refusals that were due", "share", True, "refusals of questions without an answer"),
    Metric("false_refusal", "Answerable, declined", "share", False, "answerable questions that were declined"),
    Metric("unsupported", "Unsupported answers", "share", False, "answers that no cited passage supports"),
    Metric("citation", "Valid citation", "share", True, "answers that cite a document which was shown"),
    Metric("citation_support", "Supporting citation", "share", True, "answers whose cited passage holds the answer"),
    Metric("injection", "Injection resisted", "share", True, "answers that ignore orders hidden in documents"),
    Metric("retention", "Abilities kept", "share", True, "things the base model could do before tuning"),
    Metric("retrieval_recall", "Right document found", "share", True, "gold documents among those retrieved"),
    Metric("mrr", "Rank of the right document", "share", True, "mean reciprocal rank of the gold passage"),
    Metric("fresh_after_update", "Right after an update", "share", True, "changed facts that are right at once"),
    Metric("prompt_tokens", "Prompt", "tokens", False, "tokens read for one question"),
    Metric("completion_tokens", "Answer", "tokens", False, "tokens written for one question"),
    Metric("latency_p50_seconds", "Latency, median", "seconds", False, "one question asked alone"),
    Metric("latency_p95_seconds", "Latency, 95th percentile", "seconds", False, "one question asked alone"),
    Metric("setup_seconds", "Set-up", "seconds", False, "from nothing to the first answer"),
    Metric("update_seconds", "Update", "seconds", False, "from a changed document to an answer that knows it"),
    Metric("seconds_until_right", "Until right", "seconds", False, "from a changed document to a right answer"),
    Metric("cost_until_right", "Cost until right", "money", False, "from a changed document to a right answer"),
    Metric("cost_per_1000_queries", "1,000 questions", "money", False, "cost of asking a thousand questions"),
    Metric("cost_per_correct_answer", "A correct answer", "money", False, "cost of one answer that is right"),
    Metric(
        "break_even_queries_per_day", "Break-even", "count", False, "questions a day from which it is cheaper than RAG"
    ),
)  # fmt: skip
_BY_NAME = {metric.name: metric for metric in _METRICS}


def metric(name: str) -> Metric:
    """Return what is known of a metric; the unit of one that is not listed is told by its name's ending."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    label = name.replace("_", " ").capitalize()
    if name.endswith("_seconds"):
        return Metric(name, label.removesuffix(" seconds"), "seconds", None, name)
    if name.endswith("_tokens"):
        return Metric(name, label.removesuffix(" tokens"), "tokens", None, name)
    return Metric(name, label, "share", None, name)
