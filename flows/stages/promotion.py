"""Promote: the evidence becomes an MLflow run, the winner a registered model version.

Belongs here: putting the bundle together. Not here: the registry (see `steelyard.promote`) and the gate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flows.build import Job, decoding, gate_rules, tracking
from flows.parts import Parts, collection_of, embedder_dtype
from flows.stages.contexts import Question, example_turns, examples_count
from steelyard import __version__
from steelyard.config.models import WeaviateStore
from steelyard.fingerprint import digest
from steelyard.gate.judge import CODE_VERSION as GATE_VERSION
from steelyard.models.source import identity, parse_source
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
from steelyard.promote.registry import find_version, register
from steelyard.promote.verdict_table import verdict_table
from steelyard.records import (
    ARMS,
    RETRIEVING_ARMS,
    TUNED_ARMS,
    Adapter,
    Arm,
    Judgement,
    Scorecard,
    TuneDecision,
    Verdict,
)
from steelyard.report import Digests, ModelVersion
from steelyard.serving import MODEL_CODE


@dataclass(frozen=True, slots=True)
class Weighed:
    """All that a verdict rests on."""

    scorecards: Mapping[Arm, Scorecard]
    judgement: Judgement
    digests: Digests
    decision: TuneDecision
    adapter: Adapter | None

    @property
    def verdicts(self) -> Mapping[Arm, Verdict]:
        """The gate's ruling on each arm."""
        return self.judgement.verdicts

    @property
    def promoted(self) -> Arm | None:
        """The arm that the gate promotes."""
        return next((arm for arm, verdict in self.verdicts.items() if verdict.ruling == "promote"), None)


def promote(job: Job, parts: Parts, question: Question, weighed: Weighed) -> tuple[str, ModelVersion | None]:
    """Return the run that holds the evidence, and the winner's model version; both are made once.

    The alias is `champion` where the project asks for no review, else `challenger`.
    """
    fingerprint = _evidence_fingerprint(job, question, weighed)
    record = job.workspace.ledger.find("evidence", fingerprint)
    if record is None:
        record = {"run_id": record_evidence(_evidence(job, fingerprint, question, weighed), tracking=tracking(job))}
        job.workspace.ledger.record("evidence", fingerprint, record)
    arm = weighed.promoted
    if arm is None:
        return record["run_id"], None
    bundle = _bundle(job, parts, question, weighed, arm)
    alias: Alias = "champion" if job.project.promotion.review == "none" else "challenger"
    version = find_version(bundle.name, bundle_fingerprint(bundle), tracking(job).uri)
    if version is not None and version.alias in {alias, "champion"}:
        return record["run_id"], version
    adapter = weighed.adapter if arm in TUNED_ARMS else None
    registered = register(
        bundle,
        tracking=tracking(job),
        run_id=record["run_id"],
        alias=alias,
        model_code=MODEL_CODE,
        adapter_folder=None if adapter is None else job.workspace.adapters / adapter.fingerprint / "adapter",
        description=verdict_table(weighed.scorecards, weighed.verdicts).markdown,
        input_example=question.contract.cases[0].question,
    )
    return record["run_id"], registered


def _evidence_fingerprint(job: Job, question: Question, weighed: Weighed) -> str:
    scores = {arm: card.metrics for arm, card in weighed.scorecards.items()}  # with latency and costs
    cases, is_tuned = question.contract.cases_digest, weighed.decision.is_tuning_worthwhile
    return digest([weighed.digests, cases, scores, gate_rules(job), is_tuned, GATE_VERSION])


def _evidence(job: Job, fingerprint: str, question: Question, weighed: Weighed) -> Evidence:
    return Evidence(
        fingerprint=fingerprint,
        name=f"{job.project.name} {fingerprint[:8]}",
        scorecards=weighed.scorecards,
        verdicts=weighed.verdicts,
        digests=weighed.digests,
        promoted=weighed.promoted,
        decision=weighed.decision,
        parameters=_parameters(job, question),
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


def _bundle(job: Job, parts: Parts, question: Question, weighed: Weighed, arm: Arm) -> Bundle:
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
        digests=weighed.digests,
        embedder=_pinned_embedder(job) if is_retrieving else None,
        retrieval=RetrievalSettings(retrieval.top_k, retrieval.alpha) if is_retrieving else None,
        index=_index_reference(job, question) if is_retrieving else None,
        steelyard_version=__version__,
    )


def _pinned_embedder(job: Job) -> PinnedModel:
    settings = job.project.models.embedder
    if settings.source.startswith("hash:"):
        return PinnedModel(settings.source, None, settings.source, "float32")
    source = parse_source(job.anchored(settings.source))
    return PinnedModel(source.spec, settings.sha256, identity(source, settings.sha256), embedder_dtype())


def _index_reference(job: Job, question: Question) -> IndexReference:
    store = job.project.index.store
    if isinstance(store, WeaviateStore):
        settings = store.model_dump(mode="json", exclude={"type", "api_key"})
        if store.api_key is not None:
            settings["api_key_env"] = store.api_key[2:-1]
    else:
        settings = {"path": str(job.workspace.index)}
    return IndexReference(store.type, settings, collection_of(job), question.latest.sequence)
