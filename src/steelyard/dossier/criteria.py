"""The decision table: what each arm costs and gives, criterion by criterion.

Belongs here: which metrics tell of which criterion, and their cells as text. Not here: the metrics themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steelyard.dossier.content import Dossier
from steelyard.metrics import Metric, metric
from steelyard.records import TUNED_ARMS, Arm, Score
from steelyard.words import interval_in_words, quantity

# criterion, the question that it answers, its metrics; the first is shown also when it was not measured
_CRITERIA: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Facts", "Does it say what is right?", ("fact", "token_f1", "field_accuracy")),
    ("Format", "Does it keep to the agreed form?", ("format", "json_valid")),
    ("Freshness", "Is a changed fact right after a source update?", ("fresh_after_update", "fresh_before_update")),
    ("Update cost", "What does a changed page cost?", ("seconds_until_right", "cost_until_right", "update_seconds")),
    ("Hallucination", "Does it make things up?", ("unsupported", "refusal", "false_refusal")),
    ("Explainability", "Can one see where it has it from?", ("citation", "citation_support")),
    ("Robustness", "Does it stay what it was?", ("injection", "retention")),
    (
        "Cost of a query",
        "What does a question cost?",
        (
            "cost_per_1000_queries", "cost_per_correct_answer", "prompt_tokens", "completion_tokens",
            "latency_p50_seconds", "latency_p95_seconds", "break_even_queries_per_day",
        ),
    ),
    ("Set-up effort", "What does it take to begin?", ("setup_seconds", "pairs")),
)  # fmt: skip
_PAIRS = Metric("pairs", "Training pairs", "labelled pairs that it was trained on", "count", is_higher_better=None)


@dataclass(frozen=True, slots=True)
class Cell:
    """One arm's value as text, its interval as text, and how many cases it lacks."""

    arm: Arm
    text: str
    interval: str
    note: str
    is_measured: bool
    is_best: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One metric over all arms."""

    metric: Metric
    cells: tuple[Cell, ...]

    @property
    def is_measured(self) -> bool:
        """Whether any arm has a value."""
        return any(cell.is_measured for cell in self.cells)


@dataclass(frozen=True, slots=True)
class Criterion:
    """One criterion with the question that it answers."""

    name: str
    question: str
    rows: tuple[Row, ...]


def decision_table(dossier: Dossier) -> list[Criterion]:
    """Return the criteria; of each, the first metric and those others that were measured."""
    table = []
    for name, question, metrics in _CRITERIA:
        rows = [_row(dossier, metric_name) for metric_name in metrics]
        table.append(
            Criterion(name, question, tuple(row for place, row in enumerate(rows) if not place or row.is_measured))
        )
    return table


def _row(dossier: Dossier, name: str) -> Row:
    known = _PAIRS if name == "pairs" else metric(name)
    scores = [_score(dossier, arm, name) for arm in dossier.arms]
    best = _best(scores, known)
    cells = [
        _cell(dossier, arm, score, known, is_best=place in best)
        for place, (arm, score) in enumerate(zip(dossier.arms, scores, strict=True))
    ]
    return Row(known, tuple(cells))


def _score(dossier: Dossier, arm: Arm, name: str) -> Score:
    if name == "pairs":
        return Score(float(dossier.pairs) if arm in TUNED_ARMS else 0.0, 1)
    return dossier.scorecards[arm].metrics.get(name, Score(None, 0))


def _best(scores: Sequence[Score], known: Metric) -> set[int]:
    """Return the places of the best values, none where all are alike or there is nothing to compare."""
    values = {place: score.value for place, score in enumerate(scores) if score.value is not None}
    if known.is_higher_better is None or len(set(values.values())) < 2:  # noqa: PLR2004 - one value compares with none
        return set()
    best = (max if known.is_higher_better else min)(values.values())
    return {place for place, value in values.items() if value == best}


def _cell(dossier: Dossier, arm: Arm, score: Score, known: Metric, *, is_best: bool) -> Cell:
    interval = dossier.judgement.intervals.get(arm, {}).get(known.name)
    return Cell(
        arm=arm,
        text="none" if known is _PAIRS and not score.value else value_in_words(score, known, dossier.currency),
        interval=interval_in_words(interval, known.unit, currency=dossier.currency) if score.value is not None else "",
        note=f"{score.not_scored} of {score.n} not scored" if score.not_scored and score.value is not None else "",
        is_measured=score.value is not None,
        is_best=is_best,
    )


def value_in_words(score: Score, known: Metric, currency: str = "") -> str:
    """Return a score with its unit; what has no value was not measured, could not be scored, or never happens."""
    if score.value is not None or score.n == 0:
        return quantity(score.value, known.unit, currency=currency)
    return "not scored" if score.not_scored else "never"
