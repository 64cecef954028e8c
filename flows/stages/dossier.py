"""Report: what was weighed becomes files that a reviewer reads; made once for the same evidence.

Belongs here: gathering what a dossier shows. Not here: how it looks (see `steelyard.dossier`).
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flows.build import Job
from flows.parts import base_fingerprint, embedder_fingerprint
from flows.stages.contexts import Question
from flows.stages.evaluation import ArmResult
from steelyard import __version__
from steelyard.dossier.content import Dossier, Objective
from steelyard.dossier.files import CODE_VERSION, remember_latest, report_folder, write_report
from steelyard.dossier.summary import summary_markdown
from steelyard.evaluate.kept import KeptAnswers, read_kept
from steelyard.fingerprint import digest
from steelyard.records import Adapter, Arm, Judgement, Scorecard, TuneDecision, Verdict
from steelyard.report import Digests

_SHOWN_LIBRARIES = ("torch", "transformers", "peft", "sentence-transformers", "lancedb", "weaviate-client", "mlflow")


@dataclass(frozen=True, slots=True)
class Weighed:
    """All that a verdict rests on, the arms' answers, and what a reviewer should know beside it."""

    scorecards: Mapping[Arm, Scorecard]
    judgement: Judgement
    digests: Digests
    decision: TuneDecision
    adapter: Adapter | None
    results: Mapping[Arm, ArmResult] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def verdicts(self) -> Mapping[Arm, Verdict]:
        """The gate's ruling on each arm."""
        return self.judgement.verdicts

    @property
    def promoted(self) -> Arm | None:
        """The arm that the gate promotes."""
        return next((arm for arm, verdict in self.verdicts.items() if verdict.ruling == "promote"), None)


def make_report(job: Job, question: Question, weighed: Weighed) -> Path:
    """Return the folder of the report; the same evidence has the same report."""
    reports, fingerprint = job.workspace.reports, report_fingerprint(job, question, weighed)
    folder = report_folder(reports, fingerprint)
    if not folder.is_dir():
        job.progress.note("writing the report")
        folder = write_report(reports, dossier(job, question, weighed))
    remember_latest(reports, folder)
    return folder


def report_fingerprint(job: Job, question: Question, weighed: Weighed) -> str:
    """Return the identity of a report: of what its numbers and verdicts rest on.

    Left out: library versions, settings that changed none of it, and how the decision on tuning is worded, which
    differs once the adapter is there.
    """
    decision = [weighed.decision.is_tuning_worthwhile, weighed.decision.override is not None]
    warnings = [question.contract.warnings, weighed.notes]
    shown = [weighed.digests, weighed.scorecards, weighed.judgement, decision, warnings]
    settings = [job.project.description, job.project.gate.objective, job.project.costs.currency]
    made_from = _made_from(job, question, weighed)
    return digest([CODE_VERSION, question.contract.cases_digest, shown, settings, made_from])


def dossier(job: Job, question: Question, weighed: Weighed) -> Dossier:
    """Gather everything that a report shows; answers are read from where the evaluations kept them."""
    kept = kept_answers(weighed)
    objective = job.project.gate.objective
    return Dossier(
        project=job.project.name,
        description=job.project.description,
        fingerprint=report_fingerprint(job, question, weighed),
        snapshot=question.latest,
        objective=Objective(objective.metric, objective.margin, objective.significance, objective.minimum),
        scorecards=weighed.scorecards,
        judgement=weighed.judgement,
        decision=weighed.decision,
        cases=question.contract.cases,
        answers={arm: {answer.case_id: answer for answer in item.answers} for arm, item in kept.items()},
        passages={key: passage for item in kept.values() for key, passage in item.passages.items()},
        lineage={
            **_made_from(job, question, weighed),
            "Settings": {"configuration": digest(job.project)},
            "Written with": _versions(),
        },
        pairs=len(question.pairs.training),
        currency=job.project.costs.currency,
        warnings=(*question.contract.warnings, *weighed.notes),
    )


def kept_answers(weighed: Weighed) -> dict[Arm, KeptAnswers]:
    """Return every arm's answers as they were kept."""
    return {arm: read_kept(result.kept) for arm, result in weighed.results.items()}


def summary(job: Job, question: Question, weighed: Weighed) -> str:
    """Return the report's summary in Markdown."""
    return summary_markdown(dossier(job, question, weighed))


def _made_from(job: Job, question: Question, weighed: Weighed) -> dict[str, dict[str, str]]:
    """Return what the evidence was made from, by digest; nothing of where or when."""
    contract, snapshot = question.contract, question.latest
    models = {
        "base checkpoint": job.project.models.generator.source,
        "its identity": job.base_identity,
        "generator": base_fingerprint(job),
        "embedder": job.project.models.embedder.source,
        "embedder fingerprint": embedder_fingerprint(job),
        "precision": f"{job.precision.dtype} on {job.precision.device}",
    }
    if weighed.adapter is not None:
        adapter = weighed.adapter
        models |= {"adapter": adapter.digest, "trained": f"{adapter.steps:,} steps, {adapter.tokens:,} tokens"}
    return {
        "Data": {
            "snapshot": f"{snapshot.sequence} of {snapshot.date}, {snapshot.documents:,} documents",
            "documents": snapshot.digest,
            "cases": f"{contract.cases_digest} ({len(contract.cases):,})",
            "pairs": f"{contract.pairs_digest} ({len(contract.pairs):,})",
            "rows refused": f"{contract.refused:,}",
            "warehouse": weighed.digests.warehouse,
            "index": weighed.digests.index,
            "answers": weighed.digests.answers,
        },
        "Models": models,
    }


def _versions() -> dict[str, str]:
    found = {"steelyard": __version__, "python": platform.python_version()}
    return found | {name: importlib.metadata.version(name) for name in _SHOWN_LIBRARIES}
