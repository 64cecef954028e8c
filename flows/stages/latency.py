"""Latency: single questions asked of all arms in turn, as a user would ask them.

Belongs here: which questions, in which order, and how long each took. Not here: what the seconds cost.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flows.build import Job, decoding
from flows.parts import Parts, base_fingerprint
from flows.stages.contexts import Question, example_turns
from flows.stages.data import evenly_spaced
from flows.stages.evaluation import case_prompt
from steelyard.fingerprint import digest
from steelyard.records import RETRIEVING_ARMS, TUNED_ARMS, Adapter, Arm, Case, Completion, Hit, Message, Remedy

_CODE_VERSION = 2  # raise when seconds come to mean something else


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds of single questions by arm, and the tokens that measuring them generated now."""

    seconds: Mapping[Arm, Sequence[float]]
    tokens_generated: int


def measure_latencies(
    job: Job, parts: Parts, arms: Sequence[Arm], question: Question, *, adapter: Adapter | None
) -> Latencies:
    """Ask a sample of the cases one at a time, the arms taking turns; measured once for the same models and prompts.

    The seconds of a question are those of embedding it and searching, where the arm retrieves, and of generating, with
    the adapter merged. A first round warms up and is not counted; each round begins with another arm.
    """
    sample = _sample(job, question)
    fingerprint = _fingerprint(job, arms, sample, question.remedy, adapter)
    record = job.workspace.ledger.find("latency", fingerprint)
    if record is not None:
        return Latencies(record["seconds"], 0)
    examples = {arm: example_turns(job, parts, arm, question) for arm in arms}
    seconds: dict[Arm, list[float]] = {arm: [] for arm in arms}
    tokens = 0
    for turn, case in enumerate([sample[0], *sample]):
        first = turn % len(arms)
        for arm in (*arms[first:], *arms[:first]):
            taken, completion = _ask(job, parts, arm, case, question, examples=examples[arm], adapter=adapter)
            tokens += completion.completion_tokens
            if turn:
                seconds[arm].append(taken)
        job.progress.update("measure latency", turn, len(sample), "questions")
    job.workspace.ledger.record("latency", fingerprint, {"seconds": seconds})
    return Latencies(seconds, tokens)


def _sample(job: Job, question: Question) -> list[Case]:
    asked = [case for case in question.contract.cases if case.kind != "retention"]
    return evenly_spaced(asked, job.project.generation.latency_sample)


def _ask(
    job: Job,
    parts: Parts,
    arm: Arm,
    case: Case,
    question: Question,
    *,
    examples: Sequence[Message],
    adapter: Adapter | None,
) -> tuple[float, Completion]:
    generator = parts.generator(adapter if arm in TUNED_ARMS else None)
    started = time.perf_counter()
    hits = _search(job, parts, case, question) if arm in RETRIEVING_ARMS else None
    searching = time.perf_counter() - started
    (completion,) = generator.generate([case_prompt(job, case, examples, hits)], decoding(job, question.remedy))
    return searching + completion.seconds, completion


def _search(job: Job, parts: Parts, case: Case, question: Question) -> list[Hit]:
    retrieval = job.project.index.retrieval
    (vector,) = parts.embedder.embed([case.question])
    return parts.index.search(
        case.question, vector, snapshot=question.latest.sequence, top_k=retrieval.top_k, alpha=retrieval.alpha
    )


def _fingerprint(
    job: Job, arms: Sequence[Arm], sample: Sequence[Case], remedy: Remedy | None, adapter: Adapter | None
) -> str:
    """Return the identity of a measurement; a changed document does not make another one necessary."""
    return digest(
        [
            list(arms),
            base_fingerprint(job),
            None if adapter is None else adapter.fingerprint,
            [case.id for case in sample],
            job.project.generation,
            job.project.prompt,
            remedy,
            job.project.task.instructions,
            job.project.index.retrieval,
            _CODE_VERSION,
        ]
    )
