"""Which dated states the sources describe, and which of them the warehouse still lacks.

Belongs here: states, their digests, and the pure rule that compares them with what is loaded. Not here: loading.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.documents import list_source_files
from pipelines.files import identify_files
from pipelines.spec import DocumentSource, IngestSpec
from steelyard.errors import ConfigError, DataError
from steelyard.fingerprint import digest

_ONE_SECOND = dt.timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class State:
    """All sources together at one date, None for now; `digest` covers their files' names and bytes."""

    date: str | None
    sources: tuple[tuple[DocumentSource, Path], ...]
    digest: str


@dataclass(frozen=True, slots=True)
class LoadedSnapshot:
    """A snapshot in the warehouse: its documents are the rows valid at `boundary` (UTC).

    `date` is the date its source gave, or the day on which a state without a date was seen.
    """

    sequence: int
    date: str
    is_dated: bool
    boundary: dt.datetime
    state_digest: str
    digest: str
    documents: int


def describe_states(spec: IngestSpec) -> tuple[State, ...]:
    """Return the dated states, oldest first, and at the end the state now when a source has no dates.

    At a date every dated source is in its latest state that is not younger; sources without dates are in the state
    now only. Raises `ConfigError` when a path is missing.
    """
    files: dict[tuple[str, Path], list[tuple[str, str]]] = {}

    def state(date: str | None) -> State:
        sources = tuple((source, path) for source in spec.documents if (path := _path_at(source, date)) is not None)
        for source, path in sources:
            if (source.name, path) not in files:
                files[source.name, path] = identify_files(list_source_files(source, path))
        content = [[source.name, source.format, files[source.name, path]] for source, path in sources]
        return State(date, sources, digest(content))

    dates = sorted({date for source in spec.documents for date, _ in source.snapshots})
    has_undated = any(source.path is not None for source in spec.documents)
    return tuple(state(date) for date in [*dates, *([None] if has_undated or not dates else [])])


def _path_at(source: DocumentSource, date: str | None) -> Path | None:
    if source.path is not None:
        return source.path if date is None else None
    known = [path for day, path in source.snapshots if date is None or day <= date]
    return known[-1] if known else None


def states_to_load(
    states: Sequence[State], loaded: Sequence[LoadedSnapshot], *, latest_read: str | None
) -> tuple[State, ...]:
    """Return the states to load, in order; the last one is the state now when it differs from `latest_read`.

    A loaded snapshot never changes: when the files of the newest date change, that is a new state, seen now. Raises
    `DataError` when the files of an older date have changed and `ConfigError` when a new date is older than what is
    loaded.
    """
    by_date = {snapshot.date: snapshot for snapshot in loaded if snapshot.is_dated}
    known = {snapshot.state_digest for snapshot in loaded}
    dated = [state for state in states if state.date is not None]
    missing: list[State] = []
    for state in dated:
        snapshot = by_date.get(str(state.date))
        if snapshot is None:
            check_is_newer(state, loaded)
            missing.append(state)
        elif snapshot.state_digest != state.digest and state is not dated[-1] and state.digest not in known:
            raise _changed_past(state)
    final = states[-1]
    current = missing[-1].digest if missing else latest_read
    if final.digest != current:
        missing.append(State(None, final.sources, final.digest))
    return tuple(missing)


def boundary_of(state: State, loaded: Sequence[LoadedSnapshot], *, now: dt.datetime) -> dt.datetime:
    """Return the instant from which a state holds: its day's first or now, and after what is loaded already."""
    start = now if state.date is None else dt.datetime.fromisoformat(state.date).replace(tzinfo=dt.UTC)
    start = start.replace(microsecond=0)
    return max(start, loaded[-1].boundary + _ONE_SECOND) if loaded else start


def check_is_newer(state: State, loaded: Sequence[LoadedSnapshot]) -> None:
    """Raise `ConfigError` when a state is older than what is loaded: history grows at its end only."""
    if loaded and str(state.date) < loaded[-1].date:
        raise ConfigError(
            f"the snapshot of {state.date} is new, but the warehouse already holds one of {loaded[-1].date}",
            remedy="give the new snapshot a later date, or delete the workspace to load the history from its start",
        )


def _changed_past(state: State) -> DataError:
    paths = ", ".join(str(path) for _, path in state.sources)
    return DataError(
        f"the files of the snapshot of {state.date} have changed since they were loaded ({paths})",
        remedy="restore them and put the changes into a snapshot of a later date, or delete the workspace to load the"
        " history from its start",
    )
