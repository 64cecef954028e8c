"""Tune: an adapter from the pairs, trained once for the same pairs, contexts, recipe and base.

Belongs here: examples, the ledger and tracking around a training. Not here: the training (see `steelyard.tune`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from flows.build import Job, lora_recipe, output_rules, tracking, training_mix
from flows.parts import Parts, fetch_base
from flows.stages.contexts import Question, examples_fingerprint, pair_contexts
from steelyard.evaluate.output import refusal_of, supports
from steelyard.fingerprint import digest
from steelyard.prompts import CODE_VERSION as PROMPT_VERSION
from steelyard.records import Adapter, TrainingExample
from steelyard.training_set import CODE_VERSION as EXAMPLES_VERSION
from steelyard.training_set import training_examples
from steelyard.tune.recipe import examples_digest, settings_with_effect, training_fingerprint
from steelyard.tune.tracking import TrackedDataset


@dataclass(frozen=True, slots=True)
class Tuned:
    """The adapter, and the steps that were trained now."""

    adapter: Adapter
    steps_trained: int


def tuning_fingerprint(job: Job, question: Question) -> str:
    """Return the identity of a training, known before its examples are made."""
    return training_fingerprint(
        base_identity=job.base_identity,
        examples_digest=digest(
            {
                "contexts": examples_fingerprint(job, question),
                "instructions": job.project.task.instructions,
                "mix": training_mix(job),
                "rules": output_rules(job),
                "code": [PROMPT_VERSION, EXAMPLES_VERSION],
            }
        ),
        recipe=lora_recipe(job),
    )


def make_examples(job: Job, parts: Parts, question: Question) -> tuple[TrainingExample, ...]:
    """Return the rendered training examples."""
    rules = output_rules(job)
    return training_examples(
        question.pairs.training,
        pair_contexts(job, parts, question),
        instructions=job.project.task.instructions,
        top_k=job.project.index.retrieval.top_k,
        mix=training_mix(job),
        is_supported=lambda context, output: supports(context, output, rules),
        to_refusal=lambda output: refusal_of(output, rules),
    )


def tune(job: Job, parts: Parts, question: Question) -> Tuned:
    """Return the adapter, trained now when it is not there yet; an interrupted training goes on where it stopped."""
    found = recorded_adapter(job, question)
    if found is not None:
        return Tuned(found, 0)
    adapter, trained = _train(job, parts, question)
    job.workspace.ledger.record("tune", tuning_fingerprint(job, question), asdict(adapter))
    if trained:
        ended = {"ended": dt.datetime.now(dt.UTC).isoformat(), "tokens": adapter.tokens, "seconds": adapter.seconds}
        job.workspace.ledger.record("last-training", job.project.name, ended)
    return Tuned(adapter, trained)


def last_training(job: Job) -> str | None:
    """Return when this project's last training ended, in ISO 8601, or None."""
    record = job.workspace.ledger.find("last-training", job.project.name)
    return None if record is None else str(record["ended"])


def recorded_adapter(job: Job, question: Question) -> Adapter | None:
    """Return an adapter that was trained already, or None."""
    record = job.workspace.ledger.find("tune", tuning_fingerprint(job, question))
    return None if record is None else Adapter(**record)


def _train(job: Job, parts: Parts, question: Question) -> tuple[Adapter, int]:
    from steelyard.tune.card import model_card
    from steelyard.tune.folder import adapter_folder, checkpoints_folder, finished, newest_checkpoint
    from steelyard.tune.tracking import track_training
    from steelyard.tune.train import train

    examples, recipe = make_examples(job, parts, question), lora_recipe(job)
    fingerprint = training_fingerprint(
        base_identity=job.base_identity, examples_digest=examples_digest(examples), recipe=recipe
    )
    output = job.workspace.adapters / fingerprint
    is_finished = finished(output, fingerprint) is not None
    checkpoint = newest_checkpoint(checkpoints_folder(output, fingerprint))
    base = fetch_base(job)
    datasets = _datasets(job, question, examples)
    tracked = track_training(
        lambda on_metrics: train(
            examples,
            base=base,
            base_identity=job.base_identity,
            recipe=recipe,
            output=output,
            device=job.precision.device,
            progress=job.progress,
            on_metrics=on_metrics,
        ),
        tracking=tracking(job),
        fingerprint=fingerprint,
        run_name=f"{job.project.name} tune {fingerprint[:8]}",
        recipe=recipe,
        base_identity=job.base_identity,
        datasets=datasets,
        adapter_folder=adapter_folder(output),
        card=lambda adapter: model_card(
            adapter,
            name=f"{job.project.name} {fingerprint[:8]}",
            base=job.base_source.spec,
            base_license=job.project.models.generator.license,
            recipe={"recipe": job.project.tune.recipe, **settings_with_effect(recipe)},
            data={item.name: f"{item.rows:,} of {item.source}, digest {item.digest}" for item in datasets},
        ),
        tags={"project": job.project.name, "stage": "tune"},
    )
    earlier = tracked.adapter.steps if is_finished else len(checkpoint.steps) if checkpoint else 0
    return tracked.adapter, tracked.adapter.steps - earlier


def _datasets(job: Job, question: Question, examples: Sequence[TrainingExample]) -> list[TrackedDataset]:
    pairs = job.project.sources.pairs
    source = "" if pairs is None else pairs.path
    snapshot = question.pairs_snapshot
    return [
        TrackedDataset("pairs", "pairs", question.contract.pairs_digest, source, len(question.contract.pairs)),
        TrackedDataset("examples", "training", examples_digest(examples), source, len(examples)),
        TrackedDataset("documents", "context", snapshot.digest, f"snapshot {snapshot.sequence}", snapshot.documents),
    ]
