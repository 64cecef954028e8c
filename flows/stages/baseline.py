"""Baseline: how the current champion does on the same cases.

Belongs here: finding it, recognising it among the arms, and asking it where it is none of them. Not here: what is
measured from it (see `steelyard.gate`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flows.build import Job, output_rules, tracking
from flows.parts import Parts
from flows.stages.contexts import Question
from flows.stages.promotion import bundle_of
from flows.stages.smoke import index_settings
from steelyard.errors import ConfigError, DataError
from steelyard.evaluate import answers, scores
from steelyard.fingerprint import digest
from steelyard.promote.bundle import Bundle, answering_fingerprint, bundle_from_json, bundle_to_json
from steelyard.promote.champion import Champion, fetch_adapter, find_champion, read_bundle
from steelyard.prompts import plain_prompt, render_prompt
from steelyard.records import Arm, Case, Hit, Prompt, Scorecard
from steelyard.report import Digests
from steelyard.serving.opening import open_generator, open_search


@dataclass(frozen=True, slots=True)
class Baseline:
    """The champion on the cases of this run.

    `fingerprint` names its bundle, `digests` the evaluation that it came out of; without a champion, or with one that
    cannot be asked (`warnings` say why), all of them are None and RAG is the baseline.
    """

    fingerprint: str | None = None
    digests: Digests | None = None
    scorecard: Scorecard | None = None
    warnings: tuple[str, ...] = ()
    answers_generated: int = 0
    tokens_generated: int = 0


def champion_baseline(
    job: Job, parts: Parts, question: Question, scorecards: Mapping[Arm, Scorecard], digests: Digests
) -> Baseline:
    """Return the champion's scorecard: that of the arm that answers as it does, or its own answers scored."""
    champion = find_champion(job.project.name, tracking(job).uri)
    if champion is None:
        return Baseline()
    try:
        bundle = _bundle(job, champion)
        found = Baseline(champion.fingerprint, bundle.digests)
        identity = answering_fingerprint(bundle)
        for arm, card in scorecards.items():
            if answering_fingerprint(bundle_of(job, parts, question, digests, arm)) == identity:
                return replace(found, scorecard=card)
        return _rescored(job, question, champion, bundle, found)
    except (DataError, ConfigError) as error:
        told = f"champion version {champion.version} cannot be asked, RAG is the baseline: {error.args[0]}"
        return Baseline(warnings=(told,))


def _bundle(job: Job, champion: Champion) -> Bundle:
    """Return the champion's bundle, read from the registry once."""
    ledger = job.workspace.ledger
    record = ledger.find("bundle", champion.fingerprint)
    if record is not None:
        return bundle_from_json(record["bundle"])
    bundle = read_bundle(champion, tracking(job).uri)
    ledger.record("bundle", champion.fingerprint, {"bundle": bundle_to_json(bundle)})
    return bundle


def _rescored(job: Job, question: Question, champion: Champion, bundle: Bundle, found: Baseline) -> Baseline:
    """Ask the champion the cases, once for the same bundle, cases and documents."""
    from pydantic import TypeAdapter

    codec, key = TypeAdapter(Scorecard), _fingerprint(job, question, champion, bundle)
    record = job.workspace.ledger.find("champion", key)
    if record is not None:
        return replace(found, scorecard=codec.validate_python(record["scorecard"]))
    cases = question.contract.cases
    hits = _hits(job, bundle, cases)
    prompts = [_prompt(bundle, case, hits.get(case.id)) for case in cases]
    completed = answers.complete_cases(
        cases,
        prompts,
        generator=open_generator(bundle, _adapter(job, champion, bundle), cache=job.cache, progress=job.progress),
        store=answers.AnswerStore(job.workspace.answers),
        decoding=bundle.decoding,
        batch_size=job.project.generation.batch_size,
        task="answer as the champion",
        progress=job.progress,
    )
    given = {
        case.id: answers.answer_of(bundle.arm, case.id, completion, prompt=prompt, hits=hits.get(case.id, ()))
        for case, prompt, completion in zip(cases, prompts, completed.completions, strict=True)
    }
    card = scores.scorecard(bundle.arm, cases, given, hits, rules=output_rules(job))
    job.workspace.ledger.record("champion", key, {"scorecard": codec.dump_python(card, mode="json")})
    return replace(
        found,
        scorecard=card,
        answers_generated=completed.generated,
        tokens_generated=completed.generated_tokens,
    )


def _adapter(job: Job, champion: Champion, bundle: Bundle) -> Path | None:
    if not bundle.has_adapter:
        return None
    place = job.workspace.bundles / champion.fingerprint
    place.mkdir(parents=True, exist_ok=True)
    return fetch_adapter(champion, tracking(job).uri, place=place)


def _fingerprint(job: Job, question: Question, champion: Champion, bundle: Bundle) -> str:
    """Return the identity of the champion's evaluation; it answers from what is published in its collection."""
    documents = None
    if bundle.index is not None:
        is_current = bundle.index.collection == question.index.collection
        documents = question.index.digests[question.latest.sequence] if is_current else bundle.digests.index
    cases, rules = question.contract.cases_digest, output_rules(job)
    return digest([champion.fingerprint, cases, documents, rules, scores.CODE_VERSION])


def _hits(job: Job, bundle: Bundle, cases: Sequence[Case]) -> dict[str, list[Hit]]:
    is_same_store = bundle.index is not None and bundle.index.store == job.project.index.store.type
    search = open_search(bundle, index_settings(job) if is_same_store else None, job.cache, job.progress)
    asked = [case for case in cases if case.kind != "retention"]
    if search is None or not asked:
        return {}
    found = search([case.question for case in asked]).hits
    return {case.id: list(hits) for case, hits in zip(asked, found, strict=True)}


def _prompt(bundle: Bundle, case: Case, hits: Sequence[Hit] | None) -> Prompt:
    if case.kind == "retention":
        return plain_prompt(case.question)
    return render_prompt(
        case.question, instructions=bundle.prompt.instructions, examples=bundle.prompt.examples, hits=hits
    )
