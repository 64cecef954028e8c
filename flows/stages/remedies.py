"""Remedies: what worked examples and held-to output bring, and what the right passage would, on held-out pairs.

Belongs here: asking the base checkpoint; chosen once for the same pairs, index and model. Not here: the choice (see
`steelyard.remedies`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flows.build import Job, decoding, output_rules, remedies
from flows.parts import Parts, base_fingerprint
from flows.stages.contexts import Question, example_turns, examples_fingerprint, pair_contexts
from flows.stages.data import evenly_spaced
from steelyard import remedies as ladder
from steelyard.evaluate import answers, scores
from steelyard.evaluate.output import supports
from steelyard.fingerprint import digest
from steelyard.prompts import CODE_VERSION as PROMPT_VERSION
from steelyard.prompts import render_prompt
from steelyard.records import Hit, Pair, Probe, Remedy, RemedyTrial
from steelyard.training_set import CODE_VERSION as EXAMPLES_VERSION

_GOLD_CANDIDATES = 10  # passages of the right documents among which the one that holds the answer is looked for


@dataclass(frozen=True, slots=True)
class Remedied:
    """What was tried and chosen, what the right passage repairs, and what was generated now."""

    remedy: Remedy | None
    trials: tuple[RemedyTrial, ...] = ()
    probe: Probe | None = None
    answers_generated: int = 0
    tokens_generated: int = 0


def choose_remedy(job: Job, parts: Parts, question: Question) -> Remedied:
    """Return the best cheap remedy and the gaps that it leaves; asked once for the same pairs, index and model."""
    if not question.pairs.held_out or not remedies(job):
        return Remedied(None)
    found = recorded_remedy(job, question)
    if found is not None:
        return found
    asked = _Asked(job, parts, question)
    trials = _climb(job, asked)
    remedy = ladder.best(trials)
    result = Remedied(remedy, trials, _probe(asked, remedy), asked.generated, asked.generated_tokens)
    job.workspace.ledger.record("remedies", remedies_fingerprint(job, question), _plain(result))
    return result


def recorded_remedy(job: Job, question: Question) -> Remedied | None:
    """Return a choice that was made already, or None."""
    from pydantic import TypeAdapter

    record = job.workspace.ledger.find("remedies", remedies_fingerprint(job, question))
    return None if record is None else TypeAdapter(Remedied).validate_python(record)


def remedies_fingerprint(job: Job, question: Question) -> str:
    """Return the identity of the choice, without opening anything."""
    decide = job.project.decide
    return digest(
        {
            "examples": examples_fingerprint(job, question),
            "sample": job.project.prompt.held_out.sample,
            "generator": base_fingerprint(job),
            "remedies": [[remedy, decoding(job, remedy)] for remedy in remedies(job)],
            "batch_size": job.project.generation.batch_size,
            "instructions": job.project.task.instructions,
            "targets": [decide.format_target, decide.fact_target],
            "rules": output_rules(job),
            "code": [PROMPT_VERSION, EXAMPLES_VERSION, scores.CODE_VERSION, ladder.CODE_VERSION],
        }
    )


def _plain(result: Remedied) -> dict[str, Any]:
    """Return what is worth recording: a choice found again has generated nothing."""
    from pydantic import TypeAdapter

    plain: dict[str, Any] = TypeAdapter(Remedied).dump_python(
        replace(result, answers_generated=0, tokens_generated=0), mode="json"
    )
    return plain


def _climb(job: Job, asked: _Asked) -> tuple[RemedyTrial, ...]:
    """Try one remedy after the other until one is enough."""
    trials = list[RemedyTrial]()
    targets = {"format_target": job.project.decide.format_target, "fact_target": job.project.decide.fact_target}
    for remedy in remedies(job):
        trials.append(ladder.trial(remedy, asked.score(remedy, asked.sample, asked.retrieved)))
        job.progress.note(_tell(trials[-1]))
        if ladder.is_enough(trials[-1], **targets):
            break
    return tuple(trials)


def _tell(trial: RemedyTrial) -> str:
    held = ", output held to its form" if trial.remedy.is_constrained else ""
    form = "" if trial.form is None else f"format {trial.form:.2f}, "
    return (
        f"RAG with {trial.remedy.examples} worked examples{held}: {form}right {trial.right:.2f} of {trial.n} held-out "
        f"pairs, {trial.prompt_tokens:.0f} prompt tokens"
    )


def _probe(asked: _Asked, remedy: Remedy) -> Probe:
    """Ask what can be answered again, with the right passage in the prompt."""
    answerable = [pair for pair in asked.sample if pair.kind == "fact" and pair.documents]
    gold = {pair.id: asked.gold(pair) for pair in answerable}
    return ladder.probe(asked.score(remedy, answerable, asked.retrieved), asked.score(remedy, answerable, gold))


class _Asked:
    """Held-out pairs asked of the base checkpoint, and what that generated."""

    def __init__(self, job: Job, parts: Parts, question: Question) -> None:
        self._job, self._parts, self._question = job, parts, question
        self.sample = evenly_spaced(question.pairs.held_out, job.project.prompt.held_out.sample)
        top_k = job.project.index.retrieval.top_k
        self.retrieved = {pair: hits[:top_k] for pair, hits in pair_contexts(job, parts, question).items()}
        self.generated = self.generated_tokens = 0

    def score(
        self, remedy: Remedy, pairs: Sequence[Pair], shown: Mapping[str, Sequence[Hit]]
    ) -> list[dict[str, float | None]]:
        """Return the scores of the answers to `pairs` with these passages."""
        job, question = self._job, replace(self._question, remedy=remedy)
        examples = example_turns(job, self._parts, "rag", question)
        instructions = job.project.task.instructions
        prompts = [
            render_prompt(pair.input, instructions=instructions, examples=examples, hits=shown[pair.id])
            for pair in pairs
        ]
        completed = answers.complete(
            prompts,
            generator=self._parts.generator(None),
            store=answers.AnswerStore(job.workspace.answers),
            decoding=decoding(job, remedy),
            batch_size=job.project.generation.batch_size,
            task="try remedies on held-out pairs",
            progress=job.progress,
        )
        self.generated += completed.generated
        self.generated_tokens += completed.generated_tokens
        rows = []
        for pair, prompt, completion in zip(pairs, prompts, completed.completions, strict=True):
            case, hits = ladder.case_of(pair), shown[pair.id]
            answer = answers.answer_of("rag", case.id, completion, prompt=prompt, hits=hits)
            rows.append(scores.score_case(case, answer, hits, output_rules(job)))
        return rows

    def gold(self, pair: Pair) -> list[Hit]:
        """Return the passages of the pair's own documents, those that hold its answer first, as many as are shown."""
        retrieval = self._job.project.index.retrieval
        found = self._parts.index.search(
            pair.input,
            self._parts.embedder.embed([pair.input])[0],
            snapshot=self._question.pairs_snapshot.sequence,
            top_k=max(_GOLD_CANDIDATES, retrieval.top_k),
            alpha=retrieval.alpha,
            document_ids=pair.documents,
        )
        rules = output_rules(self._job)
        found.sort(key=lambda hit: not supports(hit.passage.text, pair.output, rules))  # stable: best first
        return found[: retrieval.top_k]
