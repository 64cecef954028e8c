"""From scorecards to a verdict on every arm, with reasons.

Belongs here: the steps of a judgement. Not here: measuring, what a single rule asks (see `rules`), comparing (see
`compare`), who beats whom (see `contest`), and what a verdict leads to (see `steelyard.promote`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from steelyard.errors import GateError
from steelyard.gate.compare import Sample, contrasts, intervals
from steelyard.gate.contest import CHAMPION, Contest, champion_rule
from steelyard.gate.rules import Baseline, GateRules, check_arm
from steelyard.records import Arm, Case, Judgement, Power, Scorecard

CODE_VERSION = 3  # raise when a verdict comes out differently on the same scorecards
_BASELINE: Arm = "rag"  # where there is no champion


def judge(
    scorecards: Mapping[Arm, Scorecard],
    rules: GateRules,
    *,
    cases: Sequence[Case],
    champion: Scorecard | None = None,
    power: Power | None = None,
) -> Judgement:
    """Rule on every arm that was weighed; at most one is promoted.

    An arm is eligible when it reaches the objective's minimum, keeps every guard-rail and budget, and is not behind
    the champion by more than the margin. Among eligible arms the first in the order of preference wins unless another
    one beats it (see `contest`).

    `champion` is the scorecard of the current champion on the same cases; without one, limits against the baseline
    are measured from RAG. `power` is handed through. Raises `GateError` when no arm has a score on the objective.
    """
    arms = [arm for arm in rules.preference if arm in scorecards]
    sample = Sample.of(cases)
    scored = sample.scored_on(rules.metric, list(scorecards.values()))
    if not scored.ids:
        raise GateError(
            f"the gate has no case to compare the arms on: none is scored on {rules.metric}",
            remedy="add answerable cases (kind fact, fresh or injection), or name another gate.objective.metric",
        )
    by_kind = [(limit.metric, limit.kind) for limit in rules.limits if limit.kind is not None]
    shown = {
        arm: intervals(
            [*((metric, None) for metric in scorecards[arm].metrics), *by_kind], scorecards[arm], sample, rules
        )
        for arm in arms
    }
    rag = scorecards.get(_BASELINE)
    baseline = Baseline(_BASELINE, rag) if champion is None else Baseline(CHAMPION, champion, fallback=rag)
    cards: dict[str, Scorecard] = {**scorecards} | ({} if champion is None else {CHAMPION: champion})
    challenges = [] if champion is None else [(arm, CHAMPION) for arm in arms]
    against = dict(zip(arms, contrasts(challenges, cards, scored, rules), strict=False))  # none without a champion
    checked = {
        arm: check_arm(scorecards[arm], rules, baseline=baseline, intervals=shown[arm])
        + ((champion_rule(against[arm], rules),) if arm in against else ())
        for arm in arms
    }
    pairs = [(arm, simpler) for place, arm in enumerate(arms) for simpler in arms[:place]]
    contest = Contest.of(contrasts(pairs, cards, scored, rules), against, checked, scorecards, rules, sample=scored)
    return Judgement(
        verdicts={arm: contest.verdict(arm) for arm in arms},
        comparisons=tuple(contrast.comparison for contrast in (*contest.contrasts, *against.values())),
        intervals={arm: {metric: item for (metric, kind), item in shown[arm].items() if kind is None} for arm in arms},
        power=power,
        baseline=baseline.name,
    )
