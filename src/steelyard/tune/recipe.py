"""What is trained and how, and the identity of the result, both without heavy imports.

Belongs here: plain values and fingerprints, so that planning and a run with nothing to do cost nothing. Not here:
training.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from steelyard.fingerprint import canonical_json, digest, digest_lines
from steelyard.records import TrainingExample

CODE_VERSION = 3  # raise it when the same examples and recipe give another adapter
_LIBRARIES = ("torch", "transformers", "tokenizers", "peft", "accelerate")
_WITHOUT_EFFECT = frozenset({"checkpoint_every_steps"})  # a resumed training ends with the same weights

Schedule = Literal["linear", "cosine", "constant_with_warmup"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraRecipe:
    """How a LoRA adapter is trained (Hu et al. 2021).

    `upper_layers` adapts only that many layers next to the output (None: all of them); `target_modules` names the
    linear maps in a layer that get an adapter. One optimizer step sees `batch_size * gradient_accumulation` examples.
    `warmup_share` of all steps raises the learning rate, the rest follows `schedule`. The base is held and multiplied
    in `dtype`; the adapter's own weights are float32 always.
    """

    rank: int
    alpha: int
    dropout: float
    target_modules: tuple[str, ...]
    upper_layers: int | None
    epochs: float
    learning_rate: float
    schedule: Schedule
    warmup_share: float
    batch_size: int
    gradient_accumulation: int
    max_length_tokens: int
    checkpoint_every_steps: int
    seed: int
    dtype: str


def examples_digest(examples: Iterable[TrainingExample]) -> str:
    """Return the digest of training examples in their order, in constant memory."""
    return digest_lines(canonical_json(example) for example in examples)


def training_fingerprint(*, base_identity: str, examples_digest: str, recipe: LoraRecipe) -> str:
    """Return the identity of the adapter that a training ends with, without starting it.

    `base_identity` names the content of the base checkpoint and its tokenizer. A library's local version ("+cpu",
    "+cu130") is left out: it names a device.
    """
    return digest(
        {
            "base": base_identity,
            "examples": examples_digest,
            "recipe": settings_with_effect(recipe),
            "libraries": library_versions(),
            "training": CODE_VERSION,
        }
    )


def settings_with_effect(recipe: LoraRecipe) -> dict[str, Any]:
    """Return the settings that can change trained weights, by name."""
    return {name: value for name, value in dataclasses.asdict(recipe).items() if name not in _WITHOUT_EFFECT}


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that can change trained weights."""
    return {name: importlib.metadata.version(name).partition("+")[0] for name in _LIBRARIES}
