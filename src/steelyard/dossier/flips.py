"""Answers that tell the arms apart: cases that some arms get right and others do not, side by side.

Belongs here: choosing these cases and putting their answers next to what was expected. Not here: scoring.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from steelyard.citations import parse_object
from steelyard.dossier.content import Dossier
from steelyard.dossier.headline import best_arm
from steelyard.metrics import metric
from steelyard.records import RETRIEVING_ARMS, Answer, Arm, Case, Passage

MOST_CASES = 250  # a page stays one that a phone opens; every answer is in the traces
_AS_TEXT = "answer as text"


@dataclass(frozen=True, slots=True)
class ShownField:
    """One field of an arm's answer; `is_same` tells whether it equals what was expected, None where nothing was."""

    arm: Arm
    text: str | None
    is_same: bool | None


@dataclass(frozen=True, slots=True)
class FieldRow:
    """One field over all arms: the name, what was expected, what each arm has."""

    name: str
    expected: str | None
    answers: tuple[ShownField, ...]

    @property
    def arms(self) -> list[Arm]:
        """The arms that have the field."""
        return [answer.arm for answer in self.answers if answer.text is not None]


@dataclass(frozen=True, slots=True)
class Mark:
    """How an arm's answer was scored on what decides: 1 is right; None was not scored."""

    arm: Arm
    value: float | None
    others: tuple[tuple[str, bool], ...]

    @property
    def word(self) -> str:
        """The mark as a word."""
        if self.value is None:
            return "not scored"
        return "right" if self.value >= 1 else "wrong" if self.value <= 0 else f"{self.value:.2f}"


@dataclass(frozen=True, slots=True)
class ShownPassage:
    """A passage and the arms that it was shown to."""

    passage: Passage
    arms: tuple[Arm, ...]


@dataclass(frozen=True, slots=True)
class Flip:
    """One case with every arm's answer."""

    case: Case
    metric_label: str
    marks: tuple[Mark, ...]
    fields: tuple[FieldRow, ...]
    passages: tuple[ShownPassage, ...]


def flipped_cases(dossier: Dossier) -> list[Flip]:
    """Return the cases that tell arms apart; those that the promoted or best arm gets wrong come first."""
    leader = dossier.promoted or best_arm(dossier)
    flips = [_flip(dossier, case) for case in dossier.cases if _tells_apart(dossier, case)]

    def is_won(flip: Flip) -> bool:
        return any(mark.arm == leader and (mark.value or 0.0) >= 1 for mark in flip.marks)

    return sorted(flips, key=is_won)


def compared_pair(dossier: Dossier) -> tuple[Arm, Arm] | None:
    """Return the pair of arms to look at first: the promoted or best arm, and what it is measured from."""
    leader = dossier.promoted or best_arm(dossier)
    others = [arm for arm in dossier.arms if arm != leader]
    if not others:
        return None
    named = [arm for arm in others if arm == dossier.judgement.baseline] or [arm for arm in others if arm == "rag"]
    return leader, (named or others)[0]


def _tells_apart(dossier: Dossier, case: Case) -> bool:
    """Tell whether scores differ; a missing one counts as wrong, as in the gate."""
    name = dossier.deciding_metric(case.kind)
    return len({dossier.value_of(arm, case.id, name) or 0.0 for arm in dossier.arms}) > 1


def _flip(dossier: Dossier, case: Case) -> Flip:
    answers = {arm: dossier.answers[arm][case.id] for arm in dossier.arms if case.id in dossier.answers.get(arm, {})}
    name = dossier.deciding_metric(case.kind)
    return Flip(
        case=case,
        metric_label=metric(name).label,
        marks=tuple(_mark(dossier, arm, case, name) for arm in dossier.arms),
        fields=tuple(field_rows(case.expected, {arm: answer.text for arm, answer in answers.items()})),
        passages=tuple(_passages(dossier, answers)),
    )


def _mark(dossier: Dossier, arm: Arm, case: Case, name: str) -> Mark:
    scores = dossier.scorecards[arm].by_case.get(case.id, {})
    others = [
        (metric(other).label, bool(value))
        for other, value in scores.items()
        if other != name and value is not None and _is_shown(other)
    ]
    return Mark(arm, scores.get(name), tuple(others))


def _is_shown(name: str) -> bool:
    """Tell whether a score reads well as a tick: a yes or no of which yes is better, and no single field."""
    return metric(name).is_yes_no and metric(name).is_higher_better is True and "." not in name


def field_rows(expected: str, answers: Mapping[Arm, str]) -> list[FieldRow]:
    """Return the answers field by field where what is expected is a JSON object, else as one text."""
    wanted = parse_object(expected)
    if wanted is None:
        shown = [ShownField(arm, text, text.strip() == expected.strip()) for arm, text in answers.items()]
        return [FieldRow("answer", expected, tuple(shown))]
    found = {arm: parse_object(text) for arm, text in answers.items()}
    names = dict.fromkeys([*wanted, *(name for value in found.values() if value for name in value)])
    rows = [_field_row(name, wanted, found) for name in names]
    if any(value is None for value in found.values()):
        texts = [ShownField(arm, None if found[arm] is not None else text, None) for arm, text in answers.items()]
        rows.append(FieldRow(_AS_TEXT, None, tuple(texts)))
    return rows


def _field_row(name: str, wanted: Mapping[str, Any], found: Mapping[Arm, Mapping[str, Any] | None]) -> FieldRow:
    shown = []
    for arm, value in found.items():
        has = value is not None and name in value
        is_same = has and name in wanted and value is not None and value[name] == wanted[name]
        text = _plain(value[name]) if has and value is not None else None
        shown.append(ShownField(arm, text, is_same if has or name in wanted else None))
    return FieldRow(name, _plain(wanted[name]) if name in wanted else None, tuple(shown))


def _plain(value: Any) -> str:
    """Return a field's value; a text that would read like another value keeps its quotes."""
    is_clear = isinstance(value, str) and value not in {"null", "true", "false", ""}
    return value if is_clear else json.dumps(value, ensure_ascii=False)


def _passages(dossier: Dossier, answers: Mapping[Arm, Answer]) -> list[ShownPassage]:
    arms: dict[str, list[Arm]] = {}
    for arm, answer in answers.items():
        if arm in RETRIEVING_ARMS:
            for key in answer.passage_ids:
                arms.setdefault(key, []).append(arm)
    return [ShownPassage(dossier.passages[key], tuple(seen)) for key, seen in arms.items() if key in dossier.passages]
