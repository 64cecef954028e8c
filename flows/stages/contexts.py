"""What is retrieved: for the training pairs, kept by fingerprint, and for the cases.

Belongs here: embedding questions and searching at the right snapshot. Not here: how a search works.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flows.build import Job, output_rules
from flows.parts import Parts
from flows.stages.data import Contract
from flows.stages.index import IndexState
from steelyard.evaluate.output import supports
from steelyard.fingerprint import digest
from steelyard.records import RETRIEVING_ARMS, TUNED_ARMS, Arm, Hit, Message, Remedy, Snapshot
from steelyard.training_set import CODE_VERSION, Split, hold_out, worked_examples
from steelyard.workspace import write_atomically

_SPARE_PASSAGES = 4  # retrieved beyond top_k, so that gold passages can be taken away in training


@dataclass(frozen=True, slots=True)
class Question:
    """Everything that the arms are asked: accepted cases, the state of the index, and where examples come from.

    `pairs` are split into those that are trained on and shown, and those that settings are chosen on; `remedy` is
    what was chosen, None before that and where there is nothing to choose on.
    """

    contract: Contract
    index: IndexState
    latest: Snapshot
    pairs_snapshot: Snapshot
    pairs: Split
    remedy: Remedy | None = None


def ask(job: Job, contract: Contract, index: IndexState, latest: Snapshot, pairs_snapshot: Snapshot) -> Question:
    """Return the question with its pairs split."""
    held_out = job.project.prompt.held_out
    pairs = hold_out(contract.pairs, share=held_out.share, seed=held_out.seed)
    return Question(contract, index, latest, pairs_snapshot, pairs)


def examples_count(job: Job, arm: Arm, question: Question) -> int:
    """Return how many worked examples stand in an arm's prompt."""
    if not question.pairs.training:
        return 0
    if question.remedy is not None and arm not in TUNED_ARMS:
        return question.remedy.examples
    return int(getattr(job.project.prompt.examples, arm))


def examples_fingerprint(job: Job, question: Question) -> str:
    """Return the identity of what worked examples are chosen from."""
    held_out = job.project.prompt.held_out
    return digest([contexts_fingerprint(job, question), held_out.share, held_out.seed])


def contexts_fingerprint(job: Job, question: Question) -> str:
    """Return the identity of the pairs' contexts: pairs, index at their snapshot, retrieval."""
    index = question.index.digests[question.pairs_snapshot.sequence]
    pairs = question.contract.pairs_digest
    return digest(["contexts", pairs, index, job.project.index.retrieval, CODE_VERSION])


def pair_contexts(job: Job, parts: Parts, question: Question) -> dict[str, list[Hit]]:
    """Return the passages for every pair by its id, best first; searched once for the same pairs and index."""
    from pydantic import TypeAdapter

    codec = TypeAdapter(dict[str, list[Hit]])
    file = job.workspace.contexts / f"{contexts_fingerprint(job, question)}.json"
    if not file.is_file():
        pairs = question.contract.pairs
        found = retrieve(
            job,
            parts,
            [pair.input for pair in pairs],
            snapshot=question.pairs_snapshot.sequence,
            top_k=job.project.index.retrieval.top_k + _SPARE_PASSAGES,
            task="search for pairs",
        )
        hits = {pair.id: some for pair, some in zip(pairs, found, strict=True)}
        write_atomically(file, codec.dump_json(hits).decode())
    return codec.validate_json(file.read_bytes())


def retrieve(
    job: Job, parts: Parts, questions: Sequence[str], *, snapshot: int, top_k: int, task: str
) -> list[list[Hit]]:
    """Return the best passages for every question in a snapshot."""
    batch_size, found = job.project.index.batch_size, list[list[Hit]]()
    for start in range(0, len(questions), batch_size):
        batch = questions[start : start + batch_size]
        found += parts.index.search_many(
            batch,
            parts.embedder.embed(batch),
            snapshot=snapshot,
            top_k=top_k,
            alpha=job.project.index.retrieval.alpha,
        )
        job.progress.update(task, len(found), len(questions), "questions")
    return found


def example_turns(job: Job, parts: Parts, arm: Arm, question: Question) -> tuple[Message, ...]:
    """Return the worked examples that stand in an arm's prompt; none without pairs."""
    count = examples_count(job, arm, question)
    if count == 0:
        return ()
    rules, top_k, shown = output_rules(job), job.project.index.retrieval.top_k, None
    if arm in RETRIEVING_ARMS:
        shown = {pair: hits[:top_k] for pair, hits in pair_contexts(job, parts, question).items()}
    return worked_examples(
        question.pairs.training,
        shown,
        count=count,
        is_supported=lambda context, output: supports(context, output, rules),
    )
