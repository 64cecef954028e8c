"""The remedy ladder: what is tried before any training, and which of it is kept.

Belongs here: pure functions over trials on held-out pairs. Not here: asking the model (see `flows.stages.remedies`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from steelyard.records import Case, Pair, Probe, Remedy, RemedyTrial

CODE_VERSION = 1  # raise when the same scores lead to another choice


def case_of(pair: Pair) -> Case:
    """Return a pair as a case, so that its answer is scored like one."""
    return Case(
        id=pair.id,
        question=pair.input,
        kind="unanswerable" if pair.kind == "unanswerable" else "fact",
        expected=pair.output,
        documents=pair.documents,
        cluster=pair.documents[0] if pair.documents else pair.id,
    )


def is_right(scores: Mapping[str, float | None]) -> bool:
    """Tell whether an answer is the wanted fact, or the refusal that was due."""
    return scores.get("refusal", scores.get("fact")) == 1.0


def trial(remedy: Remedy, rows: Sequence[Mapping[str, float | None]]) -> RemedyTrial:
    """Return the means over the scores of single answers (see `steelyard.evaluate.scores.score_case`)."""
    form = [row["format"] or 0.0 for row in rows if "format" in row]
    return RemedyTrial(
        remedy=remedy,
        form=sum(form) / len(form) if form else None,
        right=sum(map(is_right, rows)) / len(rows),
        prompt_tokens=sum(row["prompt_tokens"] or 0.0 for row in rows) / len(rows),
        n=len(rows),
    )


def is_enough(trial: RemedyTrial, *, format_target: float, fact_target: float) -> bool:
    """Tell whether a remedy leaves nothing to do, so that the next, dearer one need not be tried."""
    return (trial.form is None or trial.form >= format_target) and trial.right >= fact_target


def best(trials: Sequence[RemedyTrial]) -> Remedy:
    """Return the remedy with the best mean of format and right answers; of equals the earlier, cheaper one."""
    return max(trials, key=_worth).remedy  # max keeps the first of equals


def _worth(trial: RemedyTrial) -> float:
    return trial.right if trial.form is None else (trial.form + trial.right) / 2


def probe(retrieved: Sequence[Mapping[str, float | None]], gold: Sequence[Mapping[str, float | None]]) -> Probe:
    """Compare the same questions with retrieved passages and with the right one in the prompt."""
    pairs = list(zip(map(is_right, retrieved), map(is_right, gold), strict=True))
    count = max(len(pairs), 1)
    return Probe(
        retrieval_gap=sum(not with_retrieved and with_gold for with_retrieved, with_gold in pairs) / count,
        behaviour_gap=sum(not with_retrieved and not with_gold for with_retrieved, with_gold in pairs) / count,
        n=len(pairs),
    )
