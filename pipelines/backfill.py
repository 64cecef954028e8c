"""Backfill: dated states loaded one by one, without the questions and without the state now.

Belongs here: loading some dates of the history. Not here: which ones (see `steelyard.backfill`).
"""

from __future__ import annotations

from collections.abc import Collection

from pipelines.history import check_is_newer, describe_states
from pipelines.ingest import load_state, refused_sources
from pipelines.load import Loader, roll_back
from pipelines.spec import IngestSpec
from pipelines.warehouse import Warehouse
from steelyard.progress import Progress
from steelyard.records import Snapshot


def load_dates(spec: IngestSpec, dates: Collection[str], *, progress: Progress) -> tuple[Snapshot, ...]:
    """Load the states of these dates that the warehouse lacks, and return the snapshots of all of them.

    Can be killed anywhere and repeated. Raises `DataError` when a state's documents are refused, `ConfigError` when a
    date is older than what is loaded, and `ServiceError` when the warehouse cannot be used.
    """
    warehouse = Warehouse(spec.warehouse)
    history = warehouse.history()
    present = {snapshot.date for snapshot in history if snapshot.is_dated}
    missing = [state for state in describe_states(spec) if state.date in dates and state.date not in present]
    if missing:
        check_is_newer(missing[0], history)
        roll_back(spec.warehouse, history)
        loader = Loader(spec.warehouse)
        for state in missing:
            _, problem = load_state(spec, warehouse, loader, state, progress=progress)
            if problem is not None:
                raise refused_sources(spec, [problem])
    return tuple(snapshot for snapshot in warehouse.snapshots() if snapshot.date in dates)
