"""Identity of a training."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from steelyard.records import Message, TrainingExample
from steelyard.tune.recipe import LoraRecipe, examples_digest, training_fingerprint

RECIPE = LoraRecipe(
    rank=16,
    alpha=32,
    dropout=0.0,
    target_modules=("q_proj", "v_proj"),
    upper_layers=12,
    epochs=2,
    learning_rate=5e-4,
    schedule="linear",
    warmup_share=0.05,
    batch_size=8,
    gradient_accumulation=1,
    max_length_tokens=1024,
    checkpoint_every_steps=25,
    seed=17,
    dtype="bfloat16",
)
OTHER_VALUES = {
    "rank": 8,
    "alpha": 16,
    "dropout": 0.1,
    "target_modules": ("q_proj",),
    "upper_layers": None,
    "epochs": 3,
    "learning_rate": 1e-4,
    "schedule": "cosine",
    "warmup_share": 0.1,
    "batch_size": 4,
    "gradient_accumulation": 2,
    "max_length_tokens": 512,
    "seed": 18,
    "dtype": "float32",
}


def _fingerprint(recipe: LoraRecipe, *, base: str = "base", examples: str = "examples") -> str:
    return training_fingerprint(base_identity=base, examples_digest=examples, recipe=recipe)


@pytest.mark.parametrize("name", sorted(OTHER_VALUES))
def test_training_fingerprint_setting_changed_is_another(name):
    """Every setting that can change weights changes the identity."""
    changed = dataclasses.replace(RECIPE, **{name: OTHER_VALUES[name]})
    assert _fingerprint(changed) != _fingerprint(RECIPE)


def test_training_fingerprint_settings_are_all_covered():
    """A new setting has to say whether it changes the result."""
    names = {field.name for field in dataclasses.fields(LoraRecipe)}
    assert names == {*OTHER_VALUES, "checkpoint_every_steps"}


def test_training_fingerprint_checkpoint_interval_changed_stays():
    """How often a training is saved does not change what it ends with."""
    assert _fingerprint(dataclasses.replace(RECIPE, checkpoint_every_steps=1)) == _fingerprint(RECIPE)


def test_training_fingerprint_other_base_or_examples_is_another():
    """Base and examples are part of the identity."""
    assert len({_fingerprint(RECIPE), _fingerprint(RECIPE, base="b"), _fingerprint(RECIPE, examples="e")}) == 3


def test_examples_digest_order_or_border_changed_is_another():
    """The order of examples counts, and so does where a prompt ends."""
    first = TrainingExample((Message("user", "ab"),), "c")
    second = TrainingExample((Message("user", "a"),), "bc")
    digests = {examples_digest(rows) for rows in ([first, second], [second, first], [first], [second])}
    assert len(digests) == 4


def test_training_fingerprint_computed_without_heavy_imports():
    """A plan must not wait for torch."""
    code = (
        "import sys, steelyard.tune.train, steelyard.tune.recipe\n"
        "steelyard.tune.recipe.library_versions()\n"
        "print(sorted({'torch', 'transformers', 'peft', 'trl', 'mlflow'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.strip() == "[]"
