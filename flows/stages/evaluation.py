"""Evaluate: an arm answers all cases and is scored.

Belongs here: prompts for an arm, answers by fingerprint, scorecards. Not here: generating, scoring, judging, latency.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.build import Job, decoding, output_rules
from flows.parts import Parts, base_fingerprint
from flows.stages.contexts import Question, example_turns, examples_count, examples_fingerprint, retrieve
from steelyard.evaluate import answers, scores
from steelyard.evaluate.kept import keep, write_kept
from steelyard.fingerprint import digest
from steelyard.prompts import CODE_VERSION as PROMPT_VERSION
from steelyard.prompts import plain_prompt, render_prompt
from steelyard.records import RETRIEVING_ARMS, TUNED_ARMS, Adapter, Arm, Case, Hit, Message, Prompt, Scorecard
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
            "decoding": [decoding(job, question.remedy), decoding(job)],
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
        key = digest([question.latest.sequence, question.contract.cases_digest])
        hits = parts.case_hits(key, lambda: _case_hits(job, parts, question))
    return [case_prompt(job, case, examples, hits.get(case.id)) for case in cases], hits


def case_prompt(job: Job, case: Case, examples: Sequence[Message], hits: Sequence[Hit] | None) -> Prompt:
    """Return what an arm is asked; `hits` None means that it retrieves nothing.

    A retention case is asked as it stands, without task and passages: it is about the model, and so it measures what
    tuning made of the model, not what a task that asks for records makes of a chat.
    """
    if case.kind == "retention":
        return plain_prompt(case.question)
    return render_prompt(case.question, instructions=job.project.task.instructions, examples=examples, hits=hits)


def _case_hits(job: Job, parts: Parts, question: Question) -> dict[str, list[Hit]]:
    cases = [case for case in question.contract.cases if case.kind != "retention"]
    found = retrieve(
        job,
        parts,
        [case.question for case in cases],
        snapshot=question.latest.sequence,
        top_k=job.project.index.retrieval.top_k,
        task="search for cases",
    )
    return {case.id: some for case, some in zip(cases, found, strict=True)}


def _answer_and_score(
    job: Job, parts: Parts, arm: Arm, question: Question, *, adapter: Adapter | None, kept: Path
) -> ArmResult:
    prompts, hits = arm_prompts(job, parts, arm, question)
    cases = question.contract.cases
    completed = answers.complete_cases(
        cases,
        prompts,
        generator=parts.generator(adapter),
        store=answers.AnswerStore(job.workspace.answers),
        decoding=decoding(job, question.remedy),
        batch_size=job.project.generation.batch_size,
        task=f"answer as {arm}",
        progress=job.progress,
    )
    given = [
        answers.answer_of(arm, case.id, completion, prompt=prompt, hits=hits.get(case.id, ()))
        for case, prompt, completion in zip(cases, prompts, completed.completions, strict=True)
    ]
    write_kept(kept, keep(given, prompts, hits))
    card = scores.scorecard(arm, cases, {answer.case_id: answer for answer in given}, hits, rules=output_rules(job))
    return ArmResult(card, answers.answers_digest(given), kept, completed.generated, completed.generated_tokens)
