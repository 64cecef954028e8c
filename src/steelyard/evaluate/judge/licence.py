"""Whether a judge's word may count: it must repeat itself, and agree with people.

Belongs here: pure functions from choices on labelled items to a licence. Not here: asking the judge (see `pairs`).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from steelyard.evaluate.judge.pairs import CHOICES, Choice, Pairing

_NO_CHOICE = "none"


@dataclass(frozen=True, slots=True)
class LabelledItem:
    """Two answers, and which one a person found better."""

    pairing: Pairing
    better: Choice


@dataclass(frozen=True, slots=True)
class Floors:
    """What a licence asks for: number of labelled items, repeatability and agreement, both at most 1."""

    items: int
    repeatability: float
    agreement: float


@dataclass(frozen=True, slots=True)
class Licence:
    """What was measured on the labelled items, and why the judge may not gate (nothing where it may)."""

    items: int
    repeatability: float | None
    agreement: float | None
    refusals: tuple[str, ...]

    @property
    def is_granted(self) -> bool:
        """Whether the judge's scores may gate."""
        return not self.refusals


def licence(labels: Sequence[Choice], choices: Sequence[Sequence[Choice | None]], floors: Floors) -> Licence:
    """Return the licence that a judge earns with its choices, one list of repeats an item.

    Repeatability is the share of items on which all repeats chose the same; a missing choice breaks it. Agreement is
    Cohen's kappa between the label and the first repeat (Cohen 1960), a missing choice agreeing with nothing.
    """
    if len(labels) < max(floors.items, 1):
        return Licence(len(labels), None, None, (f"{len(labels)} labelled items, {floors.items} are asked for",))
    repeated = sum(None not in given and len(set(given)) == 1 for given in choices) / len(choices)
    agreement = _kappa(labels, [given[0] for given in choices])
    refusals = []
    if repeated < floors.repeatability:
        refusals.append(f"repeats itself on {repeated:.2f} of the labelled items, {floors.repeatability:.2f} asked")
    if agreement is None:
        refusals.append("agreement cannot be told: all labels and choices are the same")
    elif agreement < floors.agreement:
        refusals.append(f"agrees with the labels by kappa {agreement:.2f}, {floors.agreement:.2f} asked")
    return Licence(len(labels), repeated, agreement, tuple(refusals))


def _kappa(labels: Sequence[Choice], choices: Sequence[Choice | None]) -> float | None:
    from sklearn.metrics import cohen_kappa_score

    given = [_NO_CHOICE if choice is None else choice for choice in choices]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a kappa that is not defined, which is told by its value
        value = float(cohen_kappa_score(list(labels), given, labels=[*CHOICES, _NO_CHOICE]))
    return None if math.isnan(value) else value
