"""Scores as they stand in a terminal's table.

Belongs here: pure functions from a score to a few characters. Not here: tables, and numbers without a score (see
`steelyard.words`).
"""

from __future__ import annotations

from steelyard.records import Interval, Score
from steelyard.words import seconds_in_words

__all__ = ["NOT_SCORED", "count_of", "duration", "seconds_in_words", "share"]

NOT_SCORED = "–"


def share(score: Score | None, interval: Interval | None = None) -> str:
    """Return a score between 0 and 1 with two digits, its interval, and how many cases it lacks."""
    if score is None or score.value is None:
        return NOT_SCORED
    ends = "" if interval is None else f" [{interval.low:.2f}, {interval.high:.2f}]"
    return f"{score.value:.2f}{ends}" + (f" ({score.not_scored} not scored)" if score.not_scored else "")


def count_of(score: Score | None) -> str:
    """Return a mean count without digits behind the point."""
    return NOT_SCORED if score is None or score.value is None else f"{score.value:,.0f}"


def duration(score: Score | None) -> str:
    """Return a duration, or a dash where there is none."""
    return NOT_SCORED if score is None or score.value is None else seconds_in_words(score.value)
