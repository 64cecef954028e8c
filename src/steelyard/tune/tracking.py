"""A training as an MLflow run: found again after a crash, complete in the end.

Belongs here: which run a training writes to, and what. Not here: how MLflow is reached (see `steelyard.tracking`)
and training itself. There is no active run: everything goes through a client and a run id.
"""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from steelyard.errors import ServiceError
from steelyard.fingerprint import canonical_json
from steelyard.records import Adapter
from steelyard.tracking import Tracking, experiment_id, open_client, service_errors
from steelyard.tune.folder import StepMetrics
from steelyard.tune.recipe import LoraRecipe, settings_with_effect
from steelyard.tune.train import OnMetrics

FINGERPRINT_TAG = "steelyard_training"
DIGEST_TAG = "steelyard_adapter_digest"
_LOSS = "loss"
_SECONDS_BETWEEN_WRITES = 5.0  # a curve to watch; a write takes a SQLite database some milliseconds
_STEPS_IN_A_WRITE = 200  # MLflow takes 1,000 metrics at once, and a step has four


@dataclass(frozen=True, slots=True)
class TrackedDataset:
    """One set of data that a training used: its name, what it is ("pairs"), its digest, where it comes from."""

    name: str
    context: str
    digest: str
    source: str
    rows: int


class TrackedTraining(NamedTuple):
    """The adapter and the MLflow run that tells how it came about."""

    adapter: Adapter
    run_id: str


def track_training(
    work: Callable[[OnMetrics], Adapter],
    *,
    tracking: Tracking,
    fingerprint: str,
    run_name: str,
    recipe: LoraRecipe,
    base_identity: str,
    datasets: Sequence[TrackedDataset],
    adapter_folder: Path,
    card: Callable[[Adapter], str],
    tags: Mapping[str, str],
) -> TrackedTraining:
    """Do `work`, a training that tells of its steps, inside the MLflow run of its fingerprint.

    A run that a killed process left goes on; steps are written once. When training fails, so does the run, and the
    next attempt continues it. A run that holds this adapter already stays as it is. `card` writes the model card that
    lies beside the adapter.

    Raises `ServiceError` when MLflow fails, and whatever `work` raises.
    """
    client = open_client(tracking.uri)
    experiment = experiment_id(client, tracking)
    with service_errors(tracking.uri):
        run = _find(client, experiment, fingerprint)
        if run is None:
            run = client.create_run(experiment, tags={FINGERPRINT_TAG: fingerprint}, run_name=run_name)
        run_id = str(run.info.run_id)
        if run.info.status != "FINISHED":
            client.update_run(run_id, status="RUNNING")
            described = {"base": base_identity, "precision": recipe.dtype, **tags}
            _describe(client, run_id, recipe=recipe, tags=described, datasets=datasets)
        curve = _Curve(client, run_id, tracking.uri)
    adapter = _attempt(client, run_id, work, curve)
    if run.info.status == "FINISHED" and run.data.tags.get(DIGEST_TAG) == adapter.digest:
        return TrackedTraining(adapter, run_id)
    with service_errors(tracking.uri):
        client.log_text(run_id, card(adapter), "adapter/README.md")
        _complete(client, run_id, adapter, adapter_folder)
    return TrackedTraining(adapter, run_id)


def find_training_run(fingerprint: str, tracking: Tracking) -> str | None:
    """Return the id of a training's run, or None."""
    client = open_client(tracking.uri)
    experiment = experiment_id(client, tracking)
    with service_errors(tracking.uri):
        run = _find(client, experiment, fingerprint)
    return None if run is None else str(run.info.run_id)


def _find(client: Any, experiment: str, fingerprint: str) -> Any:
    found = client.search_runs(
        [experiment],
        filter_string=f"tags.{FINGERPRINT_TAG} = '{fingerprint}'",
        order_by=["attributes.start_time ASC"],
        max_results=1,
    )
    return found[0] if found else None


def _attempt(client: Any, run_id: str, work: Callable[[OnMetrics], Adapter], curve: _Curve) -> Adapter:
    from mlflow.exceptions import MlflowException

    try:
        adapter = work(curve.add)
        curve.write()
    except BaseException as error:
        status = "FAILED" if isinstance(error, Exception) else "KILLED"  # Ctrl-C is no failure
        with suppress(ServiceError, MlflowException):  # when MLflow fails as well, the first error is the one to show
            curve.write()
            client.set_terminated(run_id, status=status)
        raise
    return adapter


def _describe(
    client: Any,
    run_id: str,
    *,
    recipe: LoraRecipe,
    tags: Mapping[str, str],
    datasets: Sequence[TrackedDataset],
) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

    client.log_batch(
        run_id,
        params=[Param(name, _text(value)) for name, value in settings_with_effect(recipe).items()],
        tags=[RunTag(name, value) for name, value in tags.items()],
    )
    inputs = [
        DatasetInput(
            Dataset(
                name=item.name,
                digest=item.digest,
                source_type="steelyard",
                source=canonical_json({"source": item.source}),
                profile=canonical_json({"num_rows": item.rows}),
            ),
            tags=[InputTag("mlflow.data.context", item.context)],
        )
        for item in datasets
    ]
    if inputs:
        client.log_inputs(run_id, datasets=inputs)
    client.log_text(run_id, _environment(), "environment/requirements.txt")


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def _environment() -> str:
    installed = {f"{item.name}=={item.version}" for item in importlib.metadata.distributions()}
    lines = [f"# Python {platform.python_version()}", *sorted(installed, key=str.lower)]
    return "".join(f"{line}\n" for line in lines)


def _complete(client: Any, run_id: str, adapter: Adapter, adapter_folder: Path) -> None:
    totals = {"steps": adapter.steps, "tokens": adapter.tokens, "seconds": adapter.seconds}
    for name, value in {**totals, "final_loss": adapter.final_loss}.items():
        client.log_metric(run_id, f"training_{name}", float(value), step=adapter.steps)
    client.log_artifacts(run_id, str(adapter_folder), "adapter")
    client.set_tag(run_id, DIGEST_TAG, adapter.digest)
    client.set_terminated(run_id, status="FINISHED")


class _Curve:
    """Writes steps in small batches, each step once, whoever wrote the earlier ones."""

    def __init__(self, client: Any, run_id: str, tracking_uri: str) -> None:
        self._client = client
        self._run_id = run_id
        self._tracking_uri = tracking_uri
        self._last = max((point.step for point in client.get_metric_history(run_id, _LOSS)), default=0)
        self._waiting: list[StepMetrics] = []
        self._written = time.monotonic()

    def add(self, step: StepMetrics) -> None:
        if step.step <= self._last:
            return
        self._last = step.step
        self._waiting.append(step)
        is_due = time.monotonic() - self._written > _SECONDS_BETWEEN_WRITES
        if is_due or len(self._waiting) >= _STEPS_IN_A_WRITE:
            self.write()

    def write(self) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [
            Metric(name, value, now, step.step)
            for step in self._waiting
            for name, value in (
                (_LOSS, step.loss),
                ("learning_rate", step.learning_rate),
                ("gradient_norm", step.gradient_norm),
                ("tokens_per_second", step.tokens / step.seconds),
            )
        ]
        with service_errors(self._tracking_uri):
            if metrics:
                self._client.log_batch(self._run_id, metrics=metrics)
        self._waiting.clear()
        self._written = time.monotonic()
