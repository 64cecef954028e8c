"""Whether tuning can pay: a rule over what the cheap arms measured.

Belongs here: a pure function from measurements and requirements to a decision with its reasons. Not here: measuring.
"""

from __future__ import annotations

from typing import Literal

from steelyard.records import Scorecard, TuneDecision

CODE_VERSION = 1  # raise when the rule decides differently on the same measurements


def decide_tuning(
    *,
    mode: Literal["auto", "always", "never"],
    pairs: int,
    minimum_pairs: int,
    rag: Scorecard,
    format_target: float,
    fact_target: float,
) -> TuneDecision:
    """Decide from the number of pairs and from what RAG, with its worked examples, leaves undone.

    Tuning repairs behaviour: a format that examples do not bring about, and passages that are found but not read.
    It does not repair a fact that retrieval does not find.
    """
    if mode == "never":
        return TuneDecision(False, ("the project file says decide.tune: never",), ("set decide.tune: auto",))
    if pairs == 0:
        return TuneDecision(
            False, ("there are no training pairs",), (f"add sources.pairs with at least {minimum_pairs} pairs",)
        )
    if pairs < minimum_pairs:
        return TuneDecision(
            False,
            (f"{pairs} training pairs are fewer than the {minimum_pairs} that the project asks for",),
            (f"add {minimum_pairs - pairs} pairs", "lower validation.pairs.minimum"),
        )
    gaps = _gaps(rag, format_target=format_target, fact_target=fact_target)
    if mode == "always":
        return TuneDecision(True, ("the project file says decide.tune: always", *gaps), ("set decide.tune: auto",))
    if gaps:
        return TuneDecision(
            True, (*gaps, f"{pairs} training pairs are there"), _what_would_stop(format_target, fact_target)
        )
    return TuneDecision(
        False,
        (
            f"RAG leaves nothing that tuning repairs: format {format_target:.2f} and fact {fact_target:.2f} are "
            "reached, or limited by retrieval",
        ),
        ("raise decide.format_target or decide.fact_target", "set decide.tune: always"),
    )


def _gaps(rag: Scorecard, *, format_target: float, fact_target: float) -> tuple[str, ...]:
    gaps = []
    form = rag.metrics.get("format")
    if form is not None and (form.value or 0.0) < format_target:
        gaps.append(f"RAG's format score is {form.value or 0.0:.2f} of {form.n} cases, target {format_target:.2f}")
    fact, recall = rag.metrics.get("fact"), rag.metrics.get("retrieval_recall")
    if fact is not None and recall is not None and (fact.value or 0.0) < min(fact_target, recall.value or 0.0):
        gaps.append(
            f"RAG finds the right document for {recall.value or 0.0:.2f} of the cases, "
            f"but answers only {fact.value or 0.0:.2f} of them right"
        )
    return tuple(gaps)


def _what_would_stop(format_target: float, fact_target: float) -> tuple[str, ...]:
    return (
        f"RAG reaching format {format_target:.2f} and fact {fact_target:.2f} with worked examples",
        "a stronger base checkpoint",
    )
