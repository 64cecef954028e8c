"""Evaluate: an arm answers all cases and is scored; latency is measured on a sample, arms interleaved.

Belongs here: prompts for an arm, answers by fingerprint, scorecards. Not here: generating, scoring, judging.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flows.build import Job, decoding, output_rules
from flows.parts import Parts, base_fingerprint
from flows.stages.contexts import Question, example_turns, examples_count, examples_fingerprint, retrieve
from flows.stages.data import evenly_spaced
from steelyard.evaluate import answers, scores
from steelyard.evaluate.kept import keep, write_kept
from steelyard.fingerprint import digest
from steelyard.prompts import CODE_VERSION as PROMPT_VERSION
from steelyard.prompts import prompt_digest, render_prompt
from steelyard.records import RETRIEVING_ARMS, TUNED_ARMS, Adapter, Answer, Arm, Hit, Prompt, Score, Scorecard
from steelyard.training_set import CODE_VERSION as EXAMPLES_VERSION


@dataclass(frozen=True, slots=True)
class ArmResult:
    """An arm's scorecard, the digest of its answers, where they are kept, and what was generated now."""

    scorecard: Scorecard
    digest: str
    kept: Path
    answers_generated: int = 0
    tokens_generated: int = 0


def evaluate_arm(job: Job, parts: Parts, arm: Arm, question: Question, *, adapter: Adapter | None) -> ArmResult:
    """Return how an arm does on the cases; the same arm, cases and index are evaluated once."""
    from pydantic import TypeAdapter

    mine = adapter if arm in TUNED_ARMS else None
    fingerprint = arm_fingerprint(job, arm, question, adapter=mine)
    found = recorded_result(job, fingerprint)
    if found is not None:
        return found
    result = _answer_and_score(job, parts, arm, question, adapter=mine, kept=job.workspace.kept_answers(fingerprint))
    codec = TypeAdapter(Scorecard)
    job.workspace.ledger.record(
        "evaluate",
        fingerprint,
        {"digest": result.digest, "scorecard": codec.dump_python(result.scorecard, mode="json")},
    )
    return result


def recorded_result(job: Job, fingerprint: str) -> ArmResult | None:
    """Return an evaluation that was done already, or None."""
    from pydantic import TypeAdapter

    record, kept = job.workspace.ledger.find("evaluate", fingerprint), job.workspace.kept_answers(fingerprint)
    if record is None or not kept.is_file():
        return None
    return ArmResult(TypeAdapter(Scorecard).validate_python(record["scorecard"]), record["digest"], kept)


def arm_fingerprint(job: Job, arm: Arm, question: Question, *, adapter: Adapter | None) -> str:
    """Return the identity of an arm's evaluation, without opening anything."""
    examples = examples_count(job, arm, question)
    retrieval = [question.index.digests[question.latest.sequence], job.project.index.retrieval]
    return digest(
        {
            "arm": arm,
            "cases": question.contract.cases_digest,
            "generator": base_fingerprint(job, adapter),
            "decoding": decoding(job, question.remedy),
            "batch_size": job.project.generation.batch_size,
            "instructions": job.project.task.instructions,
            "examples": [examples, examples_fingerprint(job, question)] if examples else None,
            "retrieval": retrieval if arm in RETRIEVING_ARMS else None,
            "rules": output_rules(job),
            "code": [PROMPT_VERSION, EXAMPLES_VERSION, scores.CODE_VERSION],
        }
    )


def arm_prompts(job: Job, parts: Parts, arm: Arm, question: Question) -> tuple[list[Prompt], dict[str, list[Hit]]]:
    """Return the prompt of every case, and the passages by case id (empty for arms that do not retrieve)."""
    examples = example_turns(job, parts, arm, question)
    cases, hits = question.contract.cases, dict[str, list[Hit]]()
    if arm in RETRIEVING_ARMS:
        hits = parts.case_hits(lambda: _case_hits(job, parts, question))
    prompts = [
        render_prompt(
            case.question, instructions=job.project.task.instructions, examples=examples, hits=hits.get(case.id)
        )
        for case in cases
    ]
    return prompts, hits


