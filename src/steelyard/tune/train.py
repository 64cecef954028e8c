"""Training a LoRA adapter that survives interruption.

Belongs here: the order of work from examples to a published adapter. Not here: the training loop (transformers'
Trainer, see `loop`), what is tracked (see `tracking`), which examples.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from steelyard.errors import ConfigError, ServiceError
from steelyard.progress import Progress, Silent
from steelyard.records import Adapter, TrainingExample
from steelyard.tune import folder
from steelyard.tune.examples import TokenisedExamples, tokenise
from steelyard.tune.folder import StepMetrics
from steelyard.tune.recipe import LoraRecipe, examples_digest, training_fingerprint

if TYPE_CHECKING:
    from steelyard.tune.loop import Trained

OnMetrics = Callable[[StepMetrics], None]

_STEPS_IN_FINAL_LOSS = 10  # one batch's loss says little


def train(
    examples: Sequence[TrainingExample],
    *,
    base: Path,
    base_identity: str,
    recipe: LoraRecipe,
    output: Path,
    device: str,
    progress: Progress | None = None,
    on_metrics: OnMetrics | None = None,
) -> Adapter:
    """Train an adapter for the model in the folder `base` and publish it as `output/adapter`.

    A training that was killed goes on from its last complete checkpoint and ends with the same bits; one that is
    finished is returned as it is. `on_metrics` hears of every step in order, with those that an earlier process made:
    a listener that was killed as well can catch up. `device` is "cpu" or "cuda"; it is no part of the identity.

    Raises `DataError` when examples are unfit, `ConfigError` when the recipe does not fit the model.
    """
    progress = progress or Silent()
    tell = on_metrics or (lambda step: None)
    fingerprint = training_fingerprint(
        base_identity=base_identity, examples_digest=examples_digest(examples), recipe=recipe
    )
    done = folder.finished(output, fingerprint)
    if done is not None:
        adapter, steps = done
        folder.drop_checkpoints(output)  # a process killed just before it did so leaves them
        for step in steps:
            tell(step)
        return adapter
    return _train(
        examples,
        base=base,
        base_identity=base_identity,
        recipe=recipe,
        fingerprint=fingerprint,
        output=output,
        device=device,
        progress=progress,
        tell=tell,
    )


def _train(
    examples: Sequence[TrainingExample],
    *,
    base: Path,
    base_identity: str,
    recipe: LoraRecipe,
    fingerprint: str,
    output: Path,
    device: str,
    progress: Progress,
    tell: OnMetrics,
) -> Adapter:
    from steelyard.models.checkpoint import load_tokenizer, quiet_transformers
    from steelyard.tune.loop import run

    rows = tokenise(examples, load_tokenizer(base), max_length_tokens=recipe.max_length_tokens, progress=progress)
    progress.note(_summary(rows, len(examples)))
    aside = output / ".adapter.partial"
    with _disk_errors(output), quiet_transformers(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT 0.21 asks transformers 5.23 by an old name
        shutil.rmtree(aside, ignore_errors=True)
        trained = run(
            rows.kept,
            base=base,
            base_identity=base_identity,
            recipe=recipe,
            checkpoints=folder.checkpoints_folder(output, fingerprint),
            save_to=aside,
            device=device,
            progress=progress,
            tell=tell,
        )
        adapter = _record(trained, fingerprint, folder.adapter_digest(aside))
        folder.publish(aside, output, adapter=adapter, steps=trained.steps)
    return adapter


@contextmanager
def _disk_errors(output: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise ServiceError(
            f"training cannot write to {output}: {error}",
            remedy="make room on the disk and run again: training goes on from its last checkpoint",
        ) from error


def _record(trained: Trained, fingerprint: str, digest: str) -> Adapter:
    last = trained.steps[-_STEPS_IN_FINAL_LOSS:]
    return Adapter(
        fingerprint=fingerprint,
        digest=digest,
        steps=len(trained.steps),
        tokens=sum(step.tokens for step in trained.steps),
        seconds=trained.seconds,
        final_loss=sum(step.loss for step in last) / len(last),
    )


def _summary(rows: TokenisedExamples, given: int) -> str:
    lengths = rows.lengths
    text = (
        f"training on {len(rows.kept)} examples: {lengths.total:,} tokens, median {lengths.median}, longest "
        f"{lengths.longest}, {lengths.completions:,} of them to be learnt"
    )
    if rows.too_long:
        text += f"; {len(rows.too_long)} of {given} left out as too long: {', '.join(map(str, rows.too_long))}"
    return text


def check_layers(recipe: LoraRecipe, *, layers: int) -> list[int] | None:
    """Return the indexes of the layers that get an adapter, or None for all.

    Raises `ConfigError` when the recipe names more layers than the model has.
    """
    if recipe.upper_layers is None:
        return None
    if recipe.upper_layers > layers:
        raise ConfigError(
            f"tune.lora.upper_layers is {recipe.upper_layers}, but the model has {layers} layers",
            remedy=f"set it to at most {layers}, or leave it out to adapt all",
        )
    return list(range(layers - recipe.upper_layers, layers))
