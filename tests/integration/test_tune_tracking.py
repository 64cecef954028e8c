"""A training as an MLflow run, in a real SQLite store."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest

from steelyard.records import Adapter
from steelyard.tracking import Tracking, open_client
from steelyard.tune.folder import StepMetrics
from steelyard.tune.recipe import LoraRecipe
from steelyard.tune.tracking import TrackedDataset, find_training_run, track_training

RECIPE = LoraRecipe(
    rank=4,
    alpha=8,
    dropout=0.0,
    target_modules=("q_proj", "v_proj"),
    upper_layers=None,
    epochs=2,
    learning_rate=5e-4,
    schedule="linear",
    warmup_share=0.1,
    batch_size=4,
    gradient_accumulation=1,
    max_length_tokens=200,
    checkpoint_every_steps=100,
    seed=1,
    dtype="float32",
)
STEPS = [StepMetrics(n, 1 / n, 1e-4, 0.5, 100, 0.25) for n in range(1, 7)]
DATASETS = [TrackedDataset("lifecycle pairs", "training", "d" * 32, "pairs.jsonl", 640)]


@pytest.fixture(scope="module")
def tracking(tmp_path_factory) -> Tracking:
    """Make a store; it takes seconds, so tests share it and differ by fingerprint."""
    root = tmp_path_factory.mktemp("mlflow")
    return Tracking(uri=f"sqlite:///{root}/mlflow.db", experiment="lifecycle", artifacts=root / "artifacts")


@pytest.fixture
def adapter_folder(tmp_path) -> Path:
    """Make a folder with an adapter's files."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder


def _adapter(fingerprint: str) -> Adapter:
    return Adapter(fingerprint, "digest", steps=6, tokens=600, seconds=1.5, final_loss=0.2)


def _track(
    tracking: Tracking,
    fingerprint: str,
    folder: Path,
    *,
    steps=STEPS,
    error: BaseException | None = None,
    recipe: LoraRecipe = RECIPE,
):
    def work(on_metrics):
        for step in steps:
            on_metrics(step)
        if error is not None:
            raise error
        return _adapter(fingerprint)

    return track_training(
        work,
        tracking=tracking,
        fingerprint=fingerprint,
        run_name="tune",
        recipe=recipe,
        base_identity="base",
        datasets=DATASETS,
        adapter_folder=folder,
        card=lambda adapter: f"card of {adapter.digest}",
        tags={"steelyard_stage": "tune"},
    )


def test_track_training_finished_run_holds_everything(tracking, adapter_folder):
    """Settings, curve, data, environment and adapter are on one finished run of the project's experiment."""
    adapter, run_id = _track(tracking, "whole", adapter_folder)
    client = open_client(tracking.uri)
    run = client.get_run(run_id)
    assert adapter == _adapter("whole")
    assert run.info.status == "FINISHED"
    assert client.get_experiment(run.info.experiment_id).name == "lifecycle"
    assert run.data.params["target_modules"] == "q_proj,v_proj"
    assert run.data.params["learning_rate"] == "0.0005"
    assert run.data.metrics["training_tokens"] == 600
    assert run.data.metrics["tokens_per_second"] == 400
    tags = {name: run.data.tags[name] for name in ("base", "precision", "steelyard_stage", "steelyard_training")}
    assert tags == {"base": "base", "precision": "float32", "steelyard_stage": "tune", "steelyard_training": "whole"}
    curve = [(point.step, point.value) for point in client.get_metric_history(run_id, "loss")]
    assert curve == [(step.step, step.loss) for step in STEPS]
    (used,) = run.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("lifecycle pairs", "d" * 32)
    files = {item.path for folder in ("adapter", "environment") for item in client.list_artifacts(run_id, folder)}
    assert files == {"adapter/README.md", "adapter/adapter_model.safetensors", "environment/requirements.txt"}


def test_track_training_run_left_running_goes_on_with_each_step_once(tracking, adapter_folder):
    """What a killed process leaves is continued, though the next process tells of all steps again."""
    with pytest.raises(RuntimeError):
        _track(tracking, "killed", adapter_folder, steps=STEPS[:4], error=RuntimeError("stands for a kill"))
    run_id = find_training_run("killed", tracking)
    assert run_id is not None
    client = open_client(tracking.uri)
    written = [point.step for point in client.get_metric_history(run_id, "loss")]
    client.update_run(run_id, status="RUNNING")
    assert _track(tracking, "killed", adapter_folder).run_id == run_id
    assert [point.step for point in client.get_metric_history(run_id, "loss")] == [1, 2, 3, 4, 5, 6]
    assert written == [1, 2, 3, 4]
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert len(run.inputs.dataset_inputs) == 1


def test_track_training_continued_with_other_checkpoints_is_the_same_run(tracking, adapter_folder):
    """How often a training is saved is no parameter of the run: MLflow would refuse another value."""
    with pytest.raises(RuntimeError):
        _track(tracking, "saved", adapter_folder, error=RuntimeError("stands for a kill"))
    changed = dataclasses.replace(RECIPE, checkpoint_every_steps=1)
    assert _track(tracking, "saved", adapter_folder, recipe=changed).run_id == find_training_run("saved", tracking)


def test_track_training_failure_fails_the_run_and_the_next_attempt_continues_it(tracking, adapter_folder):
    """An error is passed on, and visible in MLflow until the training ends well."""
    with pytest.raises(RuntimeError, match="out of memory"):
        _track(tracking, "fails", adapter_folder, error=RuntimeError("out of memory"))
    run_id = find_training_run("fails", tracking)
    assert run_id is not None
    assert open_client(tracking.uri).get_run(run_id).info.status == "FAILED"
    assert _track(tracking, "fails", adapter_folder).run_id == run_id


def test_track_training_again_changes_nothing(tracking, adapter_folder):
    """A finished training is not written a second time."""
    run_id = _track(tracking, "again", adapter_folder).run_id
    client = open_client(tracking.uri)
    before = client.get_run(run_id).info.end_time
    assert _track(tracking, "again", adapter_folder).run_id == run_id
    assert client.get_run(run_id).info.end_time == before
    assert len(client.get_metric_history(run_id, "loss")) == 6


def test_track_training_leaves_global_state_and_stdout_alone(tracking, adapter_folder, capfd):
    """Nothing is active afterwards, and nothing is printed."""
    import mlflow

    before = mlflow.get_tracking_uri()
    _track(tracking, "quiet", adapter_folder)
    assert mlflow.active_run() is None
    assert mlflow.get_tracking_uri() == before
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("alembic").level == logging.WARNING


def test_find_training_run_unknown_is_none(tracking):
    """A training that never ran has no run."""
    assert find_training_run("unknown", tracking) is None
