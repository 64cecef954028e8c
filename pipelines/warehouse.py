"""Reading the warehouse back: documents as of a snapshot, pairs, cases, snapshots and the quarantine.

Belongs here: everything that turns rows into records. Not here: writing. Documents are read through dlt's dataset
interface; small tables directly, because importing dlt takes longer than reading them.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import tables
from pipelines.history import LoadedSnapshot
from pipelines.load import table_names, warehouse_error
from steelyard.errors import DataError
from steelyard.records import Case, Document, Pair, Refusal, Snapshot

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_CHUNK_ROWS = 200  # documents in memory at a time
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class IngestNote:
    """What was read last; there only when all of it is loaded."""

    source_digest: str
    state_digest: str
    rules_digest: str
    warehouse_digest: str
    pairs: int
    cases: int
    refused: int


class Warehouse:
    """The loaded data of a project; opens the file for the time of each call only."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def snapshots(self) -> tuple[Snapshot, ...]:
        """Return the registered snapshots, oldest first."""
        return tuple(Snapshot(one.sequence, one.date, one.digest, one.documents) for one in self.history())

    def snapshot_as_of(self, date: str) -> Snapshot:
        """Return the latest snapshot that is not younger than an ISO date; raises `DataError` when there is none."""
        snapshots = self.snapshots()
        older = [snapshot for snapshot in snapshots if snapshot.date <= date]
        if not older:
            known = ", ".join(snapshot.date for snapshot in snapshots) or "none"
            raise DataError(
                f"there is no snapshot of {date} or before; loaded are: {known}",
                remedy="add a document snapshot of that date, or correct the date",
            )
        return older[-1]

    def documents(self, sequence: int) -> Iterator[Document]:
        """Yield the documents of a snapshot in the order of their ids, in bounded memory."""
        snapshot = self._loaded(sequence)
        columns = ("id", "source", "uri", "title", "text", "content_hash")
        for row in self._documents_at(snapshot.boundary, columns):
            yield Document(*row)

    def contents_at(self, boundary: dt.datetime) -> Iterator[tuple[str, str]]:
        """Yield (id, content hash) of the documents valid at an instant, in the order of their ids."""
        yield from self._documents_at(boundary, ("id", "content_hash"))

    def _documents_at(self, boundary: dt.datetime, columns: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
        import dlt
        from dlt.destinations.exceptions import DatabaseException
        from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials

        credentials = DuckDbCredentials(str(self.path), read_only=True)
        dataset = dlt.dataset(dlt.destinations.duckdb(credentials), tables.DATASET)
        instant = f"TIMESTAMPTZ '{boundary.isoformat()}'"
        valid = dataset.table("documents").where(
            f"valid_from <= {instant} AND (valid_to IS NULL OR valid_to > {instant})"
        )
        try:
            for chunk in valid.order_by("id").select(*columns).iter_fetch(_CHUNK_ROWS):
                yield from chunk
        except DatabaseException as error:
            raise warehouse_error(self.path, error) from error

    def changed_documents(self, old: int, new: int) -> set[str]:
        """Return the ids of documents that differ between two snapshots: added, gone or with another content."""
        boundaries = [self._loaded(old).boundary, self._loaded(new).boundary]
        query = f"""
            WITH state AS (
                SELECT id, content_hash, moment FROM {tables.DATASET}.documents, (SELECT unnest(?) AS moment)
                WHERE valid_from <= moment AND (valid_to IS NULL OR valid_to > moment)
            )
            SELECT id FROM state GROUP BY id HAVING count(*) = 1 OR count(DISTINCT content_hash) = 2
        """  # noqa: S608
        if old == new:
            return set()
        return {id_ for (id_,) in self._query("documents", query, [boundaries])}

    def pairs(self) -> list[Pair]:
        """Return the training pairs in the order of their source."""
        query = f"SELECT id, input, output, kind, documents FROM {tables.DATASET}.pairs ORDER BY ordinal"  # noqa: S608
        return [
            Pair(id_, input_, output, kind, tuple(json.loads(documents)))
            for id_, input_, output, kind, documents in self._query("pairs", query)
        ]

    def cases(self) -> list[Case]:
        """Return the test cases in the order of their source."""
        columns = "id, question, kind, expected, documents, cluster, forbidden"
        query = f"SELECT {columns} FROM {tables.DATASET}.cases ORDER BY ordinal"  # noqa: S608
        return [
            Case(id_, question, kind, expected, tuple(json.loads(documents)), cluster, forbidden)
            for id_, question, kind, expected, documents, cluster, forbidden in self._query("cases", query)
        ]

    def refusals(self, origin: str | None = None) -> list[Refusal]:
        """Return the quarantined rows, of one origin or all, in the order of table and place."""
        query = f"""
            SELECT table_name, location, reason, payload, critical FROM {tables.DATASET}.refusals
            WHERE ? IS NULL OR origin = ? ORDER BY table_name, origin, location, reason
        """  # noqa: S608
        return [Refusal(*row) for row in self._query("refusals", query, [origin, origin])]

    def history(self) -> tuple[LoadedSnapshot, ...]:
        """Return the registered snapshots with what they were loaded from; one counts once its load is complete."""
        query = f"""
            SELECT sequence, date, is_dated, epoch_us(boundary), state_digest, digest, documents
            FROM {tables.DATASET}.snapshots
            WHERE _dlt_load_id IN (SELECT load_id FROM {tables.DATASET}._dlt_loads WHERE status = 0)
            ORDER BY sequence
        """  # noqa: S608
        return tuple(
            LoadedSnapshot(sequence, date, is_dated, _EPOCH + dt.timedelta(microseconds=boundary), *rest)
            for sequence, date, is_dated, boundary, *rest in self._query("snapshots", query)
        )

    def last_ingest(self) -> IngestNote | None:
        """Return what was read last, None when nothing was or when its load did not end."""
        query = f"""
            SELECT source_digest, state_digest, rules_digest, warehouse_digest, pairs, cases, refused
            FROM {tables.DATASET}.ingests
            WHERE _dlt_load_id IN (SELECT load_id FROM {tables.DATASET}._dlt_loads WHERE status = 0)
        """  # noqa: S608
        rows = self._query("ingests", query)
        return IngestNote(*rows[0]) if rows else None

    def count_new_documents(self, boundary: dt.datetime) -> int:
        """Return how many document versions begin at an instant: those new or changed in the state loaded for it."""
        query = f"SELECT count(*) FROM {tables.DATASET}.documents WHERE valid_from = ?"  # noqa: S608
        return int(self._query("documents", query, [boundary])[0][0])

    def _loaded(self, sequence: int) -> LoadedSnapshot:
        history = self.history()
        for snapshot in history:
            if snapshot.sequence == sequence:
                return snapshot
        raise DataError(
            f"there is no snapshot {sequence}; the warehouse {self.path} holds {len(history)}",
            remedy="run the project first, or name a snapshot that is loaded",
        )

    def _query(self, table: str, query: str, values: list[Any] | None = None) -> list[tuple[Any, ...]]:
        with self._connected() as connection:
            if connection is None or table not in table_names(connection):
                return []
            rows: list[tuple[Any, ...]] = connection.execute(query, values or []).fetchall()
            return rows

    @contextmanager
    def _connected(self) -> Iterator[DuckDBPyConnection | None]:
        import duckdb

        if not self.path.exists():
            yield None
            return
        try:
            with duckdb.connect(self.path, read_only=True) as connection:
                yield connection
        except (duckdb.Error, OSError) as error:
            raise warehouse_error(self.path, error) from error
