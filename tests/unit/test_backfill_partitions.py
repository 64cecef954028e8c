import pytest

from steelyard.backfill import plan_partitions
from steelyard.errors import ConfigError

DATES = ["2023-01-01", "2024-01-01", "2025-01-01", "2026-01-01", "2026-08-22"]


def plan(**changes):
    """Return the partitions of a range over five dates."""
    arguments = {"first": DATES[0], "last": DATES[-1], "size": 2, "loaded": (), "indexed": ()} | changes
    return plan_partitions(DATES, **arguments)


def test_plan_partitions_cuts_the_range_oldest_first():
    """Every date of the range is in one partition, in order."""
    assert [part.dates for part in plan()] == [tuple(DATES[:2]), tuple(DATES[2:4]), tuple(DATES[4:])]


def test_plan_partitions_knows_what_is_there():
    """What is loaded and indexed is told by partition, so that a repeated backfill does nothing."""
    first, second, _ = plan(loaded=DATES[:3], indexed=DATES[:2])
    assert first.is_done(is_indexing=True)
    assert second.loaded == (DATES[2],)
    assert not second.is_done(is_indexing=False)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"first": "2027-01-01", "last": "2027-02-01"}, "no dated snapshot lies from"),
        ({"first": DATES[1]}, "2023-01-01 come before 2024-01-01 and are not loaded"),
        ({"loaded": [DATES[3]]}, "2023-01-01, 2024-01-01, 2025-01-01 are older than what is loaded"),
    ],
)
def test_plan_partitions_that_would_break_the_history_refused(changes, told):
    """A history grows at its end only."""
    with pytest.raises(ConfigError, match=told):
        plan(**changes)
