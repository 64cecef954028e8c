"""The store in process: LanceDB tables in a folder, nothing to start.

Belongs here: `LanceIndex` and the small files beside its tables. Not here: what other stores need as well.

In the folder lie one table a collection, `<collection>.snapshots.json` with its sealed snapshots, and `pointer.json`
with what is published. Each is replaced in one step, so a process killed anywhere leaves the state before or after.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from steelyard.errors import ServiceError
from steelyard.index.bm25 import Entry
from steelyard.index.hybrid import HybridIndex
from steelyard.index.protocol import (
    OPEN,
    Pointer,
    StoreDescription,
    check_dimensions,
    check_not_published,
    check_read_back,
    check_sealed,
    check_unique,
    checked_vectors,
    content_digest,
    missing_passages,
    row_digest,
)
from steelyard.records import Passage

_POINTER_FILE = "pointer.json"
_IDS_A_FILTER = 500  # ids named in one filter: long filters take longer to parse than the scans they save
_QUERIES_A_CALL = 128  # query vectors in one call: bounds the memory that their results take
_ROWS_A_BATCH = 1024
_MOST_COLLECTIONS = 10_000  # LanceDB lists ten tables unless told otherwise
# Files of older table versions are kept this long, for readers that still use them.
_KEEP_VERSIONS = timedelta(hours=1)

_COLUMNS = (
    "id", "document_id", "ordinal", "title", "heading_path", "text", "uri", "from_snapshot", "to_snapshot"
)  # fmt: skip


def read_pointer(folder: Path) -> Pointer | None:
    """Return what is published in a store's folder, without loading LanceDB."""
    found = _read_json(folder / _POINTER_FILE)
    return None if found is None else Pointer(str(found["collection"]), int(found["snapshot"]))


def read_sealed(folder: Path, collection: str) -> dict[int, str]:
    """Return a collection's sealed snapshots with their digests, without loading LanceDB."""
    found = _read_json(_sealed_file(folder, collection)) or {}
    return {int(snapshot): str(found[snapshot]) for snapshot in sorted(found, key=int)}


