from dataclasses import replace

import pytest

from steelyard.review.decision import Proposal, Situation, decide, needs_a_look

APPROVED = Proposal("2", "approved", evidence="e", compared_with="1")
AS_PROPOSED = Situation(champion="1", proposed_evidence="e", found_evidence="e", snapshot="there")


def test_decide_approved_as_proposed_promotes():
    """Nothing has changed since the version was proposed."""
    assert decide(APPROVED, AS_PROPOSED).action == "promote"


def test_decide_first_version_ever_is_compared_with_no_champion():
    """The first proposal has nobody to be compared with, and there is still nobody."""
    first = replace(APPROVED, compared_with="none")
    assert decide(first, replace(AS_PROPOSED, champion=None)).action == "promote"
    assert decide(first, AS_PROPOSED).action == "refuse"


@pytest.mark.parametrize(
    ("proposal", "situation", "told"),
    [
        ({}, {"champion": "3"}, "compared with version 1, but champion is now version 3"),
        ({}, {"champion": None}, "champion is now no champion"),
        ({"evidence": "x"}, {}, "tag evidence"),
        ({"evidence": None}, {}, "no release proposed it"),
        ({}, {"proposed_evidence": None}, "no release proposed it"),
        ({}, {"found_evidence": "x"}, "edited after"),
        ({}, {"found_evidence": None}, "is gone"),
        ({}, {"snapshot": "missing"}, "snapshot that it was evaluated on is gone"),
        ({}, {"snapshot": "changed"}, "holds other passages"),
        ({"evidence": "x"}, {"proposed_evidence": "e", "found_evidence": "x"}, "tag evidence"),
    ],
)
def test_decide_approved_after_a_change_refuses_with_the_reason(proposal, situation, told):
    """Whatever differs from what was reviewed stops the promotion, and the reason names it."""
    decision = decide(replace(APPROVED, **proposal), replace(AS_PROPOSED, **situation))
    assert decision.action == "refuse"
    assert told in decision.reason


def test_decide_approved_champion_again_only_settles_its_state():
    """Twice approved is no second promotion, whatever else has changed."""
    situation = replace(AS_PROPOSED, champion="2", snapshot="missing")
    assert decide(APPROVED, situation).action == "settle"


def test_decide_rejected_is_acted_on_once():
    """A rejection is carried out, then it stands."""
    rejected = replace(APPROVED, review="rejected")
    assert decide(rejected, AS_PROPOSED).action == "reject"
    assert decide(replace(rejected, is_settled=True), AS_PROPOSED).action == "nothing"


def test_decide_rejected_champion_refuses():
    """A champion is rolled back, not rejected."""
    decision = decide(replace(APPROVED, review="rejected"), replace(AS_PROPOSED, champion="2"))
    assert decision.action == "refuse"
    assert "roll back" in decision.reason


def test_decide_misspelt_answer_asks_again_and_leaves_the_champion():
    """A tag that is neither answer is told, once."""
    misspelt = replace(APPROVED, review="aproved")
    decision = decide(misspelt, AS_PROPOSED)
    assert decision.action == "ask again"
    assert "'aproved'" in decision.reason
    assert not needs_a_look(replace(misspelt, is_settled=True))


@pytest.mark.parametrize("state", ["pending", "promoted", "refused", "not required"])
def test_decide_unanswered_does_nothing(state):
    """A version that waits, or that is settled, is left alone."""
    assert decide(replace(APPROVED, review=state), AS_PROPOSED).action == "nothing"
