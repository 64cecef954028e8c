"""Which past states a backfill loads, and in which portions.

Belongs here: the pure rule from dates to partitions. Not here: loading them (`pipelines.backfill`) and running them
(`flows.backfill`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from steelyard.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Partition:
    """Dates that one run loads, oldest first, and those of them that are loaded and indexed already."""

    dates: tuple[str, ...]
    loaded: tuple[str, ...]
    indexed: tuple[str, ...]

    def is_done(self, *, is_indexing: bool) -> bool:
        """Tell whether a run would find nothing to do."""
        return set(self.indexed if is_indexing else self.loaded) == set(self.dates)


def plan_partitions(
    known: Sequence[str],
    *,
    first: str,
    last: str,
    size: int,
    loaded: Collection[str],
    indexed: Collection[str],
) -> tuple[Partition, ...]:
    """Cut the known dates from `first` to `last` (ISO) into partitions of `size`, oldest first.

    `known` are the dates that the project names, `loaded` those in the warehouse, `indexed` those in the index. A
    history grows at its end only: raises `ConfigError` when an earlier date would be left out, or a date in the range
    is older than what is loaded, and when the range holds no date.
    """
    dates = sorted(set(known))
    wanted = [date for date in dates if first <= date <= last]
    if not wanted:
        raise ConfigError(
            f"no dated snapshot lies from {first} to {last}; the project names {', '.join(dates) or 'none'}",
            remedy="choose a range that holds one of them, or add snapshots to the project file",
        )
    _check_order(dates, wanted, set(loaded))
    return tuple(
        Partition(
            dates=tuple(some),
            loaded=tuple(date for date in some if date in loaded),
            indexed=tuple(date for date in some if date in indexed),
        )
        for some in (wanted[start : start + size] for start in range(0, len(wanted), size))
    )


def _check_order(dates: Sequence[str], wanted: Sequence[str], loaded: set[str]) -> None:
    left_out = [date for date in dates if date < wanted[0] and date not in loaded]
    if left_out:
        raise ConfigError(
            f"the snapshots of {', '.join(left_out)} come before {wanted[0]} and are not loaded",
            remedy=f"begin the range at {left_out[0]}: a history is loaded from its start",
        )
    newest = max(loaded, default="")
    too_old = [date for date in wanted if date not in loaded and date < newest]
    if too_old:
        raise ConfigError(
            f"the snapshots of {', '.join(too_old)} are older than what is loaded ({newest})",
            remedy="a history grows at its end only: delete the workspace to load it from its start",
        )
