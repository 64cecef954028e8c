"""The calibration of the gate, small: the same claims on fewer experiments, and that it decides as the gate does."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from steelyard.gate.judge import judge
from steelyard.gate.rules import Cheaper
from steelyard.records import ARMS, Case, Score, Scorecard

FILE = Path(__file__).parents[2] / "bench/gate_calibration.py"


@pytest.fixture(scope="module")
def bench():
    """Return the benchmark as a module; bench/ is no package."""
    spec = importlib.util.spec_from_file_location("gate_calibration", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def promoted(scores, cell, rules):
    """Judge one experiment (arms, cases) as a run would and return the place of the promoted arm, or -1."""
    cases = [Case(f"{n:04}", "?", "fact", "!", cluster=cluster) for n, cluster in enumerate(cell.clusters())]
    cards = {}
    for place, (arm, row) in enumerate(zip(ARMS, scores, strict=False)):
        metrics = {"fact": Score(float(row.mean()), len(row)), "prompt_tokens": Score(100.0 / (1 + place), len(row))}
        by_case = {case.id: {"fact": float(value)} for case, value in zip(cases, row, strict=True)}
        cards[arm] = Scorecard(arm, metrics, {}, by_case)
    verdicts = judge(cards, rules, cases=cases).verdicts
    return next((place for place, arm in enumerate(cards) if verdicts[arm].ruling == "promote"), -1)


@pytest.mark.parametrize(
    ("name", "cases"),
    [
        ("equal, three arms, floor at the truth", 60),
        ("equal, graded", 60),
        ("better by 15 points, clustered", 200),
        ("worse by the margin, cheaper, ties", 200),
        ("equal, clustered", 20),
    ],
)
def test_calibration_decides_as_the_gate_does(bench, name, cases):
    """Experiment by experiment, the vectorised decision and the gate promote the same arm."""
    cell = next(cell for cell in bench.cells() if (cell.name, cell.cases) == (name, cases))
    rules = replace(
        bench.RULES,
        draws=1_000,
        minimum=cell.minimum,
        cheaper=Cheaper("prompt_tokens", 0.1) if cell.is_cheaper else None,
    )
    scores = bench.simulate(cell, 20, np.random.default_rng(7))
    assert bench.winners(scores, cell, rules).tolist() == [promoted(one, cell, rules) for one in scores]


def test_calibration_of_every_small_cell_keeps_its_claim(bench):
    """False promotions in at most 5%, power within 3 points, each with the allowance that 1,000 experiments need."""
    for cell in bench.cells():
        if cell.cases <= 60 and not cell.is_graded:
            outcome = bench.run_cell(cell, experiments=1_000, seed=2)
            if outcome.announced_power is None:
                assert outcome.promoted_another <= bench.ALLOWED_FALSE + 0.015, outcome
            else:
                assert abs(outcome.promoted_another - outcome.announced_power) <= bench.ALLOWED_GAP + 0.04, outcome
