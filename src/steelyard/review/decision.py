"""What follows from a reviewer's tag, given what is true now.

A version's tag `review` is its state:

    pending → approved → promoted      a person approves, the flow checks and moves `champion`
                       → refused       or says why not; approving again asks for the same checks again
            → rejected                 a person rejects, the flow takes `challenger` away

Only `approved` and `rejected` are a person's to set; the flow sets the others. Where a project asks for no review the
tag is `not required`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Action = Literal["nothing", "promote", "settle", "reject", "refuse", "ask again"]
SnapshotState = Literal["not needed", "there", "missing", "changed"]

_NOBODY_ASKS = frozenset({"pending", "promoted", "refused", "not required"})
NO_CHAMPION = "none"  # in the tag compared_with: there was no champion to compare with


@dataclass(frozen=True, slots=True)
class Proposal:
    """A version as its tags tell it: the state of its review, the evidence shown, the champion it was weighed against.

    `is_settled` says that the flow has left its outcome already.
    """

    version: str
    review: str
    evidence: str | None
    compared_with: str | None
    is_settled: bool = False


@dataclass(frozen=True, slots=True)
class Situation:
    """What is true now: the champion, the evidence as the audit record and as the run hold it, the index snapshot.

    `found_evidence` is None when the run is gone.
    """

    champion: str | None
    proposed_evidence: str | None
    found_evidence: str | None
    snapshot: SnapshotState


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about a version, and why.

    promote: move `champion` once the smoke test passes. settle: it is champion already, only its state is to be put
    right. ask again: the tag cannot be read.
    """

    action: Action
    reason: str


def needs_a_look(proposal: Proposal) -> bool:
    """Tell whether a version's tags ask for anything."""
    if proposal.review == "approved":
        return True
    return not proposal.is_settled and proposal.review not in _NOBODY_ASKS


def decide(proposal: Proposal, situation: Situation) -> Decision:
    """Return what follows from a reviewer's tag; the first check that fails is the reason."""
    if not needs_a_look(proposal):
        return Decision("nothing", f"review is {proposal.review}: nobody asks for anything")
    is_champion = situation.champion == proposal.version
    if proposal.review == "approved":
        return Decision("settle", "it is champion already") if is_champion else _decide_approved(proposal, situation)
    if proposal.review != "rejected":
        return Decision("ask again", f"review is {proposal.review!r}; it is answered with approved or rejected")
    if is_champion:
        return Decision("refuse", "it is champion: rejecting comes too late, roll back instead")
    return Decision("reject", "rejected by the reviewer")


def _decide_approved(proposal: Proposal, situation: Situation) -> Decision:
    fault = _evidence_fault(proposal, situation) or _champion_fault(proposal, situation) or _snapshot_fault(situation)
    if fault is not None:
        return Decision("refuse", fault)
    return Decision("promote", "the evidence is the one proposed, and the champion the one compared with")


def _evidence_fault(proposal: Proposal, situation: Situation) -> str | None:
    if situation.proposed_evidence is None or proposal.evidence is None:
        return "no release proposed it: there is no evidence on record"
    if proposal.evidence != situation.proposed_evidence:
        return "its tag evidence is not the one it was proposed with: it was edited"
    if situation.found_evidence is None:
        return "the run that holds its evidence is gone"
    if situation.found_evidence != proposal.evidence:
        return "the evidence was edited after the version was proposed"
    return None


def _champion_fault(proposal: Proposal, situation: Situation) -> str | None:
    champion = situation.champion or NO_CHAMPION
    if proposal.compared_with == champion:
        return None
    return (
        f"it was compared with {_named(proposal.compared_with)}, but champion is now {_named(champion)}: "
        "the next release weighs it again"
    )


def _named(version: str | None) -> str:
    return "no champion" if version in {None, NO_CHAMPION} else f"version {version}"


def _snapshot_fault(situation: Situation) -> str | None:
    if situation.snapshot == "missing":
        return "the index snapshot that it was evaluated on is gone"
    if situation.snapshot == "changed":
        return "the index snapshot that it was evaluated on holds other passages now"
    return None
