"""Checkpoints and adapters on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from steelyard.records import Adapter
from steelyard.tune.folder import (
    StepMetrics,
    adapter_digest,
    adapter_folder,
    checkpoints_folder,
    finished,
    newest_checkpoint,
    publish,
    seal,
)


def _steps(count: int) -> list[StepMetrics]:
    return [StepMetrics(n, 1 / n, 1e-4, 0.5, 100 * n, 0.25) for n in range(1, count + 1)]


def _written_checkpoint(folder: Path, step: int, *, is_sealed: bool = True) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "adapter_model.safetensors").write_bytes(b"weights" * step)
    (path / "optimizer.pt").write_bytes(b"moments" * step)
    if is_sealed:
        seal(path, steps=_steps(step), seconds=float(step))
    return path


def test_newest_checkpoint_none_written_is_none(tmp_path):
    """A training that never saved starts from the beginning."""
    assert newest_checkpoint(tmp_path / "absent") is None


def test_newest_checkpoint_several_returns_the_last_with_its_steps(tmp_path):
    """Steps are compared as numbers: 10 comes after 9."""
    _written_checkpoint(tmp_path, 9)
    last = _written_checkpoint(tmp_path, 10)
    found = newest_checkpoint(tmp_path)
    assert found == (last, tuple(_steps(10)), 10.0)


def test_newest_checkpoint_unsealed_is_removed_and_the_one_before_used(tmp_path):
    """A process killed while saving leaves a folder that must not be resumed from."""
    whole = _written_checkpoint(tmp_path, 5)
    half = _written_checkpoint(tmp_path, 10, is_sealed=False)
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.path == whole
    assert not half.exists()


@pytest.mark.parametrize("damage", ["truncate", "remove"])
def test_newest_checkpoint_damaged_after_sealing_is_not_used(tmp_path, damage):
    """A disk that lost bytes of a sealed checkpoint is noticed."""
    whole = _written_checkpoint(tmp_path, 5)
    file = _written_checkpoint(tmp_path, 10) / "optimizer.pt"
    if damage == "truncate":
        file.write_bytes(file.read_bytes()[:-1])
    else:
        file.unlink()
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.path == whole


def _published(output: Path, fingerprint: str, *, weights: bytes = b"weights") -> Adapter:
    aside = output / ".aside"
    aside.mkdir(parents=True)
    (aside / "adapter_config.json").write_text("{}", encoding="utf-8")
    (aside / "adapter_model.safetensors").write_bytes(weights)
    adapter = Adapter(fingerprint, adapter_digest(aside), steps=3, tokens=600, seconds=1.5, final_loss=0.25)
    publish(aside, output, adapter=adapter, steps=_steps(3))
    return adapter


def test_publish_adapter_is_found_with_its_steps_and_checkpoints_are_gone(tmp_path):
    """After the end only the adapter remains."""
    _written_checkpoint(checkpoints_folder(tmp_path, "f"), 3)
    adapter = _published(tmp_path, "f")
    assert finished(tmp_path, "f") == (adapter, tuple(_steps(3)))
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_finished_adapter_of_another_training_is_none(tmp_path):
    """A changed recipe does not find the old adapter."""
    _published(tmp_path, "f")
    assert finished(tmp_path, "g") is None


def test_publish_over_another_training_replaces_it(tmp_path):
    """The folder holds the adapter of the last training, whole."""
    _published(tmp_path, "f")
    adapter = _published(tmp_path, "g", weights=b"others")
    assert finished(tmp_path, "g") == (adapter, tuple(_steps(3)))
    assert (adapter_folder(tmp_path) / "adapter_model.safetensors").read_bytes() == b"others"


def test_adapter_digest_weights_changed_is_another_times_changed_stays(tmp_path):
    """The digest covers what is loaded, not how long it took."""
    first = _published(tmp_path / "1", "f")
    assert _published(tmp_path / "2", "f", weights=b"x").digest != first.digest
    record = adapter_folder(tmp_path / "1") / "training.json"
    record.write_text(record.read_text().replace("1.5", "9.5"), encoding="utf-8")
    assert adapter_digest(adapter_folder(tmp_path / "1")) == first.digest