class LanceIndex(HybridIndex):
    """An `Index` in a LanceDB table; the table is made when it is not there."""

    def __init__(self, folder: Path, *, collection: str, dimensions: int) -> None:
        self._folder = folder
        self._name = collection
        self._dimensions = dimensions

    @property
    def collection(self) -> str:
        """The collection's name."""
        return self._name

    @property
    def dimensions(self) -> int:
        """The length of every vector."""
        return self._dimensions

    @cached_property
    def _database(self) -> Any:
        import lancedb

        with self._errors("opened"):
            self._folder.mkdir(parents=True, exist_ok=True)
            # An interval of zero: every read sees what another process has written.
            return lancedb.connect(str(self._folder), read_consistency_interval=timedelta(0))

    @cached_property
    def _table(self) -> Any:
        with self._errors("opened"):
            if self._name in self._collections():
                table = self._database.open_table(self._name)
            else:
                table = self._database.create_table(self._name, schema=_schema(self._dimensions), exist_ok=True)
            if table.schema.names != [*_COLUMNS, "vector"]:
                raise ValueError(f"its columns are {', '.join(table.schema.names)}")
        found = table.schema.field("vector").type.list_size
        check_dimensions(found, self._dimensions, collection=self._name, store=str(self._folder))
        return table

    def _collections(self) -> list[str]:
        return sorted(self._database.list_tables(limit=_MOST_COLLECTIONS).tables)

    @contextmanager
    def _errors(self, done: str) -> Iterator[None]:
        """Translate what LanceDB and the disk raise."""
        try:
            yield
        except (OSError, RuntimeError, ValueError) as error:
            raise ServiceError(
                f"collection {self._name} in {self._folder} cannot be {done}: {error}",
                remedy="check free disk space and permissions of that folder; if its files are damaged, remove the "
                "folder and run the index stage again",
            ) from error

    def write(self, passages: Sequence[Passage], vectors: Any) -> None:
        """Add passages with their vectors, replacing those with the same id."""
        ids = [passage.id for passage in passages]
        check_unique(ids, collection=self._name)
        rows = checked_vectors(vectors, count=len(passages), dimensions=self._dimensions, collection=self._name)
        if not passages:
            return
        self._keywords = None
        with self._errors("written"):
            merge = self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
            merge.execute(_arrow(passages, rows))
        found = [row["id"] for row in self._rows_of(ids, ["id"])]
        check_read_back(ids, found, store=f"the store in {self._folder}")

    def close_passages(self, ids: Collection[str], snapshot: int) -> None:
        """End the validity of passages at a snapshot."""
        self._set_end(ids, snapshot)

    def reopen_passages(self, ids: Collection[str]) -> None:
        """Undo `close_passages`."""
        self._set_end(ids, OPEN)

    def _set_end(self, ids: Collection[str], end: int) -> None:
        self._check_held(ids)
        self._keywords = None
        with self._errors("written"):
            for some in _slices(sorted(ids)):
                self._table.update(where=_is_in("id", some), values={"to_snapshot": end})

    def _check_held(self, ids: Collection[str]) -> None:
        missing = set(ids).difference(row["id"] for row in self._rows_of(ids, ["id"]))
        if missing:
            raise missing_passages(missing, collection=self._name)

    def delete(self, ids: Collection[str]) -> None:
        """Remove passages from every snapshot."""
        self._keywords = None
        with self._errors("written"):
            for some in _slices(sorted(ids)):
                self._table.delete(_is_in("id", some))

    def ids_in(self, snapshot: int) -> list[str]:
        """Return the sorted ids of the passages that are valid in a snapshot."""
        return sorted(row["id"] for row in self._scan(_valid_in(snapshot), ["id"]))

    def ids_from(self, snapshot: int) -> list[str]:
        """Return the sorted ids of the passages that begin with a snapshot."""
        return sorted(row["id"] for row in self._scan(f"from_snapshot = {snapshot:d}", ["id"]))

    def get(self, ids: Sequence[str]) -> list[Passage]:
        """Return passages in the order asked for."""
        found = {row["id"]: _passage(row) for row in self._rows_of(ids, list(_COLUMNS))}
        missing = [id_ for id_ in ids if id_ not in found]
        if missing:
            raise missing_passages(missing, collection=self._name)
        return [found[id_] for id_ in ids]

    def count(self, snapshot: int) -> int:
        """Return how many passages are valid in a snapshot."""
        with self._errors("read"):
            return int(self._table.count_rows(_valid_in(snapshot)))

    def digest(self, snapshot: int) -> str:
        """Return the digest of a snapshot's content."""
        rows = self._scan(_valid_in(snapshot), ["id", "text", "from_snapshot"])
        return content_digest([row_digest(row["id"], row["text"], row["from_snapshot"]) for row in rows])

    def _rows_of(self, ids: Collection[str], columns: list[str]) -> Iterator[dict[str, Any]]:
        for some in _slices(sorted(set(ids))):
            yield from self._scan(_is_in("id", some), columns)

    def _scan(self, where: str, columns: list[str]) -> Iterator[dict[str, Any]]:
        with self._errors("read"):
            for batch in self._table.search().where(where).select(columns).to_batches(_ROWS_A_BATCH):
                yield from batch.to_pylist()

    def seal(self, snapshot: int, digest: str) -> None:
        """Record that a snapshot is complete."""
        self._change_sealed(lambda sealed: sealed.update({snapshot: digest}))

    def unseal(self, snapshot: int) -> None:
        """Take the record back."""
        check_not_published(snapshot, self.published(), collection=self._name)
        self._change_sealed(lambda sealed: sealed.pop(snapshot, None))

    def _change_sealed(self, change: Callable[[dict[int, str]], object]) -> None:
        sealed = dict(self.sealed())
        change(sealed)
        with self._errors("written"):
            _write_json(_sealed_file(self._folder, self._name), sealed)

    def sealed(self) -> Mapping[int, str]:
        """Return the sealed snapshots with their digests."""
        with self._errors("read"):
            return read_sealed(self._folder, self._name)

    def _entries(self, snapshot: int) -> Iterable[Entry]:
        for row in self._scan(_valid_in(snapshot), ["id", "document_id", "text"]):
            yield Entry(row["id"], row["document_id"], row["text"])

    def _nearest(
        self, queries: Any, *, snapshot: int, document_ids: Collection[str] | None, limit: int
    ) -> list[dict[str, float]]:
        """Return for every query the cosine similarities of its nearest passages, by an exact scan."""
        where = _valid_in(snapshot, document_ids)
        found: list[dict[str, float]] = [{} for _ in queries]
        with self._errors("searched"):
            for first in range(0, len(queries), _QUERIES_A_CALL):
                some = queries[first : first + _QUERIES_A_CALL]
                nearest = self._table.search(list(some)).distance_type("dot").where(where, prefilter=True)
                rows = nearest.select(["id", "_distance"]).limit(limit).to_arrow()
                numbers = rows["query_index"].to_pylist() if len(some) > 1 else [0] * len(rows)
                for number, id_, distance in zip(
                    numbers, rows["id"].to_pylist(), rows["_distance"].to_pylist(), strict=True
                ):
                    found[first + number][id_] = 1.0 - distance
        return found

    def publish(self, snapshot: int) -> None:
        """Move the store's pointer to this collection and this snapshot."""
        check_sealed(snapshot, self.sealed(), collection=self._name)
        with self._errors("published"):
            _write_json(self._folder / _POINTER_FILE, {"collection": self._name, "snapshot": snapshot})

    def pointer(self) -> Pointer | None:
        """Return what is published in this store."""
        with self._errors("read"):
            return read_pointer(self._folder)

    def settle(self) -> None:
        """Merge the many small files of many writes, and drop those that no reader uses any more."""
        with self._errors("compacted"):
            self._table.optimize(cleanup_older_than=_KEEP_VERSIONS)

    def describe(self) -> StoreDescription:
        """Return what `doctor` tells."""
        from importlib.metadata import version

        with self._errors("read"):
            passages = self._table.count_rows()
            collections = tuple(self._collections())
        return StoreDescription(
            store="lancedb",
            version=version("lancedb"),
            location=str(self._folder),
            collection=self._name,
            dimensions=self._dimensions,
            passages=passages,
            sealed=tuple(self.sealed()),
            published=self.pointer(),
            collections=collections,
        )

    def close(self) -> None:
        """Let go of what was built for searching, and of the table."""
        self._keywords = None
        self.__dict__.pop("_table", None)
        self.__dict__.pop("_database", None)


