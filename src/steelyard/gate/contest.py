"""Who beats whom, who wins, and what that makes of the others.

Belongs here: decisions on contrasts and checked rules. Not here: computing either (see `compare` and `rules`).

An arm beats another one by being better beyond the margin - the measured difference exceeds the margin, an exact test
over documents is significant after correction, and the interval excludes zero - or, where the rules say what is
cheaper, by being cheaper and not worse by the margin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from steelyard.gate.compare import Contrast, Sample, corrected
from steelyard.gate.rules import GateRules
from steelyard.gate.words import tell, tell_cheaper, tell_difference, tell_open, tell_too_few
from steelyard.records import Arm, Rule, Ruling, Scorecard, Verdict
from steelyard.statistics import FEWEST_DIFFERING

CHAMPION = "champion"  # stands in comparisons where an arm's name does
_CHAMPION_RULE = "not worse than the champion"


def is_superior(contrast: Contrast, rules: GateRules) -> bool:
    """Tell whether the contrast's arm is better beyond the margin."""
    own = contrast.comparison
    return (
        own.difference > rules.margin
        and own.p_corrected <= rules.significance
        and (own.interval is None or own.interval.low > 0)
    )


def is_not_worse(contrast: Contrast, rules: GateRules) -> bool:
    """Tell whether the data exclude that the contrast's arm is worse by the margin (non-inferiority)."""
    return contrast.lower_bound > -rules.margin


def champion_rule(contrast: Contrast, rules: GateRules) -> Rule:
    """Return the rule that an arm is not behind the champion by more than the margin."""
    own = contrast.comparison
    is_passed = own.difference >= -rules.margin
    text = f"{tell_difference(contrast)}, asked at most {rules.margin:g} worse"
    return Rule(_CHAMPION_RULE, own.difference, -rules.margin, is_passed, text, own.interval)


@dataclass(frozen=True, slots=True)
class Contest:
    """The arms with their rules as they came out, and all contrasts, corrected."""

    contrasts: tuple[Contrast, ...]
    against_champion: Mapping[Arm, Contrast]
    checked: Mapping[Arm, tuple[Rule, ...]]
    cards: Mapping[Arm, Scorecard]
    rules: GateRules
    sample: Sample

    @classmethod
    def of(
        cls,
        pairs: Sequence[Contrast],
        against_champion: Mapping[Arm, Contrast],
        checked: Mapping[Arm, tuple[Rule, ...]],
        cards: Mapping[Arm, Scorecard],
        rules: GateRules,
        *,
        sample: Sample,
    ) -> Contest:
        """Correct the contrasts of eligible arms for one another; the others, which decide nothing, by themselves."""
        eligible = {arm for arm, items in checked.items() if all(rule.is_passed for rule in items)}
        families: tuple[list[Contrast], list[Contrast]] = ([], [])
        for contrast in pairs:
            families[{contrast.comparison.arm, contrast.comparison.baseline} <= eligible].append(contrast)
        return cls((*corrected(families[1]), *corrected(families[0])), against_champion, checked, cards, rules, sample)

    @property
    def eligible(self) -> list[Arm]:
        """The arms that keep every rule, in the order of preference."""
        return [arm for arm, items in self.checked.items() if all(rule.is_passed for rule in items)]

    @property
    def is_decidable(self) -> bool:
        """Whether there are enough documents for any difference to be told from chance."""
        return len(set(self.sample.clusters)) >= FEWEST_DIFFERING

    def between(self, arm: Arm, other: Arm) -> Contrast:
        """Return the contrast of two arms, seen from the first."""
        both = {arm, other}
        found = next(c for c in self.contrasts if {c.comparison.arm, c.comparison.baseline} == both)
        return found.seen_from(arm)

    def beats(self, arm: Arm, other: Arm) -> str | None:
        """Return how an arm beats another one, or None."""
        contrast = self.between(arm, other)
        if is_superior(contrast, self.rules):
            return tell(contrast)
        if self._is_cheaper(arm, other) and is_not_worse(contrast, self.rules):
            return tell_cheaper(contrast, self.rules)
        return None

    def _is_cheaper(self, arm: Arm, other: Arm) -> bool:
        if self.rules.cheaper is None:
            return False
        mine, theirs = (self.cards[a].metrics.get(self.rules.cheaper.metric) for a in (arm, other))
        if mine is None or theirs is None or mine.value is None or theirs.value is None:
            return False
        return not mine.not_scored and mine.value <= (1 - self.rules.cheaper.saving) * theirs.value

    @property
    def winner(self) -> Arm | None:
        """The most preferred eligible arm that no other one beats.

        Cheaper arms can beat one another in a circle (each a little worse than the next); then being better decides.
        """
        arms = self.eligible if self.is_decidable else []
        ways = (self.beats, lambda arm, other: is_superior(self.between(arm, other), self.rules))
        for way in ways:
            for arm in arms:
                if not any(way(other, arm) for other in arms if other != arm):
                    return arm
        return None

    def verdict(self, arm: Arm) -> Verdict:
        """Return the ruling on an arm with its reasons and rules."""
        rules = self.checked[arm]
        failed = [rule for rule in rules if not rule.is_passed]
        if failed:
            ruling, reasons = self._of_failed(arm, failed)
        elif not self.is_decidable:
            ruling, reasons = "cannot tell", (tell_too_few(len(self.sample.ids), len(set(self.sample.clusters))),)
        elif arm == self.winner:
            ruling, reasons = "promote", self._why_it_won(arm)
        else:
            ruling, reasons = self._why_it_lost(arm)
        return Verdict(arm, ruling, reasons, rules)

    def _of_failed(self, arm: Arm, failed: Sequence[Rule]) -> tuple[Ruling, tuple[str, ...]]:
        reasons = tuple(rule.explanation for rule in failed)
        if [rule.name for rule in failed] != [_CHAMPION_RULE]:
            return "reject", reasons
        champion_ahead = self.against_champion[arm].seen_from(CHAMPION)
        if is_superior(champion_ahead, self.rules):
            return "reject", reasons
        return "cannot tell", (*reasons, tell_open(champion_ahead, self.rules, comparisons=1))

    def _why_it_won(self, arm: Arm) -> tuple[str, ...]:
        others = [other for other in self.eligible if other != arm]
        if not others:
            return ("the only arm that reaches the minimum and keeps every guard-rail",)
        beaten = {other: self.beats(arm, other) for other in others}
        ways = [how for how in beaten.values() if how is not None]
        return (
            *ways,
            *(
                f"preferred to {other}, which is not better beyond the margin"
                for other, how in beaten.items()
                if how is None
            ),
        )

    def _why_it_lost(self, arm: Arm) -> tuple[Ruling, tuple[str, ...]]:
        winner = self.winner
        others = [other for other in self.eligible if other != arm]
        beaten_by = [how for how in (self.beats(other, arm) for other in others) if how is not None]
        if winner is None or beaten_by:
            return "reject", tuple(beaten_by)
        ahead = self.between(arm, winner)
        if ahead.comparison.difference > self.rules.margin:
            return "cannot tell", (tell_open(ahead, self.rules, comparisons=len(others)),)
        told = tell(ahead)
        return "reject", (f"not better than {winner}, which wins ties, by more than {self.rules.margin:g} ({told})",)
