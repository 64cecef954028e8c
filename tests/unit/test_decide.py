"""The tuning decision: reasons that follow from the measurements."""

from __future__ import annotations

from steelyard.decide import decide_tuning
from steelyard.records import Score, Scorecard


def rag(**metrics):
    """Make RAG's scorecard."""
    return Scorecard("rag", {name: Score(value, 100) for name, value in metrics.items()}, {}, {})


def decide(card, pairs=600, mode="auto"):
    """Decide with the usual targets."""
    return decide_tuning(mode=mode, pairs=pairs, minimum_pairs=500, rag=card, format_target=0.95, fact_target=0.9)


def test_decide_no_pairs_skips_and_says_so():
    """Without pairs there is nothing to tune on."""
    decision = decide(rag(format=0.0), pairs=0)
    assert not decision.is_tuning_worthwhile
    assert "no training pairs" in decision.reasons[0]


def test_decide_too_few_pairs_skips_and_names_the_gap():
    """The missing number is told."""
    decision = decide(rag(format=0.0), pairs=499)
    assert not decision.is_tuning_worthwhile
    assert decision.would_change[0] == "add 1 pairs"


def test_decide_format_gap_tunes():
    """A format that examples do not bring about is a reason."""
    decision = decide(rag(format=0.8, fact=0.95, retrieval_recall=0.95))
    assert decision.is_tuning_worthwhile
    assert "0.80" in decision.reasons[0]


def test_decide_retrieval_gap_alone_does_not_tune():
    """What retrieval does not find, tuning does not repair."""
    assert not decide(rag(format=1.0, fact=0.4, retrieval_recall=0.4)).is_tuning_worthwhile


def test_decide_found_but_not_read_tunes():
    """Found and not answered is behaviour."""
    assert decide(rag(format=1.0, fact=0.4, retrieval_recall=0.95)).is_tuning_worthwhile


def test_decide_never_and_always_obey_the_project():
    """The project file has the last word, within what is possible."""
    assert not decide(rag(format=0.0), mode="never").is_tuning_worthwhile
    assert decide(rag(format=1.0, fact=1.0, retrieval_recall=1.0), mode="always").is_tuning_worthwhile
    assert not decide(rag(format=0.0), mode="always", pairs=0).is_tuning_worthwhile