def _schema(dimensions: int) -> Any:
    import pyarrow as pa

    number, text = pa.int64(), pa.string()
    kinds = {"ordinal": number, "from_snapshot": number, "to_snapshot": number}
    fields = [pa.field(name, kinds.get(name, text), nullable=False) for name in _COLUMNS]
    return pa.schema([*fields, pa.field("vector", pa.list_(pa.float32(), dimensions), nullable=False)])


def _arrow(passages: Sequence[Passage], vectors: Any) -> Any:
    import pyarrow as pa

    schema = _schema(vectors.shape[1])
    columns: list[Any] = [
        pa.array([_column(passage, name) for passage in passages], schema.field(name).type) for name in _COLUMNS
    ]
    columns.append(pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1]))
    return pa.Table.from_arrays(columns, schema=schema)


def _column(passage: Passage, name: str) -> str | int:
    value: str | int | None = getattr(passage, name)
    return OPEN if value is None else value


def _passage(row: Mapping[str, Any]) -> Passage:
    end = row["to_snapshot"]
    return Passage(**{**row, "to_snapshot": None if end == OPEN else end})


def _valid_in(snapshot: int, document_ids: Collection[str] | None = None) -> str:
    valid = f"from_snapshot <= {snapshot:d} AND to_snapshot > {snapshot:d}"
    if document_ids is None:
        return valid
    return f"{valid} AND {_is_in('document_id', sorted(document_ids))}"


def _is_in(column: str, values: Sequence[str]) -> str:
    if not values:
        return "false"
    quoted = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    return f"{column} IN ({quoted})"


def _slices(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (ids[first : first + _IDS_A_FILTER] for first in range(0, len(ids), _IDS_A_FILTER))


def _sealed_file(folder: Path, collection: str) -> Path:
    return folder / f"{collection}.snapshots.json"


def _read_json(file: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return content


def _write_json(file: Path, content: Mapping[Any, Any]) -> None:
    """Replace a file in one step: whoever reads it sees the old content or the new."""
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f"{file.name}.{os.getpid()}.part")
    with aside.open("w", encoding="utf-8") as out:
        json.dump(content, out, sort_keys=True)
        out.flush()
        os.fsync(out.fileno())
    aside.replace(file)
