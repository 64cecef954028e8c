"""From a project file to the arguments of every stage: the one place where settings become plain values.

Belongs here: the `Job` and its parts. Not here: the work (see `flows.stages`).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pipelines.spec import CaseSource, DocumentSource, IngestSpec, Limits, PairSource
from steelyard.config.load import LoadedProject, load_project
from steelyard.config.models import Project
from steelyard.decide import WhenRule
from steelyard.evaluate.costs import Prices
from steelyard.evaluate.output import OutputRules
from steelyard.gate.rules import Cheaper, GateRules, Limit
from steelyard.models.cache import default_cache
from steelyard.models.precision import Precision, choose_precision
from steelyard.models.source import ModelSource, identity, parse_source
from steelyard.progress import Progress, Silent
from steelyard.records import Constraint, Decoding, Remedy
from steelyard.tracking import Tracking
from steelyard.training_set import Mix
from steelyard.tune.recipe import LoraRecipe
from steelyard.validate.rules import ValidationRules
from steelyard.workspace import Workspace

_BYTES_PER_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Job:
    """A loaded project with its folders: what every stage starts from."""

    loaded: LoadedProject
    workspace: Workspace
    cache: Path
    progress: Progress = field(default_factory=Silent)
    profile: str | None = None
    overrides: tuple[str, ...] = ()

    @property
    def project(self) -> Project:
        """The settings."""
        return self.loaded.project

    @property
    def words(self) -> dict[str, Any]:
        """What a flow takes to load this job again, anywhere on this machine."""
        file, overrides = str(self.loaded.file.resolve()), list(self.overrides) or None
        return {"project_file": file, "profile": self.profile, "overrides": overrides}

    @property
    def tracking_uri(self) -> str:
        """Where MLflow keeps runs and models."""
        return self.project.mlflow.tracking_uri or f"sqlite:///{self.workspace.mlflow_database}"

    def anchored(self, source: str) -> str:
        """Return a model's name with a relative `path:` resolved against the project file's folder."""
        if not source.startswith("path:"):
            return source
        return f"path:{(self.loaded.folder / source.removeprefix('path:')).resolve()}"

    @cached_property
    def precision(self) -> Precision:
        """Number format and device of the generator on this machine."""
        return choose_precision(self.project.models.generator.precision)

    @cached_property
    def base_source(self) -> ModelSource:
        """The base checkpoint."""
        return parse_source(self.anchored(self.project.models.generator.source))

    @cached_property
    def base_identity(self) -> str:
        """What names the base checkpoint's content in fingerprints."""
        return identity(self.base_source, self.project.models.generator.sha256)


def load_job(
    project_file: Path, *, profile: str | None = None, overrides: Sequence[str] = (), progress: Progress | None = None
) -> Job:
    """Read a project file and find its folders.

    The workspace is `.steelyard/<name>` beside the project file, or below STEELYARD_HOME; models are cached for all
    projects in the user's cache folder, or in STEELYARD_CACHE.
    """
    loaded = load_project(project_file, profile=profile, overrides=overrides)
    home = os.environ.get("STEELYARD_HOME")
    root = Path(home) if home else loaded.folder / ".steelyard"
    return Job(
        loaded=loaded,
        workspace=Workspace((root / loaded.project.name).resolve()),
        cache=default_cache(),
        progress=progress or Silent(),
        profile=profile,
        overrides=tuple(overrides),
    )


def ingest_spec(job: Job) -> IngestSpec:
    """Return what to ingest."""
    sources, folder = job.project.sources, job.loaded.folder
    pairs = sources.pairs
    return IngestSpec(
        name=job.project.name,
        documents=tuple(
            DocumentSource(
                name=item.name,
                format=item.format,
                path=None if item.path is None else folder / item.path,
                snapshots=tuple(
                    (dated.date.isoformat(), folder / dated.path)
                    for dated in sorted(item.snapshots, key=lambda dated: dated.date)
                ),
            )
            for item in sources.documents
        ),
        pairs=None
        if pairs is None
        else PairSource(
            path=folder / pairs.path,
            format=row_format(pairs.path),
            as_of=None if pairs.as_of is None else pairs.as_of.isoformat(),
        ),
        cases=CaseSource(path=folder / sources.cases.path, format=row_format(sources.cases.path)),
        limits=Limits(
            max_document_bytes=int(sources.max_document_megabytes * _BYTES_PER_MEGABYTE),
            max_refused_share=sources.max_refused_share,
        ),
        warehouse=job.workspace.warehouse,
    )


def row_format(path: str) -> Literal["jsonl", "csv"]:
    """Return how rows are written, told by the file's ending."""
    return "csv" if path.lower().endswith(".csv") else "jsonl"


