"""What a run tells at its end: one record, the same for the terminal, `--json` and the tracking server.

Belongs here: the record and its plain form. Not here: how it is drawn (see `steelyard.cli`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from steelyard.records import Arm, Comparison, Interval, Power, Score, Snapshot, TuneDecision, Verdict


@dataclass(frozen=True, slots=True)
class Work:
    """How much was done in this run; what was found done already counts nothing."""

    documents_loaded: int = 0
    passages_embedded: int = 0
    answers_generated: int = 0
    tokens_generated: int = 0
    steps_trained: int = 0


@dataclass(frozen=True, slots=True)
class Digests:
    """Digests of what the stages produced; None where a stage did not run (no adapter without tuning)."""

    warehouse: str
    index: str
    answers: str
    adapter: str | None


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A version in the model registry; `uri` is what `mlflow.pyfunc.load_model` takes."""

    name: str
    version: str
    alias: str
    uri: str


@dataclass(frozen=True, slots=True)
class RunReport:
    """The outcome of one release run; `seconds` maps a stage to the time it took, `report` is the report's page."""

    run_id: str
    project: str
    snapshot: Snapshot
    precision: str
    promoted: Arm | None
    decision: TuneDecision
    verdicts: Mapping[Arm, Verdict]
    scores: Mapping[Arm, Mapping[str, Score]]
    intervals: Mapping[Arm, Mapping[str, Interval]]
    comparisons: tuple[Comparison, ...]
    power: Power | None
    baseline: str
    work: Work
    digests: Digests
    seconds: Mapping[str, float]
    model_version: ModelVersion | None
    refused: int
    warnings: tuple[str, ...] = ()
    currency: str = ""
    report: str = ""

    def plain(self) -> dict[str, Any]:
        """Return the record as JSON-ready values."""
        return asdict(self)
