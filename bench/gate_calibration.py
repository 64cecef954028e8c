"""How often the gate is wrong: simulated evaluations whose truth is known, judged as the gate judges.

Claims: where arms are equal - alone or clustered by document, two or three of them, with ties, missing or graded
scores, few cases or many - at most 5% of evaluations promote another arm than the preferred one; an arm that is worse
by the margin passes for "not worse" in at most 5%; and a true difference is found as often as the announced power says,
within 3 points.

The decision is the gate's own: the same functions of `steelyard.statistics` on the same arrays, with an axis for the
experiments. A test holds single experiments against `steelyard.gate.judge`.

    python bench/gate_calibration.py [--experiments 10000] [--json] [--output bench/results/gate_calibration.json]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from steelyard.gate.power import Criterion, power_in_clusters
from steelyard.gate.rules import GateRules
from steelyard.statistics import (
    Clustered,
    Floats,
    cluster_bootstrap,
    cluster_sums,
    holm,
    noninferiority_bound,
    sign_flip_test,
)

SIZES = (20, 60, 200, 1_000)
RULES = GateRules(metric="fact", margin=0.05, significance=0.05, minimum=0.0, draws=2_000, seed=17, power=0.8)
ALLOWED_FALSE = 0.05
ALLOWED_GAP = 0.03
_VALUES_AT_ONCE = 4_000_000  # of arms' scores held in one chunk


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of evaluation.

    A share of `open_share` of the cases tells arms apart: there the first arm is right half the time, the last one more
    often, so that it is `difference` better; the other cases all arms get right or wrong together. With
    `cluster_cases` > 1, a case copies its document's common outcome with probability sqrt(`correlation`), so that
    differences of two cases of a document correlate by that much.
    """

    name: str
    cases: int
    arms: int = 2
    open_share: float = 0.4
    difference: float = 0.0
    cluster_cases: int = 1
    is_uneven: bool = False
    correlation: float = 0.0
    missing: float = 0.0
    is_graded: bool = False
    minimum: float = 0.0
    is_cheaper: bool = False

    @property
    def is_null(self) -> bool:
        """Whether promoting another than the first arm is wrong."""
        return self.difference <= 0

    def clusters(self) -> list[str]:
        """Return the document of each case; uneven: the first document has a quarter of all cases."""
        large = self.cases // 4 if self.is_uneven else 0
        rest = ((case - large) // self.cluster_cases + 1 for case in range(large, self.cases))
        return [f"{number:04}" for number in [*[0] * large, *rest]]


def cells() -> list[Cell]:
    """Return every cell of the table."""
    kinds = [
        Cell("equal", 0),
        Cell("equal, clustered", 0, cluster_cases=4, correlation=0.8),
        Cell("equal, one large document", 0, cluster_cases=2, correlation=0.8, is_uneven=True),
        Cell("equal, three arms", 0, arms=3),
        Cell("equal, three arms, clustered", 0, arms=3, cluster_cases=4, correlation=0.8),
        Cell("equal, three arms, floor at the truth", 0, arms=3, minimum=0.5),
        Cell("equal, ties", 0, open_share=0.06),
        Cell("equal, a tenth missing", 0, missing=0.1),
        Cell("equal, graded", 0, cluster_cases=4, correlation=0.5, is_graded=True),
        Cell("worse by the margin, cheaper", 0, difference=-0.05, is_cheaper=True),
        Cell(
            "worse by the margin, cheaper, clustered",
            0,
            difference=-0.05,
            is_cheaper=True,
            cluster_cases=4,
            correlation=0.8,
        ),
        Cell("worse by the margin, cheaper, ties", 0, difference=-0.05, open_share=0.1, is_cheaper=True),
        Cell("better by 15 points", 0, difference=0.15),
        Cell("better by 10 points", 0, difference=0.1),
        Cell("better by 15 points, clustered", 0, difference=0.15, cluster_cases=4, correlation=0.3),
        Cell("better by 15 points, a tenth missing", 0, difference=0.15, missing=0.1),
    ]
    every = [replace(kind, cases=size) for kind in kinds for size in SIZES]
    # graded sums of many documents are all different and slow to count: 50 at most
    return [replace(cell, cluster_cases=max(4, cell.cases // 50)) if cell.is_graded else cell for cell in every]


def simulate(cell: Cell, experiments: int, random: np.random.Generator) -> Floats:
    """Return scores (experiments, arms, cases) of evaluations of one kind."""
    clusters = np.unique(cell.clusters(), return_inverse=True)[1]
    copies = random.random((experiments, cell.cases)) < np.sqrt(cell.correlation)
    common = _outcomes(cell, experiments, clusters.max() + 1, random)[:, :, clusters]
    scores = np.where(copies[:, None, :], common, _outcomes(cell, experiments, cell.cases, random))
    if cell.is_graded:
        scores = scores * random.beta(4, 2, size=scores.shape)
    if cell.missing:
        scores = np.where(random.random(scores.shape) < cell.missing, 0.0, scores)  # not scored counts as wrong
    return np.asarray(scores, dtype=float)


def _outcomes(cell: Cell, experiments: int, cases: int, random: np.random.Generator) -> Any:
    rates = np.full(cell.arms, 0.5)
    rates[-1] += cell.difference / cell.open_share
    apart = random.random((experiments, cell.arms, cases)) < rates[:, None]
    together = random.random((experiments, 1, cases)) < 0.5
    return np.where(random.random((experiments, 1, cases)) < cell.open_share, apart, together).astype(float)


def eligible_arms(scores: Floats, cell: Cell) -> Any:
    """Return which arms reach the minimum (experiments, arms)."""
    return scores.mean(axis=2) >= cell.minimum


def winners(scores: Floats, cell: Cell, rules: GateRules = RULES) -> Any:
    """Return the place of the promoted arm in each experiment (experiments,), -1 where none is."""
    arms, eligible = scores.shape[1], eligible_arms(scores, cell)
    pairs = [(better, worse) for better in range(arms) for worse in range(better)]
    differences = np.stack([scores[:, better] - scores[:, worse] for better, worse in pairs], axis=1)
    data = cluster_sums(differences, cell.clusters())
    data = Clustered(data.sums, np.broadcast_to(data.counts, data.sums.shape))
    both = np.stack([eligible[:, better] & eligible[:, worse] for better, worse in pairs], axis=1)
    beaten = np.zeros(eligible.shape, dtype=bool)
    p_values = _corrected(sign_flip_test(data.sums), both)
    for sign, column in ((1, 1), (-1, 0)):  # the second of a pair is beaten by the first, and the other way round
        beats = _superior(sign, differences, data, p_values, rules) & both
        if cell.is_cheaper and sign == 1:  # the last arm is the cheaper one
            beats |= _not_worse(data, rules) & both
        for place, pair in enumerate(pairs):
            beaten[:, pair[column]] |= beats[:, place]
    left = eligible & ~beaten
    is_decidable = data.sums.shape[-1] >= 6
    return np.where(left.any(axis=1) & is_decidable, left.argmax(axis=1), -1)


def _corrected(p_values: Floats, counted: Any) -> Floats:
    """Correct the p values of eligible pairs for one another; the others count for nothing."""
    corrected = np.ones_like(p_values)
    for pattern in np.unique(counted, axis=0):
        rows = (counted == pattern).all(axis=1)
        if pattern.any():
            corrected[np.ix_(rows, pattern)] = holm(p_values[np.ix_(rows, pattern)])
    return corrected


def _superior(sign: int, differences: Floats, data: Clustered, p_values: Floats, rules: GateRules) -> Any:
    found = (sign * differences.mean(axis=2) > rules.margin) & (p_values <= rules.significance)
    low, _ = _bootstrap(Clustered(sign * data.sums[found], data.counts[found]), rules)
    found[found] = low > 0
    return found


def _not_worse(data: Clustered, rules: GateRules) -> Any:
    found = noninferiority_bound(data, level=1 - rules.significance) > -rules.margin
    low, _ = _bootstrap(Clustered(data.sums[found], data.counts[found]), rules)
    found[found] = low > -rules.margin
    return found


def _bootstrap(data: Clustered, rules: GateRules) -> tuple[Floats, Floats]:
    """Bootstrap rows (rows, clusters) in chunks; every chunk has the draws that the gate has."""
    step = max(1, 20_000_000 // rules.draws)
    bounds = [
        cluster_bootstrap(
            Clustered(*(part[start : start + step] for part in data)),
            draws=rules.draws,
            seed=rules.seed,
            level=1 - rules.significance,
        )
        for start in range(0, len(data.sums), step)
    ]
    low, high = ([part[side] for part in bounds] for side in (0, 1))
    return np.concatenate([*low, np.empty(0)]), np.concatenate([*high, np.empty(0)])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a cell: how often another arm than the first eligible one was promoted, and what was announced."""

    cell: str
    cases: int
    documents: int
    experiments: int
    promoted_another: float
    announced_power: float | None
    detail: str
    is_kept: bool


def run_cell(cell: Cell, *, experiments: int, seed: int) -> Outcome:
    """Simulate and judge the experiments of one cell."""
    random = np.random.default_rng([seed, cell.cases, *cell.name.encode()])
    promoted = discordant = difference = 0.0
    for some in _chunks(experiments, cell):
        scores = simulate(cell, some, random)
        promoted += float((winners(scores, cell) > eligible_arms(scores, cell).argmax(axis=1)).sum())
        gap = scores[:, -1] - scores[:, 0]
        discordant += float((gap != 0).mean() * some / experiments)
        difference += float(gap.mean() * some / experiments)
    share = promoted / experiments
    announced = None if cell.is_null else announced_power(cell, difference=difference, disagreement=discordant)
    documents = len(set(cell.clusters()))
    detail = f"difference {100 * difference:+.1f} points, disagreement {100 * discordant:.0f}%"
    is_kept = share <= ALLOWED_FALSE if announced is None else abs(share - announced) <= ALLOWED_GAP
    return Outcome(cell.name, cell.cases, documents, experiments, share, announced, detail, is_kept)


def announced_power(cell: Cell, *, difference: float, disagreement: float) -> float:
    """Return the power that the gate announces for a true difference, before it is measured."""
    return power_in_clusters(
        tuple(np.unique(cell.clusters(), return_counts=True)[1].tolist()),
        difference=difference,
        disagreement=disagreement,
        correlation=cell.correlation * (1 - cell.missing) ** 2,
        test=Criterion(RULES.significance, RULES.margin),
    )


def _chunks(experiments: int, cell: Cell) -> Iterator[int]:
    step = max(1, _VALUES_AT_ONCE // (cell.arms * cell.cases))
    return (min(step, experiments - start) for start in range(0, experiments, step))


def main() -> None:
    """Run every cell and print a table, or one JSON object; end with 1 when a claim is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=10_000, help="simulated evaluations a cell")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="only cells whose name holds this")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--output", type=Path, help="write the JSON object here, too")
    options = parser.parse_args()
    started, outcomes = time.perf_counter(), []
    for cell in cells():
        if options.only in cell.name:
            outcomes.append(run_cell(cell, experiments=options.experiments, seed=options.seed))
            if not options.json:
                print(_line(outcomes[-1]), flush=True)
    is_kept = all(outcome.is_kept for outcome in outcomes)
    result = {
        "experiments": options.experiments,
        "seed": options.seed,
        "seconds": round(time.perf_counter() - started, 1),
        "is_kept": is_kept,
        "cells": [asdict(outcome) for outcome in outcomes],
    }
    text = json.dumps(result, indent=1)
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text + "\n", encoding="utf-8")
    print(text if options.json else f"{result['seconds']} s; every claim kept: {is_kept}")
    sys.exit(not is_kept)


def _line(outcome: Outcome) -> str:
    announced = "" if outcome.announced_power is None else f"announced {outcome.announced_power:6.1%}"
    return (
        f"{outcome.cell:42s} {outcome.cases:5d} cases {outcome.documents:5d} documents  "
        f"promoted {outcome.promoted_another:6.2%}  {announced:18s}{'' if outcome.is_kept else '  NOT KEPT'}"
    )


if __name__ == "__main__":
    main()
