"""Promote: the evidence becomes an MLflow run, the winner a registered model version.

Belongs here: putting the bundle together, and proposing it. Not here: the registry (see `steelyard.promote`), the
gate, and the review (see `flows.stages.reviewing`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from flows.build import Job, decoding, gate_rules, tracking
from flows.parts import Parts, collection_of, pinned_embedder, store_settings
from flows.stages.contexts import Question, example_turns, examples_count
from flows.stages.dossier import Weighed, kept_answers, summary
from flows.stages.recording import note, note_champion
from flows.stages.smoke import SMOKE_FILE
from steelyard import __version__
from steelyard.audit import Happening
from steelyard.dossier.files import CODE_VERSION as REPORT_VERSION
from steelyard.fingerprint import digest
from steelyard.gate.judge import CODE_VERSION as GATE_VERSION
from steelyard.promote.aliases import Alias
from steelyard.promote.bundle import (
    Bundle,
    IndexReference,
    PinnedModel,
    PromptSettings,
    RetrievalSettings,
    TaskOutput,
    bundle_fingerprint,
)
from steelyard.promote.evidence import Evidence, record_evidence
from steelyard.promote.proposals import (
    COMPARED_TAG,
    EVIDENCE_RUN_TAG,
    EVIDENCE_TAG,
    REVIEW_TAG,
    VERDICT_TAG,
    next_step,
    propose,
)
from steelyard.promote.registry import find_standing, register
from steelyard.promote.seal import evidence_digest
from steelyard.promote.traces import CODE_VERSION as TRACES_VERSION
from steelyard.promote.traces import ArmTraces
from steelyard.records import ARMS, RETRIEVING_ARMS, Arm
from steelyard.report import Digests, ModelVersion
from steelyard.review.decision import NO_CHAMPION
from steelyard.review.smoke import choose_cases, smoke_cases_to_json
from steelyard.serving import MODEL_CODE


def record(job: Job, question: Question, weighed: Weighed, report: Path | None = None) -> str:
    """Return the MLflow run that holds the evidence; the same evidence is written once.

    `report` is the folder of the report's files.
    """
    fingerprint = _evidence_fingerprint(job, question, weighed)
    found = job.workspace.ledger.find("evidence", fingerprint)
    if found is None:
        evidence = _evidence(job, fingerprint, question, weighed, report)
        found = {"run_id": record_evidence(evidence, tracking=tracking(job), progress=job.progress)}
        job.workspace.ledger.record("evidence", fingerprint, found)
    return str(found["run_id"])


def register_winner(job: Job, parts: Parts, question: Question, weighed: Weighed, run_id: str) -> ModelVersion | None:
    """Return the winner's model version, registered once; `run_id` holds all of its evidence by now.

    It becomes `champion` where the project asks for no review, else `challenger`, to be approved by a person.
    """
    arm = weighed.promoted
    if arm is None:
        return None
    bundle, uri = bundle_of(job, parts, question, weighed.digests, arm), tracking(job).uri
    is_reviewed = job.project.promotion.review == "required"
    with job.workspace.moving_champion():
        standing = find_standing(bundle.name, bundle_fingerprint(bundle), uri)
        compared_with = standing.champion or NO_CHAMPION
        step = next_step(standing, evidence_run=run_id, compared_with=compared_with, is_reviewed=is_reviewed)
        note_champion(job, standing.champion)
        if step == "nothing":
            return standing.version
        version = _register(job, bundle, question, weighed, run_id, alias=step)
        _put_up(job, version, question, weighed, run_id=run_id, compared_with=compared_with)
    return version


def _register(
    job: Job, bundle: Bundle, question: Question, weighed: Weighed, run_id: str, *, alias: Alias
) -> ModelVersion:
    adapter = weighed.adapter if bundle.has_adapter else None
    return register(
        bundle,
        tracking=tracking(job),
        run_id=run_id,
        alias=alias,
        model_code=MODEL_CODE,
        adapter_folder=None if adapter is None else job.workspace.adapters / adapter.fingerprint / "adapter",
        input_example=question.contract.cases[0].question,
    )


def _put_up(
    job: Job, version: ModelVersion, question: Question, weighed: Weighed, *, run_id: str, compared_with: str
) -> None:
    """Put a version up for review with its evidence, or record that it became champion without one."""
    uri, is_champion = tracking(job).uri, version.alias == "champion"
    evidence = evidence_digest(run_id, uri)
    propose(
        version.name,
        version.version,
        uri,
        summary=summary(job, question, weighed),
        tags={
            VERDICT_TAG: "promote",
            EVIDENCE_TAG: evidence or "",
            EVIDENCE_RUN_TAG: run_id,
            COMPARED_TAG: compared_with,
            REVIEW_TAG: "not required" if is_champion else "pending",
        },
    )
    happening = Happening(
        event="promoted" if is_champion else "proposed",
        model=version.name,
        version=version.version,
        from_version=None if compared_with == NO_CHAMPION else compared_with,
        evidence=evidence,
        vouched_by="config" if is_champion else "nobody",
        reason=f"{weighed.promoted} wins",
    )
    note(job, happening)


def _evidence_fingerprint(job: Job, question: Question, weighed: Weighed) -> str:
    scores = {arm: card.metrics for arm, card in weighed.scorecards.items()}  # with latency and costs
    cases, is_tuned = question.contract.cases_digest, weighed.decision.is_tuning_worthwhile
    verdicts = weighed.judgement.verdicts  # which depend on the champion, too
    versions = [GATE_VERSION, REPORT_VERSION, TRACES_VERSION]
    return digest([weighed.digests, cases, scores, gate_rules(job), is_tuned, verdicts, versions])


def _evidence(job: Job, fingerprint: str, question: Question, weighed: Weighed, report: Path | None) -> Evidence:
    arm = weighed.promoted
    smoke = (
        ()
        if arm is None
        else choose_cases(
            question.contract.cases, weighed.scorecards[arm].by_case, count=job.project.promotion.smoke_cases
        )
    )
    return Evidence(
        fingerprint=fingerprint,
        name=f"{job.project.name} {fingerprint[:8]}",
        scorecards=weighed.scorecards,
        verdicts=weighed.judgement.verdicts,
        digests=weighed.digests,
        promoted=weighed.promoted,
        decision=weighed.decision,
        parameters=_parameters(job, question),
        files={SMOKE_FILE: smoke_cases_to_json(smoke)} if smoke else {},
        dossier=report,
        arms=tuple(_arm_traces(question, weighed)),
    )


def _arm_traces(question: Question, weighed: Weighed) -> Iterator[ArmTraces]:
    for arm, kept in kept_answers(weighed).items():
        yield ArmTraces(
            scorecard=weighed.scorecards[arm],
            cases=question.contract.cases,
            cases_digest=question.contract.cases_digest,
            answers=kept.answers,
            prompts=kept.prompts,
            passages=kept.passages,
        )


def _parameters(job: Job, question: Question) -> dict[str, str | int | float | bool | None]:
    """Return the settings that are worth comparing between runs."""
    project = job.project
    return {
        "generator": project.models.generator.source,
        "embedder": project.models.embedder.source,
        "precision": job.precision.dtype,
        "max_characters": project.index.splitter.max_characters,
        "top_k": project.index.retrieval.top_k,
        "alpha": project.index.retrieval.alpha,
        "max_new_tokens": project.generation.max_new_tokens,
        **{f"examples_{arm}": examples_count(job, arm, question) for arm in ARMS},
        "is_constrained": question.remedy is not None and question.remedy.is_constrained,
        "gate_metric": project.gate.objective.metric,
        "gate_margin": project.gate.objective.margin,
    }


def bundle_of(job: Job, parts: Parts, question: Question, digests: Digests, arm: Arm) -> Bundle:
    """Return an arm as it is now, with everything that its answers depend on."""
    project, is_retrieving = job.project, arm in RETRIEVING_ARMS
    retrieval = project.index.retrieval
    return Bundle(
        name=project.name,
        arm=arm,
        base_model=PinnedModel(
            job.base_source.spec, project.models.generator.sha256, job.base_identity, job.precision.dtype
        ),
        prompt=PromptSettings(project.task.instructions, example_turns(job, parts, arm, question)),
        decoding=decoding(job, question.remedy),
        output=TaskOutput(project.task.output.format, project.task.output.citation_field),
        digests=digests,
        embedder=pinned_embedder(job) if is_retrieving else None,
        retrieval=RetrievalSettings(retrieval.top_k, retrieval.alpha) if is_retrieving else None,
        index=_index_reference(job, question) if is_retrieving else None,
        steelyard_version=__version__,
    )


def _index_reference(job: Job, question: Question) -> IndexReference:
    store = job.project.index.store.type
    return IndexReference(store, store_settings(job), collection_of(job), question.latest.sequence)
