"""The model card of an adapter: what it was made from, how, and with which result.

Belongs here: the card's text, in the Hugging Face form. Not here: where it is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steelyard.records import Adapter


def model_card(
    adapter: Adapter,
    *,
    name: str,
    base: str,
    base_license: str | None,
    recipe: Mapping[str, Any],
    data: Mapping[str, str],
) -> str:
    """Return the card; `data` gives a description by name of what was trained on, `recipe` the settings by name."""
    from huggingface_hub import ModelCardData

    head = ModelCardData(license=base_license, library_name="peft", tags=["lora", "steelyard"], model_name=name)
    rows = "\n".join(f"| {setting} | {_cell(value)} |" for setting, value in recipe.items())
    used = "\n".join(f"- {what}: {_cell(text)}" for what, text in data.items())
    licensed = base_license or "not stated in the project file (models.generator.license)"
    return f"""---
{head.to_yaml()}
---

# {name}

A LoRA adapter for `{base}`, in PEFT's format: `PeftModel.from_pretrained(base_model, "this folder")`.

Licence of the base checkpoint: {licensed}. Adapter digest: `{adapter.digest}`.

## Data

{used}

## Recipe

| setting | value |
|---|---|
{rows}

## Training

{adapter.steps:,} steps, {adapter.tokens:,} tokens, {adapter.seconds:,.0f} s; mean loss of the last steps
{adapter.final_loss:.4f}. Scores are not given here: an adapter is weighed as part of an arm, and the evidence run that
a promoted model version names holds the scorecards of all arms.
"""


def _cell(value: object) -> str:
    return str(value).replace("|", r"\|").replace("\n", " ")
