"""What a dossier is made from: one record that holds all that is shown.

Belongs here: the record. Not here: how it is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from steelyard.records import (
    ARMS,
    Answer,
    Arm,
    Case,
    CaseKind,
    Judgement,
    Passage,
    Scorecard,
    Snapshot,
    TuneDecision,
)


@dataclass(frozen=True, slots=True)
class Objective:
    """What an arm must win on: the metric, the margin and the p value that count, the least asked of an arm."""

    metric: str
    margin: float
    significance: float
    minimum: float


@dataclass(frozen=True, slots=True)
class Dossier:
    """One evaluation with its judgement, every answer, and where all of it came from.

    `answers` maps an arm to its answers by case id, `passages` holds by id what was shown to the arms that retrieve.
    `lineage` maps a heading ("models") to names and values; `currency` is the unit of costs, empty where no prices
    were given. `pairs` is the number of training pairs.
    """

    project: str
    description: str
    fingerprint: str
    snapshot: Snapshot
    objective: Objective
    scorecards: Mapping[Arm, Scorecard]
    judgement: Judgement
    decision: TuneDecision
    cases: tuple[Case, ...]
    answers: Mapping[Arm, Mapping[str, Answer]]
    passages: Mapping[str, Passage]
    lineage: Mapping[str, Mapping[str, str]]
    pairs: int = 0
    currency: str = ""
    warnings: tuple[str, ...] = field(default=())

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The arms that were weighed, the simplest first."""
        return tuple(arm for arm in ARMS if arm in self.scorecards)

    @property
    def promoted(self) -> Arm | None:
        """The arm that the gate promotes."""
        return next((arm for arm in self.arms if self.ruling(arm) == "promote"), None)

    def ruling(self, arm: Arm) -> str:
        """Return the gate's ruling on an arm, or "not judged"."""
        verdict = self.judgement.verdicts.get(arm)
        return "not judged" if verdict is None else verdict.ruling

    def value_of(self, arm: Arm, case_id: str, metric: str) -> float | None:
        """Return one score of one answer; None where it was not scored or does not apply."""
        return self.scorecards[arm].by_case.get(case_id, {}).get(metric)

    def deciding_metric(self, kind: CaseKind) -> str:
        """Return the metric that says whether an answer to this kind of case is right."""
        return _DECIDING.get(kind, self.objective.metric)


_DECIDING: Mapping[CaseKind, str] = {
    "unanswerable": "refusal",
    "format": "format",
    "injection": "injection",
    "retention": "retention",
}
