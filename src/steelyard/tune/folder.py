"""What a training keeps on disk: sealed checkpoints, and the finished adapter, published as a whole.

Belongs here: which files are complete, and moving them into place. Not here: what is in a checkpoint (transformers'
Trainer writes it) and training itself. Nothing here imports torch.

    <output>/checkpoints/<fingerprint>/checkpoint-<step>/   as the Trainer writes it, and seal.json, written last
    <output>/adapter/                                       PEFT's two files, training.json and steps.jsonl
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from steelyard.fingerprint import canonical_json, digest, sha256_file
from steelyard.records import Adapter
from steelyard.workspace import write_atomically

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
_SEAL = "seal.json"
_RECORD = "training.json"
_STEPS = "steps.jsonl"


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """One optimizer step: mean loss over the completion tokens that it saw, its tokens (without padding), its time."""

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    tokens: int
    seconds: float


class Checkpoint(NamedTuple):
    """A complete checkpoint, the steps up to it, and the seconds spent on them."""

    path: Path
    steps: tuple[StepMetrics, ...]
    seconds: float


def adapter_folder(output: Path) -> Path:
    """Return where the finished adapter is."""
    return output / "adapter"


def checkpoints_folder(output: Path, fingerprint: str) -> Path:
    """Return where one training's checkpoints are; another recipe never resumes from them."""
    return output / "checkpoints" / fingerprint


def seal(checkpoint: Path, *, steps: Sequence[StepMetrics], seconds: float) -> None:
    """Mark a checkpoint as complete, after all its bytes are on the disk."""
    files = sorted(path for path in checkpoint.iterdir() if path.is_file() and path.name != _SEAL)
    for path in files:
        _sync(path)
    content = {
        "files": {path.name: sha256_file(path) for path in files},
        "seconds": seconds,
        "steps": [dataclasses.asdict(step) for step in steps],
    }
    write_atomically(checkpoint / _SEAL, json.dumps(content))
    _sync(checkpoint)


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the last complete checkpoint; what a killed process left half-written is removed."""
    found = [checkpoint for path in folder.glob("checkpoint-*") if (checkpoint := _opened(path)) is not None]
    return max(found, key=lambda checkpoint: len(checkpoint.steps), default=None)


def _opened(path: Path) -> Checkpoint | None:
    try:
        content = json.loads((path / _SEAL).read_text(encoding="utf-8"))
        is_whole = all(sha256_file(path / name) == seen for name, seen in content["files"].items())
    except FileNotFoundError:
        is_whole = False
    if not is_whole:
        shutil.rmtree(path)
        return None
    steps = tuple(StepMetrics(**step) for step in content["steps"])
    return Checkpoint(path, steps, content["seconds"])


def finished(output: Path, fingerprint: str) -> tuple[Adapter, tuple[StepMetrics, ...]] | None:
    """Return the adapter of this training and its steps, or None when it has yet to be trained."""
    folder = adapter_folder(output)
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    if record["fingerprint"] != fingerprint:
        return None
    lines = (folder / _STEPS).read_text(encoding="utf-8").splitlines()
    return Adapter(**record), tuple(StepMetrics(**json.loads(line)) for line in lines)


def adapter_digest(folder: Path) -> str:
    """Return the digest of an adapter's weights and settings."""
    return digest({name: sha256_file(folder / name) for name in ADAPTER_FILES})


def publish(aside: Path, output: Path, *, adapter: Adapter, steps: Sequence[StepMetrics]) -> None:
    """Complete an adapter's folder that was written aside, move it into place, and drop the checkpoints."""
    (aside / _RECORD).write_text(json.dumps(dataclasses.asdict(adapter), indent=1), encoding="utf-8")
    (aside / _STEPS).write_text("".join(canonical_json(step) + "\n" for step in steps), encoding="utf-8")
    for path in aside.iterdir():
        _sync(path)
    _sync(aside)
    target = adapter_folder(output)
    if target.exists():  # of another training: this one's would have been found
        shutil.rmtree(target)
    aside.replace(target)
    _sync(output)
    drop_checkpoints(output)


def drop_checkpoints(output: Path) -> None:
    """Remove what a finished training no longer needs."""
    shutil.rmtree(output / "checkpoints", ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
