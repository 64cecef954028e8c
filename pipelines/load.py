"""Loading with dlt, and the repair of what a killed load left.

Belongs here: dlt pipelines and resources, and writing transactions. Not here: what to load.

A load that was killed can leave dlt's packages half done and rows in the tables. Neither is finished: the sources
are the truth and loading them again gives the same rows. So every run starts from an empty dlt working folder (dlt
restores its schema and state from the warehouse), and `roll_back` first takes out all that no registered snapshot
covers.
"""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import tables
from pipelines.history import LoadedSnapshot
from steelyard.errors import ServiceError
from steelyard.records import Refusal

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# How many documents dlt holds before it writes them to disk: its own 5,000 would be gigabytes of long documents.
_BUFFERED_ROWS = 20
# Left alone, DuckDB keeps a whole load in memory until 80% of the machine's is used. It can do with little as long as
# a text fits into one of its 256 KB blocks; longer ones it has to hold until the load is committed.
_FRUGAL = {"memory_limit": "1GB", "preserve_insertion_order": False}
_LONG_TEXT_BYTES = 200_000

Row = Mapping[str, Any]
Refusals = Mapping[str, Sequence[Refusal]]  # by origin


class Loader:
    """Runs dlt into one warehouse; what killed runs left in dlt's working folder is dropped first."""

    def __init__(self, warehouse: Path) -> None:
        self.warehouse = warehouse
        self._pipeline: Any = None

    def load_documents(
        self, rows: Callable[[], Iterator[Row]], *, boundary: dt.datetime, longest_bytes: Callable[[], int]
    ) -> None:
        """Load one state of all documents: versions that are gone end at `boundary`, new ones begin there.

        `longest_bytes` is asked after all rows were taken: how long the longest text is.
        """
        history = {
            "disposition": "merge",
            "strategy": "scd2",
            "row_version_column_name": "content_hash",
            "validity_column_names": tables.VALIDITY,
            "boundary_timestamp": boundary.isoformat(),
        }
        self._run(
            [_resource("documents", rows, tables.DOCUMENTS, history)],
            settings=lambda: _FRUGAL if longest_bytes() <= _LONG_TEXT_BYTES else {},
        )

    def register_snapshot(self, snapshot: Row, refusals: Refusals) -> None:
        """Make a loaded state a snapshot; it counts from the moment at which dlt marks this load as complete."""
        snapshots = _resource("snapshots", lambda: iter([snapshot]), tables.SNAPSHOTS, "append")
        self._run([snapshots, *_refusal_resources(refusals)])

    def load_questions(self, *, pairs: Iterable[Row], cases: Iterable[Row], refusals: Refusals, ingest: Row) -> None:
        """Replace all pairs and cases, and note what was read."""
        self._run(
            [
                _resource("pairs", lambda: iter(pairs), tables.PAIRS, "replace"),
                _resource("cases", lambda: iter(cases), tables.CASES, "replace"),
                *_refusal_resources(refusals),
                _resource("ingests", lambda: iter([ingest]), tables.INGESTS, "replace"),
            ]
        )

    def replace_refusals(self, refusals: Refusals) -> None:
        """Replace the quarantined rows of each origin by those given."""
        with transaction(self.warehouse) as connection:
            if "refusals" in table_names(connection):
                query = f"DELETE FROM {tables.DATASET}.refusals WHERE list_contains(?, origin)"  # noqa: S608
                connection.execute(query, [list(refusals)])
        resources = _refusal_resources(refusals)
        if resources:
            self._run(resources)

    def _run(self, resources: Sequence[Any], *, settings: Callable[[], Mapping[str, Any]] = lambda: _FRUGAL) -> None:
        import dlt

        with translated(self.warehouse), dlt.config.values({"data_writer.buffer_max_items": _BUFFERED_ROWS}):
            self._pipeline = self._pipeline or self._new_pipeline()
            self._pipeline.extract(resources, loader_file_format="parquet")
            self._pipeline.normalize()
            self._pipeline.load(destination=self._destination(settings()))

    def _new_pipeline(self) -> Any:
        import dlt

        folder = self.warehouse.parent / "dlt"
        shutil.rmtree(folder / tables.PIPELINE, ignore_errors=True)
        pipeline = dlt.pipeline(
            tables.PIPELINE,
            pipelines_dir=str(folder),
            destination=self._destination(_FRUGAL),
            dataset_name=tables.DATASET,
        )
        pipeline.sync_destination()
        return pipeline

    def _destination(self, settings: Mapping[str, Any]) -> Any:
        import dlt
        from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials

        return dlt.destinations.duckdb(DuckDbCredentials(str(self.warehouse), global_config=dict(settings)))


