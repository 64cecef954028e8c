"""The store that teams run: a Weaviate server, version 1.32 or later.

Belongs here: `WeaviateIndex`, and how passages lie in collections. Not here: reaching a server (see
`weaviate_connection`), seals and the pointer (see `weaviate_state`), what other stores need as well.

Passages lie in one collection a fingerprint, with their own vectors. Two properties are for this store alone:
`content` is a digest of everything that was sent, so that reading it back proves that the newest version arrived, and
`slot` spreads passages evenly over numbers, so that any part of a collection can be read in pages: the server's
cursor takes no filter, and its filters return no more than 10,000 objects.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any, NamedTuple

from steelyard.errors import ServiceError
from steelyard.fingerprint import canonical_json
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
from steelyard.index.weaviate_connection import Connection, is_passing, translated
from steelyard.index.weaviate_state import State, ensure_collection, object_id
from steelyard.records import Passage

_OBJECTS_A_REQUEST = 200  # keeps a request of 8,000-character passages far below gRPC's 10 MB
_OBJECTS_A_PAGE = 2_000  # aimed at; slots are hashes, so pages differ by a few per cent
_MOST_OBJECTS = 10_000  # what a server returns at once unless it is told otherwise
_SLOTS = 2**32
_WRITE_TRIES = 5
_FIRST_PAUSE_SECONDS = 0.5
_INDEXING_SECONDS = 600.0  # vectors of 10^5 passages are indexed in about a minute
_INDEXING_PAUSE_SECONDS = 0.5
_PROPERTIES = {
    "passage_id": "text",
    "document_id": "text",
    "ordinal": "int",
    "title": "text",
    "heading_path": "text",
    "text": "text",
    "uri": "text",
    "from_snapshot": "int",
    "to_snapshot": "int",
    "slot": "int",
    "content": "text",
}
_FILTERED = {"document_id", "from_snapshot", "to_snapshot", "slot"}
_READ = [name for name in _PROPERTIES if name not in ("slot", "content")]


class _Row(NamedTuple):
    """One object as it is sent; its vector is a float32 array."""

    properties: dict[str, str | int]
    vector: Any


class WeaviateIndex(HybridIndex):
    """An `Index` in a Weaviate collection; the collection is made when it is not there.

    `namespace` begins the names of all collections: projects that share a server have one each, because two with the
    same splitter and embedder would otherwise share a collection. Closing the index closes the connection.
    """

    def __init__(self, connection: Connection, *, namespace: str, collection: str, dimensions: int) -> None:
        self._connection = connection
        self._client = connection.client
        self._state = State(connection, namespace)
        self._name = collection
        self._dimensions = dimensions
        self._where = f"collection {collection} in Weaviate"

    @property
    def collection(self) -> str:
        """The collection's name."""
        return self._name

    @property
    def dimensions(self) -> int:
        """The length of every vector."""
        return self._dimensions

    @cached_property
    def _passages(self) -> Any:
        passages = ensure_collection(self._client, self._state.physical(self._name), _PROPERTIES, filtered=_FILTERED)
        recorded = self._state.dimensions(self._name)
        if recorded is None:
            self._state.record_dimensions(self._name, self._dimensions)
        else:
            check_dimensions(recorded, self._dimensions, collection=self._name, store="Weaviate")
        return passages

    def write(self, passages: Sequence[Passage], vectors: Any) -> None:
        """Add passages with their vectors, replacing those with the same id."""
        check_unique([passage.id for passage in passages], collection=self._name)
        rows = checked_vectors(vectors, count=len(passages), dimensions=self._dimensions, collection=self._name)
        self._keywords = None
        self._put([_row(_to_properties(passage), row) for passage, row in zip(passages, rows, strict=True)])

    def _put(self, rows: Sequence[_Row]) -> None:
        """Send objects until what is read back is what was sent.

        The server may refuse or lose some of a request, or be away for a while: what counts is what can be read
        back. The rest is sent again, with growing pauses, before it is given up.
        """
        waiting = {str(row.properties["passage_id"]): row for row in rows}
        said: dict[str, str] = {}
        for attempt in range(_WRITE_TRIES):
            if attempt:
                time.sleep(_FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
            try:
                said = self._send(list(waiting.values()))
                held = {one["passage_id"]: one["content"] for one in self._rows_of(waiting, ["passage_id", "content"])}
            except ServiceError as error:
                if not is_passing(error):
                    raise
                said = dict.fromkeys(waiting, str(error.args[0]))
                continue
            waiting = {id_: row for id_, row in waiting.items() if held.get(id_) != row.properties["content"]}
            if not waiting:
                return
        sent = {str(row.properties["passage_id"]) for row in rows}
        words = next((said[id_] for id_ in sorted(waiting) if id_ in said), "")
        check_read_back(
            sent,
            sent.difference(waiting),
            store=self._where,
            detail=f"; the server said: {words}" if words else "",
        )

    def _send(self, rows: Sequence[_Row]) -> dict[str, str]:
        """Send objects in requests of a fixed size; return the refused ids with what the server said."""
        from weaviate.classes.data import DataObject
        from weaviate.exceptions import WeaviateInsertManyAllFailedError

        refused: dict[str, str] = {}
        for some in _slices(rows):
            ids = [str(row.properties["passage_id"]) for row in some]
            objects = [
                DataObject(properties=row.properties, uuid=object_id(id_), vector=row.vector.tolist())
                for id_, row in zip(ids, some, strict=True)
            ]
            with translated(self._where, "written"):
                try:
                    errors = self._passages.data.insert_many(objects).errors
                except WeaviateInsertManyAllFailedError as error:
                    refused |= dict.fromkeys(ids, str(error))
                    continue
            refused |= {ids[place]: error.message for place, error in errors.items()}
        return refused

    def close_passages(self, ids: Collection[str], snapshot: int) -> None:
        """End the validity of passages at a snapshot."""
        self._set_end(ids, snapshot)

    def reopen_passages(self, ids: Collection[str]) -> None:
        """Undo `close_passages`."""
        self._set_end(ids, OPEN)

    def _set_end(self, ids: Collection[str], end: int) -> None:
        """Send whole objects again: many go in one request, while each change of a property takes its own."""
        missing = set(ids).difference(row["passage_id"] for row in self._rows_of(ids, ["passage_id"]))
        if missing:
            raise missing_passages(missing, collection=self._name)
        self._keywords = None
        for some in _slices(sorted(set(ids))):
            with translated(self._where, "read"):
                found = self._passages.query.fetch_objects_by_ids(
                    [object_id(id_) for id_ in some], limit=len(some), include_vector=True, return_properties=_READ
                )
            self._put(
                [
                    _row({**_described(one.properties), "to_snapshot": end}, one.vector["default"])
                    for one in found.objects
                ]
            )

    def delete(self, ids: Collection[str]) -> None:
        """Remove passages from every snapshot."""
        from weaviate.classes.query import Filter

        self._keywords = None
        for some in _slices(sorted(set(ids))):
            with translated(self._where, "written"):
                places = [object_id(id_) for id_ in some]
                done = self._passages.data.delete_many(where=Filter.by_id().contains_any(places))
            if done.failed:
                raise ServiceError(
                    f"{self._where} could not delete {done.failed} of {len(some)} passages",
                    remedy="look at the server's log, then run again",
                )

    def ids_in(self, snapshot: int) -> list[str]:
        """Return the sorted ids of the passages that are valid in a snapshot."""
        return sorted(row["passage_id"] for row in self._scan(_valid_in(snapshot), ["passage_id"]))

    def ids_from(self, snapshot: int) -> list[str]:
        """Return the sorted ids of the passages that begin with a snapshot."""
        from weaviate.classes.query import Filter

        begins = Filter.by_property("from_snapshot").equal(snapshot)
        return sorted(row["passage_id"] for row in self._scan(begins, ["passage_id"]))

    def get(self, ids: Sequence[str]) -> list[Passage]:
        """Return passages in the order asked for."""
        found = {row["passage_id"]: _to_passage(row) for row in self._rows_of(ids, _READ)}
        missing = [id_ for id_ in ids if id_ not in found]
        if missing:
            raise missing_passages(missing, collection=self._name)
        return [found[id_] for id_ in ids]

    def count(self, snapshot: int) -> int:
        """Return how many passages are valid in a snapshot."""
        return self._count(_valid_in(snapshot))

    def digest(self, snapshot: int) -> str:
        """Return the digest of a snapshot's content."""
        rows = self._scan(_valid_in(snapshot), ["passage_id", "text", "from_snapshot"])
        return content_digest([row_digest(row["passage_id"], row["text"], row["from_snapshot"]) for row in rows])

    def _entries(self, snapshot: int) -> Iterable[Entry]:
        for row in self._scan(_valid_in(snapshot), ["passage_id", "document_id", "text"]):
            yield Entry(row["passage_id"], row["document_id"], row["text"])

    def _count(self, where: Any) -> int:
        with translated(self._where, "counted"):
            return int(self._passages.aggregate.over_all(filters=where, total_count=True).total_count)

    def _scan(self, where: Any, properties: list[str]) -> Iterator[Mapping[str, Any]]:
        """Read all objects that a filter lets through, a page of slots at a time."""
        pages = max(1, math.ceil(self._count(where) / _OBJECTS_A_PAGE))
        for low, high in itertools.pairwise(_SLOTS * page // pages for page in range(pages + 1)):
            yield from self._page(where, low, high, properties)

    def _page(self, where: Any, low: int, high: int, properties: list[str]) -> Iterator[Mapping[str, Any]]:
        from weaviate.classes.query import Filter

        slot = Filter.by_property("slot")
        part = where & slot.greater_or_equal(low) & slot.less_than(high)
        with translated(self._where, "read"):
            query = self._passages.query
            found = query.fetch_objects(filters=part, limit=_MOST_OBJECTS, return_properties=properties).objects
        if len(found) < _MOST_OBJECTS:
            yield from (one.properties for one in found)
            return
        middle = (low + high) // 2  # there may be more than the server returns at once
        yield from self._page(where, low, middle, properties)
        yield from self._page(where, middle, high, properties)

    def _rows_of(self, ids: Collection[str], properties: list[str]) -> Iterator[Mapping[str, Any]]:
        for some in _slices(sorted(set(ids))):
            with translated(self._where, "read"):
                found = self._passages.query.fetch_objects_by_ids(
                    [object_id(id_) for id_ in some], limit=len(some), return_properties=properties
                )
            for one in found.objects:
                yield one.properties

    def seal(self, snapshot: int, digest: str) -> None:
        """Record that a snapshot is complete."""
        self._state.seal(self._name, snapshot, digest)

    def unseal(self, snapshot: int) -> None:
        """Take the record back."""
        check_not_published(snapshot, self.published(), collection=self._name)
        self._state.unseal(self._name, snapshot)

    def sealed(self) -> Mapping[int, str]:
        """Return the sealed snapshots with their digests."""
        return self._state.sealed(self._name)

    def _sealed_digest(self, snapshot: int) -> str:
        digest = self._state.sealed_digest(self._name, snapshot)
        if digest is None:
            check_sealed(snapshot, self.sealed(), collection=self._name)
        return digest or ""

    def _nearest(
        self, queries: Any, *, snapshot: int, document_ids: Collection[str] | None, limit: int
    ) -> list[dict[str, float]]:
        """Return for every query the cosine similarities of its nearest passages, by the server's vector index."""
        from weaviate.classes.query import MetadataQuery

        where, metadata = _valid_in(snapshot, document_ids), MetadataQuery(distance=True)
        found = []
        for row in queries:
            with translated(self._where, "searched"):
                near = self._passages.query.near_vector(
                    row.tolist(), filters=where, limit=limit, return_metadata=metadata, return_properties=["passage_id"]
                )
            found.append({one.properties["passage_id"]: 1.0 - one.metadata.distance for one in near.objects})
        return found

    def publish(self, snapshot: int) -> None:
        """Move the alias, then the pointer, to this collection and this snapshot."""
        check_sealed(snapshot, self.sealed(), collection=self._name)
        assert self._passages is not None  # the alias needs the collection to be there, be it empty
        self._state.point_to(self._name, snapshot)

    def pointer(self) -> Pointer | None:
        """Return what is published in this namespace."""
        return self._state.pointer()

    def settle(self) -> None:
        """Wait until the server has indexed every vector: one that does so aside would find less until then."""
        give_up = time.monotonic() + _INDEXING_SECONDS
        while waiting := self._vectors_waiting():
            if time.monotonic() > give_up:
                raise ServiceError(
                    f"{self._where} has not indexed {waiting} vectors after {_INDEXING_SECONDS:.0f} seconds",
                    remedy="look at the server's log and load, then run again: what is there is kept",
                )
            time.sleep(_INDEXING_PAUSE_SECONDS)

    def _vectors_waiting(self) -> int:
        with translated(self._where, "asked for its state (this needs the right to read nodes)"):
            name = self._passages.name
            nodes = self._client.cluster.nodes(collection=name, output="verbose")
        return sum(shard.vector_queue_length for node in nodes for shard in node.shards)

    def describe(self) -> StoreDescription:
        """Return what `doctor` tells."""
        with translated(self._where, "described"):
            total = self._passages.aggregate.over_all(total_count=True).total_count
        return StoreDescription(
            store="weaviate",
            version=self._connection.version,
            location=self._connection.endpoints.http_url,
            collection=self._name,
            dimensions=self._dimensions,
            passages=int(total),
            sealed=tuple(self.sealed()),
            published=self.pointer(),
            collections=tuple(self._state.collections()),
        )

    def close(self) -> None:
        """Close the connection."""
        self._keywords = None
        with suppress(ServiceError):  # a server that is gone needs no farewell
            self._connection.close()


def _row(properties: dict[str, str | int], vector: Any) -> _Row:
    """Return an object as it is sent, with the digest of all that it holds."""
    import numpy as np

    whole = np.ascontiguousarray(vector, dtype=np.float32)
    content = hashlib.sha256(canonical_json(properties).encode("utf-8", "surrogatepass"))
    content.update(whole.tobytes())
    return _Row({**properties, "content": content.hexdigest()[:32]}, whole)


def _to_properties(passage: Passage) -> dict[str, str | int]:
    return {
        "passage_id": passage.id,
        "document_id": passage.document_id,
        "ordinal": passage.ordinal,
        "title": passage.title,
        "heading_path": passage.heading_path,
        "text": passage.text,
        "uri": passage.uri,
        "from_snapshot": passage.from_snapshot,
        "to_snapshot": OPEN if passage.to_snapshot is None else passage.to_snapshot,
        "slot": _slot(passage.id),
    }


def _slot(passage_id: str) -> int:
    return object_id(passage_id).int % _SLOTS


def _described(row: Mapping[str, Any]) -> dict[str, str | int]:
    return {**{name: row[name] for name in _READ}, "slot": _slot(row["passage_id"])}


def _to_passage(row: Mapping[str, Any]) -> Passage:
    values = {name: row[name] for name in _READ}
    end = values["to_snapshot"]
    return Passage(id=values.pop("passage_id"), **{**values, "to_snapshot": None if end == OPEN else end})


def _valid_in(snapshot: int, document_ids: Collection[str] | None = None) -> Any:
    from weaviate.classes.query import Filter

    begun = Filter.by_property("from_snapshot").less_or_equal(snapshot)
    valid = begun & Filter.by_property("to_snapshot").greater_than(snapshot)
    if document_ids is None:
        return valid
    return valid & Filter.by_property("document_id").contains_any(sorted(document_ids))


def _slices(items: Sequence[Any]) -> Iterator[Any]:
    return (items[first : first + _OBJECTS_A_REQUEST] for first in range(0, len(items), _OBJECTS_A_REQUEST))
