"""Numbers and intervals as people read them.

Belongs here: pure functions from a value to a few characters, the same in the terminal and in reports. Not here:
tables, and which metric has which unit (see `steelyard.metrics`).
"""

from __future__ import annotations

from typing import Literal

from steelyard.records import Interval

Unit = Literal["share", "seconds", "tokens", "count", "money"]

NOT_MEASURED = "not measured"
ARM_NAMES: dict[str, str] = {"rag": "RAG"}  # in a sentence; the others are words as they stand
_MINUTE, _HOUR = 60, 3_600
_DIGITS_BEHIND_THE_POINT_END = 10  # from here on, tenths tell nothing
_MILLION = 1_000_000


def seconds_in_words(seconds: float) -> str:
    """Return "0.4 s", "42 s", "3 min 40 s" or "2 h 5 min"."""
    if seconds < _DIGITS_BEHIND_THE_POINT_END:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    minutes = round(seconds / _MINUTE)
    return f"{minutes // 60} h {minutes % 60} min"


def percent(share: float) -> str:
    """Return a share as "89%"; what is neither none nor all never reads as 0% or 100%."""
    whole = round(share * 100)
    if (whole in {0, 100} and share not in {0.0, 1.0}) and 0 < share < 1:
        return "<1%" if whole == 0 else ">99%"
    return f"{whole}%"


def points(difference: float) -> str:
    """Return a difference of shares in percentage points, with its sign: "+11 points", "−0.4 points"."""
    size = abs(difference) * 100
    number = f"{size:.0f}" if round(size, 1) >= 1 or size == 0 else f"{size:.1f}"
    sign = "" if size == 0 else "+" if difference > 0 else "−"
    return f"{sign}{number} {'point' if number == '1' else 'points'}"


def quantity(value: float | None, unit: Unit, *, currency: str = "") -> str:
    """Return a value with its unit; a value that was not measured says so and is never zero."""
    if value is None:
        return NOT_MEASURED
    if unit == "share":
        return percent(value)
    if unit == "seconds":
        return seconds_in_words(value) if value else "0 s"
    if unit == "money":
        return _money(value, currency)
    return _number(value) + (" tokens" if unit == "tokens" else "")


def interval_in_words(interval: Interval | None, unit: Unit, *, currency: str = "") -> str:
    """Return "82–94%" or "1.2–3.4 s" without its level; empty where there is none."""
    if interval is None:
        return ""
    if unit == "share":
        return f"{interval.low * 100:.0f}–{interval.high * 100:.0f}%"
    if unit in {"tokens", "count"}:
        return f"{_number(interval.low)}–{quantity(interval.high, unit)}"
    return f"{quantity(interval.low, unit, currency=currency)} – {quantity(interval.high, unit, currency=currency)}"


def level_in_words(interval: Interval) -> str:
    """Return "95%" for a level of 0.95."""
    return f"{interval.level * 100:g}%"


def arm_name(arm: str) -> str:
    """Return an arm's name as it stands in a sentence."""
    return ARM_NAMES.get(arm, arm)


def listed(words: list[str]) -> str:
    """Return "a", "a and b" or "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def _number(value: float) -> str:
    if value >= _MILLION:
        return f"{value / _MILLION:,.1f} million"
    return f"{value:,.0f}" if abs(value) >= _DIGITS_BEHIND_THE_POINT_END or value == round(value) else f"{value:.1f}"


def _money(value: float, currency: str) -> str:
    """Return an amount with three digits that tell something: 0.00042, 1.25, 1,250."""
    size = abs(value)
    if size == 0:
        number = "0"
    elif size < 1:
        number = f"{value:.3g}" if size >= 1e-4 else f"{value:.1e}"  # noqa: PLR2004 - below, zeros hide the number
    else:
        number = f"{value:,.2f}" if size < 100 else f"{value:,.0f}"  # noqa: PLR2004 - cents tell nothing above
    return f"{number} {currency}".rstrip()