def _refusal_resources(refusals: Refusals) -> list[Any]:
    rows = [_refusal_row(origin, refusal) for origin, many in refusals.items() for refusal in many]
    return [_resource("refusals", lambda: iter(rows), tables.REFUSALS, "append")] if rows else []


def _refusal_row(origin: str, refusal: Refusal) -> Row:
    return {
        "origin": origin,
        "table_name": refusal.table,
        "location": refusal.location,
        "reason": refusal.reason,
        "payload": refusal.payload,
        "critical": refusal.critical,
    }


def roll_back(warehouse: Path, loaded: Sequence[LoadedSnapshot]) -> None:
    """Take out all rows that no registered snapshot covers, and what every ingest reads and notes anew."""
    last = loaded[-1].sequence if loaded else 0
    boundary = loaded[-1].boundary if loaded else dt.datetime(1, 1, 1, tzinfo=dt.UTC)
    statements: dict[str, list[tuple[str, list[Any]]]] = {
        "documents": [
            ("DELETE FROM {} WHERE valid_from > ?", [boundary]),
            ("UPDATE {} SET valid_to = NULL WHERE valid_to > ?", [boundary]),
        ],
        "snapshots": [("DELETE FROM {} WHERE sequence > ?", [last])],
        # an origin such as "documents@3" ends in the number of its snapshot
        "refusals": [
            ("DELETE FROM {} WHERE TRY_CAST(split_part(origin, '@', 2) AS BIGINT) > ?", [last]),
            ("DELETE FROM {} WHERE origin IN ('pairs', 'cases')", []),
        ],
        "ingests": [("DELETE FROM {}", [])],
    }
    with transaction(warehouse) as connection:
        for table in table_names(connection) & statements.keys():
            for statement, values in statements[table]:
                connection.execute(statement.format(f"{tables.DATASET}.{table}"), values)


def table_names(connection: DuckDBPyConnection) -> set[str]:
    """Return the tables that exist so far; dlt makes a table when it first loads it."""
    query = "SELECT table_name FROM information_schema.tables WHERE table_schema = ?"
    return {name for (name,) in connection.execute(query, [tables.DATASET]).fetchall()}


@contextmanager
def transaction(warehouse: Path) -> Iterator[DuckDBPyConnection]:
    """Open the warehouse for writing; all changes are committed at the end, or none."""
    import duckdb

    with translated(warehouse):
        warehouse.parent.mkdir(parents=True, exist_ok=True)
        with duckdb.connect(warehouse) as connection:
            connection.begin()
            yield connection
            connection.commit()


def _resource(name: str, rows: Callable[[], Iterator[Row]], columns: tables.Columns, disposition: Any) -> Any:
    import dlt

    def items() -> Iterator[Any]:
        yield dlt.mark.materialize_table_schema()  # a table without rows is made, or emptied, all the same
        yield from rows()

    return dlt.resource(
        items, name=name, columns=columns, write_disposition=disposition, schema_contract=tables.CONTRACT
    )


@contextmanager
def translated(warehouse: Path) -> Iterator[None]:
    """Turn what the disk, DuckDB and dlt raise into one error that names the warehouse."""
    import duckdb

    try:
        yield
    except (duckdb.Error, OSError) as error:
        raise warehouse_error(warehouse, error) from error
    except Exception as error:
        cause = getattr(error, "exception", None)  # dlt's PipelineStepFailed holds it
        if getattr(error, "step", None) in ("sync", "load") or isinstance(cause, OSError):
            raise warehouse_error(warehouse, cause or error) from error
        raise


def warehouse_error(warehouse: Path, error: BaseException) -> ServiceError:
    """Return the error that a user sees when the warehouse cannot be read or written."""
    return ServiceError(
        f"the warehouse {warehouse} cannot be used: {error}",
        remedy="see that no other run is using it and that its disk has room; a damaged one can be deleted: it is"
        " loaded again from the sources",
    )
