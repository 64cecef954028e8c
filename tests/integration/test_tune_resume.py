"""A training that is killed ends with the same bits as one that is not. Run as a script, this is the victim."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from steelyard.models.tiny import build_tiny
from steelyard.records import Adapter, Message, TrainingExample
from steelyard.tune import train as tuning
from steelyard.tune.folder import StepMetrics, adapter_folder
from steelyard.tune.recipe import LoraRecipe

RECIPE = LoraRecipe(
    rank=4,
    alpha=8,
    dropout=0.2,  # draws random numbers at every step: their state has to survive as well
    target_modules=("q_proj", "v_proj", "up_proj"),
    upper_layers=1,
    epochs=2,
    learning_rate=1e-2,
    schedule="cosine",
    warmup_share=0.1,
    batch_size=2,
    gradient_accumulation=2,
    max_length_tokens=200,
    checkpoint_every_steps=2,
    seed=1,
    dtype="bfloat16",
)
EXAMPLES = [
    TrainingExample((Message("user", f"What is {number}?" + " please" * (number % 5)),), f"It is {number}.")
    for number in range(14)
]


def _train(base: Path, output: Path, on_metrics=None):
    return tuning.train(
        EXAMPLES,
        base=base,
        base_identity="tiny",
        recipe=RECIPE,
        output=output,
        device="cpu",
        on_metrics=on_metrics,
    )


def _killed(base: Path, output: Path, moment: str, step: int) -> None:
    command = [sys.executable, __file__, str(base), str(output), moment, str(step)]
    ended = subprocess.run(command, check=False, timeout=300, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """Make a model folder."""
    folder = tmp_path_factory.mktemp("tiny")
    build_tiny(folder)
    return folder


class Resumed(NamedTuple):
    """A training that was killed twice and then ended, and how torch.load was called on the way."""

    adapter: Adapter
    output: Path
    told: list[StepMetrics]
    reads: list[object]


@pytest.fixture(scope="module")
def resumed(base, tmp_path_factory) -> Resumed:
    """Kill a training between two checkpoints, then while it writes one, and let it end."""
    import torch

    output = tmp_path_factory.mktemp("killed")
    _killed(base, output, "step", 3)
    _killed(base, output, "seal", 4)
    told: list[StepMetrics] = []
    reads: list[object] = []
    real_load = torch.load

    def watched_load(*arguments, **keywords):
        reads.append(keywords.get("weights_only"))
        return real_load(*arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "load", watched_load)
        adapter = _train(base, output, on_metrics=told.append)
    return Resumed(adapter, output, told, reads)


def test_train_killed_twice_ends_bit_identical(base, resumed, tmp_path):
    """The adapter is the undisturbed one, to the bit."""
    undisturbed = _train(base, tmp_path)
    files = [adapter_folder(output) / "adapter_model.safetensors" for output in (tmp_path, resumed.output)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert resumed.adapter.digest == undisturbed.digest
    assert resumed.adapter.final_loss == undisturbed.final_loss


def test_train_killed_twice_tells_every_step_once(resumed):
    """The last process tells of the steps that the first ones made, too, and cleans up after them."""
    assert [step.step for step in resumed.told] == list(range(1, 8))
    assert [path.name for path in resumed.output.iterdir()] == ["adapter"]


def test_train_resuming_loads_no_pickle(resumed):
    """Checkpoints are read with torch's restricted reader only."""
    assert resumed.reads
    assert set(resumed.reads) == {True}


def _victim(base: str, output: str, moment: str, step: str) -> None:
    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if moment == "seal":
        from steelyard.tune import loop

        real_seal = loop.seal

        def seal(checkpoint, **arguments):
            if len(arguments["steps"]) >= int(step):
                kill()
            real_seal(checkpoint, **arguments)

        loop.seal = seal
    _train(
        Path(base),
        Path(output),
        on_metrics=lambda told: kill() if moment == "step" and told.step == int(step) else None,
    )


if __name__ == "__main__":
    _victim(*sys.argv[1:])
