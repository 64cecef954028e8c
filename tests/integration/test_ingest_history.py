"""Which states are loaded: the rule that compares sources with what the warehouse holds."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from pipelines.history import LoadedSnapshot, State, boundary_of, describe_states, states_to_load
from pipelines.spec import CaseSource, DocumentSource, IngestSpec, Limits
from steelyard.errors import ConfigError, DataError


def _state(date: str | None, digest: str) -> State:
    return State(date, (), digest)


def _loaded(sequence: int, date: str, digest: str, *, is_dated: bool = True) -> LoadedSnapshot:
    boundary = dt.datetime.fromisoformat(date).replace(tzinfo=dt.UTC)
    return LoadedSnapshot(sequence, date, is_dated, boundary, digest, f"content of {digest}", 1)


OLD, NEW = _state("2025-01-01", "old"), _state("2026-08-22", "new")
LOADED = (_loaded(1, "2025-01-01", "old"), _loaded(2, "2026-08-22", "new"))


def test_states_empty_warehouse_loads_all_in_order():
    """The newest dated state is also the state now: it is loaded once."""
    assert states_to_load((OLD, NEW), (), latest_read=None) == (OLD, NEW)


def test_states_unchanged_sources_load_nothing():
    """What is there is not loaded again."""
    assert states_to_load((OLD, NEW), LOADED, latest_read="new") == ()


def test_states_interrupted_history_loads_the_rest_only():
    """A run that ended after the first snapshot goes on with the second."""
    assert states_to_load((OLD, NEW), LOADED[:1], latest_read=None) == (NEW,)


def test_states_edited_newest_date_is_a_new_state_seen_now():
    """A published snapshot does not change: the edit becomes the next one."""
    assert states_to_load((OLD, _state("2026-08-22", "edited")), LOADED, latest_read="new") == (_state(None, "edited"),)


def test_states_edit_taken_back_is_loaded_as_a_new_state():
    """Going back to old files is a change as well."""
    loaded = (*LOADED, _loaded(3, "2026-11-22", "edited", is_dated=False))
    assert states_to_load((OLD, NEW), loaded, latest_read="edited") == (_state(None, "new"),)


def test_states_unsure_of_the_last_read_state_reads_it_again():
    """After a killed or refused ingest, or with other limits, the newest state is read once more."""
    assert states_to_load((OLD, NEW), LOADED, latest_read=None) == (_state(None, "new"),)


def test_states_changed_past_is_refused():
    """Pairs and passages rest on an old snapshot: it cannot change under them."""
    with pytest.raises(DataError, match="2025-01-01 have changed"):
        states_to_load((_state("2025-01-01", "other"), NEW), LOADED, latest_read="new")


def test_states_new_date_before_the_last_is_refused():
    """History grows at its end."""
    with pytest.raises(ConfigError, match="2025-06-01 is new"):
        states_to_load((OLD, _state("2025-06-01", "mid"), NEW), LOADED, latest_read="new")


def test_boundary_is_after_what_is_loaded_even_with_a_slow_clock():
    """A state seen now follows a snapshot that is dated in the future."""
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    assert boundary_of(_state(None, "x"), LOADED, now=now) > LOADED[-1].boundary
    assert boundary_of(_state(None, "x"), LOADED[:1], now=now) == now


def _spec(folder: Path, *sources: DocumentSource) -> IngestSpec:
    cases = CaseSource(folder / "cases.csv", "csv")
    return IngestSpec("t", sources, cases, Limits(1_000, 0.1), folder / "w.duckdb")


def test_describe_states_several_sources_take_the_latest_not_younger(tmp_path):
    """At a date each source is in its last state until then; a source without dates is there now only."""
    for name in ("a1", "a2", "b1", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "page.md").write_text(name)
    states = describe_states(
        _spec(
            tmp_path,
            DocumentSource(
                "a", "markdown", snapshots=(("2025-01-01", tmp_path / "a1"), ("2025-03-01", tmp_path / "a2"))
            ),
            DocumentSource("b", "markdown", snapshots=(("2025-02-01", tmp_path / "b1"),)),
            DocumentSource("c", "markdown", tmp_path / "c"),
        )
    )
    assert [(state.date, [path.name for _, path in state.sources]) for state in states] == [
        ("2025-01-01", ["a1"]),
        ("2025-02-01", ["a1", "b1"]),
        ("2025-03-01", ["a2", "b1"]),
        (None, ["a2", "b1", "c"]),
    ]


def test_describe_states_same_files_elsewhere_have_the_same_digest(tmp_path):
    """A digest covers names below the source and bytes: neither the folder nor a file's time."""
    digests = []
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "page.md").write_text("text")
        digests.append(describe_states(_spec(tmp_path, DocumentSource("a", "markdown", tmp_path / name)))[0].digest)
    (tmp_path / "here" / "page.md").write_text("texT")
    digests.append(describe_states(_spec(tmp_path, DocumentSource("a", "markdown", tmp_path / "here")))[0].digest)
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("dates", [("2025-02-01", "2025-01-01"), ("2025-01-01", "2025-01-01"), ("01.02.2025",)])
def test_source_with_bad_dates_is_a_config_error(tmp_path, dates):
    """Dates are ISO, once each, oldest first."""
    with pytest.raises(ConfigError):
        DocumentSource("a", "markdown", snapshots=tuple((date, tmp_path) for date in dates))
