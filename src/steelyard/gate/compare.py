"""Arms against one another and each by itself: differences, tests and intervals over the same clustered cases.

Belongs here: turning scorecards into arrays, and what `steelyard.statistics` says about them. Not here: what it leads
to (see `judge`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from steelyard.gate.rules import SHARES_OF_FAULTS, GateRules, Measure
from steelyard.records import Case, CaseKind, Comparison, Interval, Scorecard
from steelyard.statistics import (
    Bounds,
    Clustered,
    Floats,
    cluster_bootstrap,
    cluster_sums,
    design_effect,
    holm,
    noninferiority_bound,
    share_interval,
    sign_flip_test,
)

INTERVAL_LEVEL = 0.95  # of what is shown; a comparison's interval has the level of the test
_BOOTSTRAP = "cluster bootstrap, percentile"
_WILSON = "Wilson, effective number of cases"


@dataclass(frozen=True, slots=True)
class Contrast:
    """A comparison, with what rules ask of it beyond the record.

    `at_least` and `at_most` bound the difference for claims that it is not worse (see `noninferiority_bound`),
    `differing` counts clusters whose sums differ, `disagreement` is the share of cases that differ, `effect` how many
    times as many cases the clusters cost.
    """

    comparison: Comparison
    at_least: float
    at_most: float
    differing: int
    disagreement: float
    effect: float

    @property
    def lower_bound(self) -> float:
        """The smaller of both lower bounds of the difference: of the interval and of the careful one."""
        interval = self.comparison.interval
        return self.at_least if interval is None else min(self.at_least, interval.low)

    def seen_from(self, arm: str) -> Contrast:
        """Return the contrast with `arm` first: its difference is positive when `arm` is ahead."""
        own = self.comparison
        if own.arm == arm:
            return self
        interval = own.interval
        turned = replace(
            own,
            arm=own.baseline,
            baseline=own.arm,
            difference=-own.difference,
            wins=own.losses,
            losses=own.wins,
            interval=interval and replace(interval, low=-interval.high, high=-interval.low),
        )
        return replace(self, comparison=turned, at_least=-self.at_most, at_most=-self.at_least)


@dataclass(frozen=True, slots=True)
class Sample:
    """The cases in the order of their ids, whatever order they came in, with their clusters and kinds."""

    ids: tuple[str, ...]
    clusters: tuple[str, ...]
    kinds: tuple[CaseKind, ...]

    @classmethod
    def of(cls, cases: Sequence[Case]) -> Sample:
        """Sort cases; a case without a cluster is one of its own."""
        ordered = sorted(cases, key=lambda case: case.id)
        return cls(
            tuple(case.id for case in ordered),
            tuple(case.cluster or case.id for case in ordered),
            tuple(case.kind for case in ordered),
        )

    def scored_on(self, metric: str, cards: Sequence[Scorecard]) -> Sample:
        """Return the cases that any of the arms is scored on."""
        kept = [
            place for place, case in enumerate(self.ids) if any(metric in card.by_case.get(case, {}) for card in cards)
        ]
        return Sample(*(tuple(part[place] for place in kept) for part in (self.ids, self.clusters, self.kinds)))  # type: ignore[arg-type]

    def values(self, card: Scorecard, metric: str) -> Floats:
        """Return an arm's scores (cases,); a missing one counts as zero."""
        return np.array([card.by_case.get(case, {}).get(metric) or 0.0 for case in self.ids])

    def own_values(self, card: Scorecard, metric: str, kind: CaseKind | None) -> Floats:
        """Return an arm's scores (cases,), NaN where the metric does not apply or the case is of another kind."""
        missing = float(metric in SHARES_OF_FAULTS)
        found = [
            card.by_case.get(case, {}).get(metric, np.nan) if kind in {None, own_kind} else np.nan
            for case, own_kind in zip(self.ids, self.kinds, strict=True)
        ]
        return np.array([missing if value is None else value for value in found])


def contrasts(
    pairs: Sequence[tuple[str, str]], cards: Mapping[str, Scorecard], sample: Sample, rules: GateRules
) -> list[Contrast]:
    """Compare pairs (arm, baseline) on the objective; `p_corrected` is that of each pair alone, for now."""
    if not pairs or not sample.ids:
        return []
    values = {name: sample.values(cards[name], rules.metric) for name in {name for pair in pairs for name in pair}}
    differences = np.stack([values[arm] - values[baseline] for arm, baseline in pairs])
    data = cluster_sums(differences, sample.clusters)
    data = Clustered(data.sums, np.broadcast_to(data.counts, data.sums.shape))
    level = 1 - rules.significance
    bounds = cluster_bootstrap(data, draws=rules.draws, seed=rules.seed, level=level)
    at_least = noninferiority_bound(data, level=level)
    at_most = -noninferiority_bound(Clustered(-data.sums, data.counts), level=level)
    p_values = sign_flip_test(data.sums)
    effects = design_effect(data, mean_square=(differences**2).mean(axis=1))
    return [
        Contrast(
            Comparison(
                metric=rules.metric,
                arm=arm,
                baseline=baseline,
                difference=float(row.mean()),
                interval=Interval(float(bounds.low[place]), float(bounds.high[place]), level, _BOOTSTRAP),
                wins=int((row > 0).sum()),
                losses=int((row < 0).sum()),
                ties=int((row == 0).sum()),
                clusters=data.sums.shape[-1],
                p_value=float(p_values[place]),
                p_corrected=float(p_values[place]),
            ),
            at_least=float(at_least[place]),
            at_most=float(at_most[place]),
            differing=int((data.sums[place] != 0).sum()),
            disagreement=float((row != 0).mean()),
            effect=float(effects[place]),
        )
        for place, ((arm, baseline), row) in enumerate(zip(pairs, differences, strict=True))
    ]


def corrected(family: Sequence[Contrast]) -> list[Contrast]:
    """Return contrasts with their p values corrected for one another."""
    if not family:
        return []
    p_values = holm(np.array([contrast.comparison.p_value for contrast in family]))
    return [
        replace(contrast, comparison=replace(contrast.comparison, p_corrected=float(p)))
        for contrast, p in zip(family, p_values, strict=True)
    ]


def intervals(
    measures: Sequence[Measure], card: Scorecard, sample: Sample, rules: GateRules
) -> dict[Measure, Interval]:
    """Return the interval of every mean that has scores by case: Wilson's for yes/no scores, else bootstrapped."""
    rows = {measure: sample.own_values(card, *measure) for measure in measures}
    rows = {measure: row for measure, row in rows.items() if not np.isnan(row).all()}
    is_share = {measure: bool(np.isin(row[~np.isnan(row)], (0.0, 1.0)).all()) for measure, row in rows.items()}
    shares, graded = [m for m in rows if is_share[m]], [m for m in rows if not is_share[m]]
    found: dict[Measure, Interval] = {}
    if shares:
        data = cluster_sums(np.stack([rows[measure] for measure in shares]), sample.clusters)
        found |= _by_measure(shares, share_interval(data, level=INTERVAL_LEVEL), _WILSON)
    if graded:
        data = cluster_sums(np.stack([rows[measure] for measure in graded]), sample.clusters)
        bounds = cluster_bootstrap(data, draws=rules.draws, seed=rules.seed, level=INTERVAL_LEVEL)
        found |= _by_measure(graded, bounds, _BOOTSTRAP)
    return found


def _by_measure(measures: Sequence[Measure], bounds: Bounds, method: str) -> dict[Measure, Interval]:
    return {
        measure: Interval(float(low), float(high), INTERVAL_LEVEL, method)
        for measure, low, high in zip(measures, *bounds, strict=True)
    }