def _case_hits(job: Job, parts: Parts, question: Question) -> dict[str, list[Hit]]:
    found = retrieve(
        job,
        parts,
        [case.question for case in question.contract.cases],
        snapshot=question.latest.sequence,
        top_k=job.project.index.retrieval.top_k,
        task="search for cases",
    )
    return {case.id: some for case, some in zip(question.contract.cases, found, strict=True)}


def _answer_and_score(
    job: Job, parts: Parts, arm: Arm, question: Question, *, adapter: Adapter | None, kept: Path
) -> ArmResult:
    prompts, hits = arm_prompts(job, parts, arm, question)
    completed = answers.complete(
        prompts,
        generator=parts.generator(adapter),
        store=answers.AnswerStore(job.workspace.answers),
        decoding=decoding(job, question.remedy),
        batch_size=job.project.generation.batch_size,
        task=f"answer as {arm}",
        progress=job.progress,
    )
    given = [
        Answer(
            arm=arm,
            case_id=case.id,
            text=completion.text,
            passage_ids=tuple(hit.passage.id for hit in hits.get(case.id, ())),
            document_ids=tuple(dict.fromkeys(hit.passage.document_id for hit in hits.get(case.id, ()))),
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            prompt_digest=prompt_digest(prompt),
        )
        for case, prompt, completion in zip(question.contract.cases, prompts, completed.completions, strict=True)
    ]
    write_kept(kept, keep(given, prompts, hits))
    card = scores.scorecard(
        arm, question.contract.cases, {answer.case_id: answer for answer in given}, hits, rules=output_rules(job)
    )
    return ArmResult(card, answers.answers_digest(given), kept, completed.generated, completed.generated_tokens)


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds of single questions by arm, and the tokens that measuring them generated now."""

    seconds: Mapping[Arm, Sequence[float]]
    tokens_generated: int


def measure_latencies(
    job: Job,
    parts: Parts,
    arms: Sequence[Arm],
    question: Question,
    *,
    adapter: Adapter | None,
) -> Latencies:
    """Ask a sample of the cases one at a time, the arms taking turns; measured once for the same models and prompts.

    A first round warms up and is not counted.
    """
    fingerprint = _latency_fingerprint(job, arms, question, adapter)
    record = job.workspace.ledger.find("latency", fingerprint)
    if record is not None:
        return Latencies(record["seconds"], 0)
    count = job.project.generation.latency_sample
    sampled = evenly_spaced(range(len(question.contract.cases)), count)
    prompts = {arm: arm_prompts(job, parts, arm, question)[0] for arm in arms}
    seconds: dict[Arm, list[float]] = {arm: [] for arm in arms}
    tokens = 0
    for turn, place in enumerate([sampled[0], *sampled]):
        for arm in arms:
            generator = parts.generator(adapter if arm in TUNED_ARMS else None)
            (completion,) = generator.generate([prompts[arm][place]], decoding(job, question.remedy))
            tokens += completion.completion_tokens
            if turn:
                seconds[arm].append(completion.seconds)
        job.progress.update("measure latency", turn, len(sampled), "questions")
    job.workspace.ledger.record("latency", fingerprint, {"seconds": seconds})
    return Latencies(seconds, tokens)


def _latency_fingerprint(job: Job, arms: Sequence[Arm], question: Question, adapter: Adapter | None) -> str:
    """Return the identity of a measurement; a changed document does not make another one necessary."""
    return digest(
        [
            list(arms),
            base_fingerprint(job),
            None if adapter is None else adapter.fingerprint,
            [case.id for case in question.contract.cases],
            job.project.generation,
            job.project.prompt,
            question.remedy,
            job.project.task.instructions,
            job.project.index.retrieval,
        ]
    )


def with_costs(
    card: Scorecard, latencies: Latencies, *, setup_seconds: float, update_seconds: float | None
) -> Scorecard:
    """Return a scorecard with its latency, and what the arm costs to set up and to bring up to date."""
    from statistics import median

    seconds = latencies.seconds[card.arm]
    return replace(
        card,
        metrics={
            **card.metrics,
            "latency_p50_seconds": Score(median(seconds), len(seconds)),
            "setup_seconds": Score(setup_seconds, 1),
            "update_seconds": Score(update_seconds, 1),
        },
    )
