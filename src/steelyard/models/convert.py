"""GGUF checkpoints turned once into safetensors, which load 50 times faster.

Belongs here: the conversion. Not here: where it is stored (see `cache`) and loading for use (see `checkpoint`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from steelyard.errors import ServiceError
from steelyard.models.cache import require_space
from steelyard.models.checkpoint import quiet_transformers
from steelyard.progress import Progress

CONVERSION_VERSION = 1  # raise it when the converted weights or tokenizer change
# bfloat16 halves the folder, and machines with and without bf16 instructions start from the same weights. Against
# float32 the mean KL divergence of SmolLM2-135M's Q4_1 next-token distributions is 2e-4 nats: far below what the
# quantisation itself cost.
_STORED_DTYPE = "bfloat16"
_STORED_BYTES_PER_WEIGHT = 2


def convert_gguf(file: Path, *, into: Path, progress: Progress) -> None:
    """Write the checkpoint and tokenizer of a GGUF file into the folder `into`.

    Raises `ServiceError` when transformers cannot read the file, or the disk has no room.
    """
    require_space(into, _weights(file) * _STORED_BYTES_PER_WEIGHT, purpose=f"converting {file.name}")
    progress.note(f"converting {file.name} once: about half a minute for a small model")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    with quiet_transformers(), _reported(f"convert {file.name}", progress):
        try:
            tokenizer = AutoTokenizer.from_pretrained(**where)
            model = AutoModelForCausalLM.from_pretrained(**where, dtype=getattr(torch, _STORED_DTYPE))
        except (ValueError, KeyError, NotImplementedError, RuntimeError) as error:
            raise ServiceError(
                f"{file.name} cannot be read as a causal language model: {error}",
                remedy="use a GGUF file of an architecture that transformers can read, or a safetensors model",
            ) from error
        # transformers keeps the model marked as quantised although its weights are plain now, and would
        # refuse to save it
        model.hf_quantizer = None
        model.is_quantized = False
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.save_pretrained(into)
        tokenizer.save_pretrained(into)


def _weights(file: Path) -> int:
    from gguf import GGUFReader

    try:
        return sum(int(tensor.n_elements) for tensor in GGUFReader(file).tensors)
    except (ValueError, IndexError) as error:
        raise ServiceError(
            f"{file.name} is not a readable GGUF file: {error}", remedy="fetch or copy the file again"
        ) from error


@contextmanager
def _reported(task: str, progress: Progress) -> Iterator[None]:
    """Send the bar that transformers draws while it unpacks tensors to `progress` instead of the terminal."""
    from transformers import modeling_gguf_pytorch_utils as module

    def report(items: Iterable[Any], *, total: int | None = None, **_: Any) -> Iterator[Any]:
        done = 0
        for done, item in enumerate(items, start=1):
            yield item
            progress.update(task, done, total, "tensors")

    original = module.tqdm
    module.tqdm = report
    try:
        yield
    finally:
        module.tqdm = original
