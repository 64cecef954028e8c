"""What a verdict rests on, written as one MLflow run with a run below it for each arm.

Belongs here: the run of an evaluation with its parameters, metrics per arm, digests, the verdict table and the
dossier. Not here: how scores and verdicts come about, a single answer (see `traces`), and the model registry.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from steelyard.fingerprint import digest
from steelyard.progress import Progress, Silent
from steelyard.promote.traces import ArmTraces, log_arm
from steelyard.promote.verdict_table import verdict_table
from steelyard.records import Arm, Scorecard, TuneDecision, Verdict
from steelyard.report import Digests
from steelyard.tracking import Tracking, experiment_id, open_client, service_errors

EVIDENCE_TAG = "steelyard_evidence"
DOSSIER_FOLDER = "dossier"  # among the run's artifacts
_MAX_PARAMETER_CHARACTERS = 6_000  # MLflow's own limit
_METRICS_PER_CALL = 1_000  # MLflow's own limit
_PARAMETERS_PER_CALL = 100  # MLflow's own limit


@dataclass(frozen=True, slots=True)
class Evidence:
    """One evaluation with its verdicts.

    `fingerprint` is the identity of the evaluation and its gate: the same one is written once. `parameters` are
    settings worth comparing between runs, `files` texts by their path in the run; `dossier` is the folder of the
    report's files, `arms` holds the answers.
    """

    fingerprint: str
    name: str
    scorecards: Mapping[Arm, Scorecard]
    verdicts: Mapping[Arm, Verdict]
    digests: Digests
    promoted: Arm | None = None
    decision: TuneDecision | None = None
    parameters: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    dossier: Path | None = None
    arms: tuple[ArmTraces, ...] = ()


def record_evidence(evidence: Evidence, *, tracking: Tracking, progress: Progress | None = None) -> str:
    """Write the evidence as one finished MLflow run and return the run's id.

    The same evidence is written once; a run that a crash left unfinished is continued. Raises `ServiceError` when
    MLflow fails.
    """
    client = open_client(tracking.uri)
    experiment = experiment_id(client, tracking)
    with service_errors(tracking.uri):
        run = _find_run(client, experiment, evidence.fingerprint) or client.create_run(
            experiment, run_name=evidence.name, tags={EVIDENCE_TAG: evidence.fingerprint}
        )
        run_id = str(run.info.run_id)
        if run.info.status != "FINISHED":
            _write(client, run_id, evidence)
            for arm in evidence.arms:
                log_arm(
                    client,
                    arm,
                    experiment=experiment,
                    parent_run=run_id,
                    tag=digest([evidence.fingerprint, arm.arm]),
                    project=tracking.experiment,
                    progress=progress or Silent(),
                )
            client.set_terminated(run_id, status="FINISHED")
    return run_id


def _find_run(client: Any, experiment: str, fingerprint: str) -> Any:
    runs = client.search_runs(
        [experiment], f"tags.{EVIDENCE_TAG} = '{fingerprint}'", max_results=1, order_by=["attributes.start_time ASC"]
    )
    return runs[0] if runs else None


def _write(client: Any, run_id: str, evidence: Evidence) -> None:
    table = verdict_table(evidence.scorecards, evidence.verdicts)
    for name, value in _tags(evidence).items():
        client.set_tag(run_id, name, value)
    _log_parameters(client, run_id, evidence.parameters)
    _log_metrics(client, run_id, metric_values(evidence.scorecards))
    client.log_text(run_id, table.markdown, "verdict/verdict.md")
    client.log_text(run_id, table.json, "verdict/verdict.json")
    if evidence.decision is not None:
        client.log_dict(run_id, asdict(evidence.decision), "decision.json")
    for path, text in evidence.files.items():
        client.log_text(run_id, text, path)
    if evidence.dossier is not None:
        client.log_artifacts(run_id, str(evidence.dossier), DOSSIER_FOLDER)


def _tags(evidence: Evidence) -> dict[str, str]:
    tags = {f"digest_{name}": value for name, value in asdict(evidence.digests).items() if value is not None}
    tags |= {f"verdict_{arm}": verdict.ruling for arm, verdict in evidence.verdicts.items()}
    return tags | {"promoted": evidence.promoted or "none", "stage": "evaluate"}


def metric_values(scorecards: Mapping[Arm, Scorecard]) -> dict[str, float]:
    """Return scores as `arm/metric` and `arm/kind/metric`; what was not scored has no entry."""
    values: dict[str, float] = {}
    for arm, card in scorecards.items():
        groups = [(arm, card.metrics), *((f"{arm}/{kind}", scores) for kind, scores in card.by_kind.items())]
        for prefix, scores in groups:
            values |= {f"{prefix}/{name}": s.value for name, s in scores.items() if s.value is not None}
    return values


def _log_parameters(client: Any, run_id: str, parameters: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    entries = [Param(name, str(value)[:_MAX_PARAMETER_CHARACTERS]) for name, value in sorted(parameters.items())]
    for start in range(0, len(entries), _PARAMETERS_PER_CALL):
        client.log_batch(run_id, params=entries[start : start + _PARAMETERS_PER_CALL])


def _log_metrics(client: Any, run_id: str, values: Mapping[str, float]) -> None:
    from mlflow.entities import Metric

    now_milliseconds = int(time.time() * 1_000)
    entries = [Metric(name, value, now_milliseconds, 0) for name, value in sorted(values.items())]
    for start in range(0, len(entries), _METRICS_PER_CALL):
        client.log_batch(run_id, metrics=entries[start : start + _METRICS_PER_CALL])
