"""Cheap remedies and the gold-context probe, over scores of held-out pairs."""

from __future__ import annotations

from steelyard.records import Pair, Remedy
from steelyard.remedies import best, case_of, is_enough, probe, trial
from steelyard.training_set import hold_out

PLAIN, SHOWN, HELD = Remedy(0), Remedy(3), Remedy(3, is_constrained=True)


def rows(form, right, count=10):
    """Return scores of which these many in ten have the form and are right."""
    return [{"format": float(n < form), "fact": float(n < right), "prompt_tokens": 100.0} for n in range(count)]


def test_trial_means_over_facts_and_refusals():
    """A refusal that was due is a right answer."""
    made = trial(SHOWN, [*rows(10, 2, 4), {"format": 0.0, "refusal": 1.0, "prompt_tokens": 200.0}])
    assert (made.form, made.right, made.prompt_tokens, made.n) == (0.8, 0.6, 120.0, 5)


def test_trial_missing_score_counts_as_wrong():
    """What could not be scored does not help a remedy."""
    made = trial(SHOWN, [{"format": None, "fact": None, "prompt_tokens": 1.0}, *rows(1, 1, 1)])
    assert (made.form, made.right) == (0.5, 0.5)


def test_best_takes_the_better_and_of_equals_the_cheaper():
    """Later remedies cost more, so they have to bring something."""
    trials = [trial(PLAIN, rows(0, 1)), trial(SHOWN, rows(8, 1)), trial(HELD, rows(10, 1))]
    assert best(trials) == HELD
    assert best([*trials[:2], trial(HELD, rows(8, 1))]) == SHOWN


def test_best_without_a_form_looks_at_right_answers():
    """A project that asks for no form is judged on its answers."""
    bare = [{"fact": 1.0, "prompt_tokens": 1.0}], [{"fact": 0.0, "prompt_tokens": 1.0}]
    assert best([trial(PLAIN, bare[1]), trial(SHOWN, bare[0])]) == SHOWN
    assert is_enough(trial(PLAIN, bare[0]), format_target=1.0, fact_target=1.0)


def test_is_enough_asks_for_both_targets():
    """A form without right answers ends no climb."""
    assert is_enough(trial(SHOWN, rows(10, 9)), format_target=0.95, fact_target=0.9)
    assert not is_enough(trial(SHOWN, rows(10, 8)), format_target=0.95, fact_target=0.9)
    assert not is_enough(trial(SHOWN, rows(9, 10)), format_target=0.95, fact_target=0.9)


def test_probe_tells_retrieval_from_behaviour():
    """Wrong, then right with the right passage: retrieval; wrong both times: behaviour."""
    retrieved = [{"fact": value} for value in (1.0, 0.0, 0.0, 0.0)]
    gold = [{"fact": value} for value in (0.0, 1.0, 0.0, 0.0)]
    made = probe(retrieved, gold)
    assert (made.retrieval_gap, made.behaviour_gap, made.n) == (0.25, 0.5, 4)


def pairs(count, documents):
    """Return pairs, each on the documents that `documents` names for its number."""
    return [Pair(f"p{n}", f"q{n}", "{}", documents=documents(n)) for n in range(count)]


def test_hold_out_no_document_stands_on_both_sides():
    """Pairs that share a document, directly or through others, stay together."""
    split = hold_out(pairs(60, lambda n: (f"d{n // 3}", f"e{n // 6}")), share=0.2, seed=1)
    sides = [{name for pair in side for name in pair.documents} for side in (split.training, split.held_out)]
    assert not sides[0] & sides[1]
    assert len(split.held_out) == 12
    assert len(split.training) + len(split.held_out) == 60


def test_hold_out_depends_on_seed_and_pairs_not_on_their_order():
    """The same pairs give the same split."""
    some = pairs(40, lambda n: (f"d{n}",))
    first = {pair.id for pair in hold_out(some, share=0.25, seed=1).held_out}
    assert first == {pair.id for pair in hold_out(some[::-1], share=0.25, seed=1).held_out}
    assert first != {pair.id for pair in hold_out(some, share=0.25, seed=2).held_out}


def test_hold_out_of_one_group_none_or_nothing_keeps_all_for_training():
    """Where nothing can be held out, everything is trained on."""
    for some, share in ((pairs(5, lambda n: ("d",)), 0.5), (pairs(5, lambda n: (f"d{n}",)), 0.0), ([], 0.5)):
        assert hold_out(some, share=share, seed=1).held_out == ()


def test_hold_out_pairs_without_documents_stand_alone():
    """A pair that names no document is its own group."""
    assert len(hold_out(pairs(20, lambda n: ()), share=0.1, seed=1).held_out) == 2


def test_case_of_pair_is_scored_like_a_case():
    """An unanswerable pair asks for a refusal."""
    case = case_of(Pair("p", "q", "out", kind="unanswerable", documents=("d",)))
    assert (case.kind, case.expected, case.documents, case.cluster) == ("unanswerable", "out", ("d",), "d")
