"""Numbers as people read them.

Belongs here: pure functions from a value to a few characters. Not here: tables.
"""

from __future__ import annotations

from steelyard.records import Score

_MINUTE, _HOUR = 60, 3_600
NOT_SCORED = "–"


def seconds_in_words(seconds: float) -> str:
    """Return "0.4 s", "42 s", "3 min 40 s" or "2 h 5 min"."""
    if seconds < 10:  # noqa: PLR2004 - below, tenths tell something
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    minutes = round(seconds / _MINUTE)
    return f"{minutes // 60} h {minutes % 60} min"


def share(score: Score | None) -> str:
    """Return a score between 0 and 1 with two digits, and how many cases it lacks."""
    if score is None or score.value is None:
        return NOT_SCORED
    return f"{score.value:.2f}" + (f" ({score.not_scored} not scored)" if score.not_scored else "")


def count_of(score: Score | None) -> str:
    """Return a mean count without digits behind the point."""
    return NOT_SCORED if score is None or score.value is None else f"{score.value:,.0f}"


def duration(score: Score | None) -> str:
    """Return a duration, or a dash where there is none."""
    return NOT_SCORED if score is None or score.value is None else seconds_in_words(score.value)
