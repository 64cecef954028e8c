"""Causal language models loaded for use.

Belongs here: loading a folder, merging an adapter. Not here: where the folder comes from (see `source`), generating
and training.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from steelyard.errors import DataError


class LoadedModel(NamedTuple):
    """A model in evaluation mode and its tokenizer."""

    model: Any
    tokenizer: Any


def load_causal_lm(folder: Path, *, dtype: str, device: str, adapter: Path | None = None) -> LoadedModel:
    """Load the model in `folder`, with a LoRA adapter merged into its weights when one is named.

    The merge happens in float32 and the sum is rounded once to `dtype`, so that a small update is not lost in the
    rounding. `dtype` is torch's name of a floating-point type, `device` torch's name of a device.

    Raises `DataError` when the folder does not hold a model, or the adapter does not fit it.
    """
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(folder)
    working_dtype = getattr(torch, dtype) if adapter is None else torch.float32
    with quiet_transformers():
        try:
            model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=working_dtype, use_safetensors=True)
        except (OSError, ValueError, KeyError) as error:
            raise _unloadable(folder, error) from error
    if adapter is not None:
        model = _merged(model, adapter).to(getattr(torch, dtype))
    return LoadedModel(model.to(device).eval(), tokenizer)


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer in `folder` alone; it pads on the left, as generation needs it."""
    from transformers import AutoTokenizer

    with quiet_transformers():
        try:
            return AutoTokenizer.from_pretrained(str(folder), padding_side="left")
        except (OSError, ValueError, KeyError) as error:
            raise _unloadable(folder, error) from error


def _unloadable(folder: Path, error: Exception) -> DataError:
    return DataError(
        f"model folder {folder} cannot be loaded: {error}",
        remedy="it needs config.json, safetensors weights and a tokenizer; delete it from the cache to have it made "
        "again",
    )


def _merged(model: Any, adapter: Path) -> Any:
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(
            f"adapter {adapter} does not fit the model: {error}",
            remedy="use the base model that the adapter was trained on, or train it again",
        ) from error


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' own progress bars and advice off the terminal; errors still come as exceptions."""
    from transformers.utils import logging

    verbosity, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bars:
            logging.enable_progress_bar()
