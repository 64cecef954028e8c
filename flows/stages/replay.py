"""Replay of the last update: the fresh cases asked of the documents as they were before it, and as they are now.

Belongs here: which cases, which snapshots, and the share that is right. Not here: what an update takes (see `costs`).

A search names the snapshot that it reads, so nothing is published for a replay, and readers notice nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from flows.build import Job
from flows.parts import Parts
from flows.stages.contexts import Question
from flows.stages.data import evenly_spaced
from flows.stages.evaluation import ArmResult, evaluate_arm
from steelyard.evaluate.scores import mean_score
from steelyard.records import RETRIEVING_ARMS, Adapter, Arm, Case, Score, Scorecard, Snapshot

_RIGHT = "fact"


@dataclass(frozen=True, slots=True)
class Freshness:
    """Shares of fresh cases that an arm gets right before the last update and straight after it."""

    before: Score
    after: Score


@dataclass(frozen=True, slots=True)
class Replay:
    """Freshness by arm, and the answers and tokens that were generated for it now."""

    freshness: Mapping[Arm, Freshness]
    answers_generated: int = 0
    tokens_generated: int = 0


def replay_update(
    job: Job,
    parts: Parts,
    results: Mapping[Arm, ArmResult],
    question: Question,
    snapshots: Sequence[Snapshot],
    *,
    adapter: Adapter | None,
) -> Replay:
    """Return what the last update changed; empty without a fresh case or without an earlier snapshot.

    The answers after the update are those of the evaluation. Before it only retrieving arms were shown anything else.
    """
    cases = fresh_sample(job, question)
    earlier = [snapshot for snapshot in snapshots if snapshot.sequence < question.latest.sequence]
    if not cases or not earlier:
        return Replay({})
    before = replace(question, contract=replace(question.contract, cases=tuple(cases)), latest=earlier[-1])
    replayed = {
        arm: evaluate_arm(job, parts, arm, before, adapter=adapter) for arm in results if arm in RETRIEVING_ARMS
    }
    return Replay(
        freshness={
            arm: Freshness(
                before=_share_right(replayed.get(arm, result).scorecard, cases),
                after=_share_right(result.scorecard, cases),
            )
            for arm, result in results.items()
        },
        answers_generated=sum(result.answers_generated for result in replayed.values()),
        tokens_generated=sum(result.tokens_generated for result in replayed.values()),
    )


def fresh_sample(job: Job, question: Question) -> list[Case]:
    """Return the fresh cases that are asked again."""
    fresh = [case for case in question.contract.cases if case.kind == "fresh"]
    return evenly_spaced(fresh, job.project.evaluation.replay_sample)


def _share_right(card: Scorecard, cases: Sequence[Case]) -> Score:
    return mean_score([card.by_case[case.id].get(_RIGHT) for case in cases], name=_RIGHT)