def output_rules(job: Job) -> OutputRules:
    """Return what an answer should look like."""
    return OutputRules(**{name: getattr(job.project.task.output, name) for name in OutputRules.__slots__})


def decoding(job: Job, remedy: Remedy | None = None) -> Decoding:
    """Return how text is generated; held to the task's output where the remedy says so."""
    constraint = output_constraint(job) if remedy is not None and remedy.is_constrained else None
    return Decoding(max_new_tokens=job.project.generation.max_new_tokens, constraint=constraint)


def output_constraint(job: Job) -> Constraint | None:
    """Return what answers can be held to, or None where the task asks for no form."""
    output = job.project.task.output
    if output.json_schema is not None:
        return Constraint("json_schema", json.dumps(output.json_schema, ensure_ascii=False))
    return None if output.pattern is None else Constraint("regex", output.pattern)


def remedies(job: Job) -> tuple[Remedy, ...]:
    """Return the ladder, without the rungs that this task cannot have."""
    can_constrain = output_constraint(job) is not None
    rungs = job.project.prompt.remedies
    return tuple(
        Remedy(rung.examples, rung.is_constrained) for rung in rungs if can_constrain or not rung.is_constrained
    )


def tuning_rules(job: Job) -> tuple[WhenRule, ...]:
    """Return the rules of the tuning decision; enough pairs are required in any case."""
    pairs = job.project.validation.pairs
    counted = WhenRule("usable_pairs", "required", at_least=pairs.minimum, at_most=pairs.maximum)
    return (counted, *(WhenRule(**rule.model_dump()) for rule in job.project.tune.when))


def training_mix(job: Job) -> Mix:
    """Return how training contexts are varied: drawn anew in every epoch."""
    tune = job.project.tune
    without_context = {"closed_book": 1.0, "open_book": 0.0, "mixed": tune.without_context_share}[tune.recipe]
    return Mix(
        rounds=math.ceil(tune.epochs),
        without_context_share=without_context,
        missing_gold_share=tune.missing_gold_share,
        seed=tune.seed,
        is_shuffled=tune.is_context_shuffled,
    )


def gate_rules(job: Job) -> GateRules:
    """Return what a promotion asks for."""
    gate = job.project.gate
    rails = (
        Limit(rail.metric, rail.minimum, rail.maximum, rail.drop, rail.rise, rail.kind) for rail in gate.guard_rails
    )
    budgets = (Limit(budget.metric, maximum=budget.maximum) for budget in gate.budgets)
    return GateRules(
        metric=gate.objective.metric,
        margin=gate.objective.margin,
        significance=gate.objective.significance,
        minimum=gate.objective.minimum,
        draws=gate.bootstrap.draws,
        seed=gate.bootstrap.seed,
        power=gate.power.target,
        limits=(*rails, *budgets),
        cheaper=None if gate.cheaper_wins is None else Cheaper(gate.cheaper_wins.metric, gate.cheaper_wins.saving),
        preference=gate.preference,
    )


def prices(job: Job) -> Prices:
    """Return what machine time and tokens cost."""
    return Prices(**{name: getattr(job.project.costs, name) for name in Prices.__slots__})


def lora_recipe(job: Job) -> LoraRecipe:
    """Return how an adapter is trained; the examples hold every pair once an epoch already."""
    tune = job.project.tune
    return LoraRecipe(
        rank=tune.lora.rank,
        alpha=tune.lora.alpha,
        dropout=tune.lora.dropout,
        target_modules=tune.lora.target_modules,
        upper_layers=tune.lora.upper_layers,
        epochs=tune.epochs / math.ceil(tune.epochs),
        learning_rate=tune.learning_rate,
        schedule=tune.schedule,
        warmup_share=tune.warmup_share,
        batch_size=tune.batch_size,
        gradient_accumulation=tune.gradient_accumulation,
        max_length_tokens=tune.max_length_tokens,
        checkpoint_every_steps=tune.checkpoint_every_steps,
        seed=tune.seed,
        dtype=job.precision.dtype,
    )


def tracking(job: Job) -> Tracking:
    """Return where MLflow keeps runs and models."""
    is_local = job.project.mlflow.tracking_uri is None
    return Tracking(
        uri=job.tracking_uri,
        experiment=job.project.name,
        artifacts=job.workspace.mlflow_artifacts if is_local else None,
    )


def validation_rules(job: Job) -> ValidationRules:
    """Return the limits of the data contract."""
    settings = job.project.validation
    return ValidationRules(
        min_pairs=settings.pairs.minimum,
        max_pairs=settings.pairs.maximum,
        min_cases=settings.minimum_cases,
        max_question_characters=settings.max_question_characters,
        min_document_characters=settings.minimum_document_characters,
        max_refused_share=job.project.sources.max_refused_share,
        severity={str(name): severity for name, severity in settings.severity.items()},
    )
