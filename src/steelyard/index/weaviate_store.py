"""The store that teams run: a Weaviate server, version 1.32 or later.

Belongs here: `connect`, `WeaviateIndex`, and how passages lie in collections. Not here: what other stores need as
well.

Passages lie in one collection a fingerprint, with their own vectors and with the `terms` that every store compares.
A second collection, `SteelyardState`, holds what is sealed and the pointer to what is published: one object, so that
readers never see half a switch. The alias `SteelyardPassages` follows the pointer for those who look from outside.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Literal

from steelyard.errors import ConfigError, DataError, ServiceError
from steelyard.fingerprint import canonical_json
from steelyard.index.bm25 import K1, B
from steelyard.index.fusion import CANDIDATES, fuse
from steelyard.index.protocol import (
    OPEN,
    Pointer,
    StoreDescription,
    check_dimensions,
    check_read_back,
    check_sealed,
    check_search,
    check_unique,
    checked_vectors,
    content_digest,
    missing_passages,
    row_digest,
)
from steelyard.index.terms import terms
from steelyard.records import Hit, Passage

STATE = "SteelyardState"
ALIAS = "SteelyardPassages"

Mode = Literal["local", "custom", "cloud"]

_MINIMUM_VERSION = (1, 32)  # the first with aliases
_NAMESPACE = uuid.UUID("6f0f3d0e-7b0c-5d5e-9a5e-2f7d1c0b9a41")  # any fixed one: ids are the same on every machine
_OBJECTS_A_REQUEST = 200  # keeps a request of 8,000-character passages far below gRPC's 10 MB
_PAGE = 1000
_WRITE_TRIES = 4
_FIRST_PAUSE_SECONDS = 0.25
_PROPERTIES = {
    "passage_id": "text",
    "document_id": "text",
    "ordinal": "int",
    "title": "text",
    "heading_path": "text",
    "text": "text",
    "uri": "text",
    "terms": "text",
    "from_snapshot": "int",
    "to_snapshot": "int",
}
_STATE_PROPERTIES = {"kind": "text", "collection": "text", "number": "int", "digest": "text"}
_FILTERED = frozenset({"passage_id", "document_id", "from_snapshot", "to_snapshot", *_STATE_PROPERTIES})
_READ = [name for name in _PROPERTIES if name != "terms"]


def connect(
    *,
    mode: Mode,
    host: str,
    http_port: int,
    grpc_host: str | None,
    grpc_port: int,
    is_secure: bool,
    api_key: str | None,
) -> Any:
    """Return a connected client; `close` it, or the `WeaviateIndex` that takes it.

    `local` is plain HTTP and gRPC on one host, `custom` names both hosts and TLS, `cloud` takes the cluster's address
    as `host`, port 443 and a key. Raises `ServiceError` when the server does not answer on both ports, refuses the
    key or is too old.
    """
    import weaviate
    from weaviate.classes.init import Auth

    key = None if api_key is None else Auth.api_key(api_key)
    where = f"Weaviate at {host}" if mode == "cloud" else f"Weaviate at {host}:{http_port} (gRPC {grpc_port})"
    if mode == "cloud" and key is None:
        raise ConfigError("Weaviate Cloud needs an API key", remedy="set api_key: ${WEAVIATE_API_KEY}")
    with _errors(where, "reached"):
        if mode == "cloud":
            client = weaviate.connect_to_weaviate_cloud(cluster_url=host, auth_credentials=key)
        elif mode == "local":
            client = weaviate.connect_to_local(host=host, port=http_port, grpc_port=grpc_port, auth_credentials=key)
        else:
            client = weaviate.connect_to_custom(
                http_host=host,
                http_port=http_port,
                http_secure=is_secure,
                grpc_host=grpc_host or host,
                grpc_port=grpc_port,
                grpc_secure=is_secure,
                auth_credentials=key,
            )
    try:
        _check_version(client, where)
    except ServiceError:
        client.close()
        raise
    return client


@contextmanager
def _errors(where: str, done: str) -> Iterator[None]:
    """Translate what the client and its transports raise."""
    import grpc  # type: ignore[import-untyped]
    import httpx
    from weaviate.exceptions import (
        AuthenticationFailedError,
        InsufficientPermissionsError,
        UnexpectedStatusCodeError,
        WeaviateBaseError,
    )

    remedy = "check that the server runs, its host and ports, and its log"
    try:
        yield
    except (AuthenticationFailedError, InsufficientPermissionsError) as error:
        raise ServiceError(f"{where} refuses the key: {error}", remedy="check the API key and its rights") from error
    except UnexpectedStatusCodeError as error:
        if error.status_code in (401, 403):
            remedy = "check the API key and its rights"
        raise ServiceError(f"{where} cannot be {done}: {error}", remedy=remedy) from error
    except (WeaviateBaseError, httpx.HTTPError, grpc.RpcError, OSError) as error:
        raise ServiceError(f"{where} cannot be {done}: {error}", remedy=remedy) from error


def _check_version(client: Any, where: str) -> None:
    with _errors(where, "asked for its version"):
        version = str(client.get_meta()["version"])
    if tuple(int(part) for part in version.split(".")[:2]) < _MINIMUM_VERSION:
        needed = ".".join(map(str, _MINIMUM_VERSION))
        raise ServiceError(
            f"{where} is version {version}, and {needed} or later is needed",
            remedy=f"upgrade the server; {needed} is the first version with collection aliases",
        )


class WeaviateIndex:
    """An `Index` in a Weaviate collection; the collection is made when it is not there."""

    def __init__(self, client: Any, *, collection: str, dimensions: int) -> None:
        self._client = client
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
        with _errors(self._where, "opened"):
            passages = _ensure_collection(self._client, self._name, _PROPERTIES)
        recorded = self._state_objects("dimensions")
        if not recorded:
            self._put_state("dimensions", number=self._dimensions)
        for properties in recorded:
            check_dimensions(properties["number"], self._dimensions, collection=self._name, store="Weaviate")
        return passages

    @cached_property
    def _state(self) -> Any:
        with _errors(f"collection {STATE} in Weaviate", "opened"):
            return _ensure_collection(self._client, STATE, _STATE_PROPERTIES)

    def write(self, passages: Sequence[Passage], vectors: Any) -> None:
        """Add passages with their vectors, replacing those with the same id.

        Requests hold many objects, of which the server may refuse some: what counts is what can be read back. The
        rest is sent again, with pauses, before it is given up.
        """
        ids = [passage.id for passage in passages]
        check_unique(ids, collection=self._name)
        rows = checked_vectors(vectors, count=len(passages), dimensions=self._dimensions, collection=self._name)
        waiting = {passage.id: (passage, row) for passage, row in zip(passages, rows, strict=True)}
        refused: dict[str, str] = {}
        for attempt in range(_WRITE_TRIES):
            if not waiting:
                return
            if attempt:
                time.sleep(_FIRST_PAUSE_SECONDS * 2**attempt)
            refused = self._send(list(waiting.values()))
            found = [row["passage_id"] for row in self._rows_of(list(waiting), ["passage_id"])]
            for id_ in set(found).difference(refused):
                del waiting[id_]
        if waiting:
            said = next(iter(refused.values()), "")
            detail = f"; the server said: {said}" if said else ""
            check_read_back(ids, set(ids).difference(waiting), store=self._where, detail=detail)

    def _send(self, rows: Sequence[tuple[Passage, Any]]) -> dict[str, str]:
        """Send objects in requests of a fixed size; return the refused ids with what the server said."""
        from weaviate.classes.data import DataObject
        from weaviate.exceptions import WeaviateInsertManyAllFailedError

        refused: dict[str, str] = {}
        for first in range(0, len(rows), _OBJECTS_A_REQUEST):
            some = rows[first : first + _OBJECTS_A_REQUEST]
            objects = [
                DataObject(properties=_to_properties(passage), uuid=_uuid(passage.id), vector=vector.tolist())
                for passage, vector in some
            ]
            with _errors(self._where, "written"):
                try:
                    errors = self._passages.data.insert_many(objects).errors
                except WeaviateInsertManyAllFailedError as error:
                    refused |= {passage.id: str(error) for passage, _ in some}
                    continue
            refused |= {some[place][0].id: error.message for place, error in errors.items()}
        return refused

    def close_passages(self, ids: Collection[str], snapshot: int) -> None:
        """End the validity of passages at a snapshot."""
        self._set_end(ids, snapshot)

    def reopen_passages(self, ids: Collection[str]) -> None:
        """Undo `close_passages`."""
        self._set_end(ids, OPEN)

    def _set_end(self, ids: Collection[str], end: int) -> None:
        missing = set(ids).difference(row["passage_id"] for row in self._rows_of(ids, ["passage_id"]))
        if missing:
            raise missing_passages(missing, collection=self._name)
        with _errors(self._where, "written"):
            for id_ in sorted(ids):
                self._passages.data.update(_uuid(id_), properties={"to_snapshot": end})

    def delete(self, ids: Collection[str]) -> None:
        """Remove passages from every snapshot."""
        from weaviate.classes.query import Filter

        for some in _slices(sorted(ids)):
            with _errors(self._where, "written"):
                done = self._passages.data.delete_many(where=Filter.by_id().contains_any([_uuid(id_) for id_ in some]))
            if done.failed:
                raise ServiceError(
                    f"{self._where} could not delete {done.failed} of {len(some)} passages",
                    remedy="look at the server's log, then run again",
                )

    def ids_in(self, snapshot: int) -> list[str]:
        """Return the sorted ids of the passages that are valid in a snapshot."""
        return sorted(row["passage_id"] for row in self._valid_in(snapshot, []))

    def ids_from(self, snapshot: int) -> list[str]:
        """Return the sorted ids of the passages that begin with a snapshot."""
        rows = self._every(["passage_id", "from_snapshot"])
        return sorted(row["passage_id"] for row in rows if row["from_snapshot"] == snapshot)

    def _valid_in(self, snapshot: int, properties: list[str]) -> Iterator[Mapping[str, Any]]:
        for row in self._every(["passage_id", "from_snapshot", "to_snapshot", *properties]):
            if row["from_snapshot"] <= snapshot < row["to_snapshot"]:
                yield row

    def _every(self, properties: list[str]) -> Iterator[Mapping[str, Any]]:
        """Read the whole collection in pages: the server's cursor takes no filter, its filters stop at 10,000."""
        with _errors(self._where, "read"):
            for found in self._passages.iterator(return_properties=properties, cache_size=_PAGE):
                yield found.properties

    def _rows_of(self, ids: Collection[str], properties: list[str]) -> Iterator[Mapping[str, Any]]:
        for some in _slices(sorted(set(ids))):
            with _errors(self._where, "read"):
                found = self._passages.query.fetch_objects_by_ids(
                    [_uuid(id_) for id_ in some], limit=len(some), return_properties=properties
                )
            for one in found.objects:
                yield one.properties

    def get(self, ids: Sequence[str]) -> list[Passage]:
        """Return passages in the order asked for."""
        found = {row["passage_id"]: _to_passage(row) for row in self._rows_of(ids, _READ)}
        missing = [id_ for id_ in ids if id_ not in found]
        if missing:
            raise missing_passages(missing, collection=self._name)
        return [found[id_] for id_ in ids]

    def count(self, snapshot: int) -> int:
        """Return how many passages are valid in a snapshot."""
        with _errors(self._where, "counted"):
            counted = self._passages.aggregate.over_all(filters=_filter(snapshot, None), total_count=True)
        return int(counted.total_count)

    def digest(self, snapshot: int) -> str:
        """Return the digest of a snapshot's content."""
        rows = self._valid_in(snapshot, ["text"])
        return content_digest([row_digest(row["passage_id"], row["text"], row["from_snapshot"]) for row in rows])

    def seal(self, snapshot: int, digest: str) -> None:
        """Record that a snapshot is complete."""
        self._put_state("sealed", number=snapshot, digest=digest, key=[snapshot])

    def unseal(self, snapshot: int) -> None:
        """Take the record back."""
        if self.published() == snapshot:
            raise DataError(
                f"snapshot {snapshot} of collection {self._name} is published and cannot be unsealed",
                remedy="publish another snapshot first",
            )
        with _errors(self._where, "unsealed"):
            self._state.data.delete_by_id(_uuid("sealed", self._name, snapshot))

    def sealed(self) -> Mapping[int, str]:
        """Return the sealed snapshots with their digests."""
        found = {int(row["number"]): str(row["digest"]) for row in self._state_objects("sealed")}
        return dict(sorted(found.items()))

    def _state_objects(self, kind: str) -> list[Mapping[str, Any]]:
        from weaviate.classes.query import Filter

        where = Filter.by_property("kind").equal(kind) & Filter.by_property("collection").equal(self._name)
        with _errors(self._where, "read"):
            found = self._state.query.fetch_objects(filters=where, limit=_PAGE)
        return [one.properties for one in found.objects]

    def _put_state(self, kind: str, *, number: int, digest: str = "", key: Iterable[object] | None = None) -> None:
        """Insert or replace one object of state; without `key` there is one a kind and collection."""
        properties = {"kind": kind, "collection": self._name, "number": number, "digest": digest}
        place = _uuid("pointer") if kind == "pointer" else _uuid(kind, self._name, *(key or ()))
        with _errors(self._where, "written"):
            if self._state.data.exists(place):
                self._state.data.replace(place, properties=properties)
            else:
                self._state.data.insert(properties, uuid=place)

    def search(
        self,
        text: str,
        vector: Any,
        *,
        snapshot: int,
        top_k: int,
        alpha: float,
        document_ids: Collection[str] | None = None,
    ) -> list[Hit]:
        """Return the best passages of a sealed snapshot for one query."""
        vectors = None if vector is None else [vector]
        return self.search_many(
            [text], vectors, snapshot=snapshot, top_k=top_k, alpha=alpha, document_ids=document_ids
        )[0]

    def search_many(
        self,
        texts: Sequence[str],
        vectors: Any,
        *,
        snapshot: int,
        top_k: int,
        alpha: float,
        document_ids: Collection[str] | None = None,
    ) -> list[list[Hit]]:
        """Return for every query its best passages of a sealed snapshot."""
        check_search(top_k=top_k, alpha=alpha)
        check_sealed(snapshot, self.sealed(), collection=self._name)
        rows: Any = [None] * len(texts)
        if alpha > 0:
            rows = checked_vectors(vectors, count=len(texts), dimensions=self._dimensions, collection=self._name)
        if document_ids is not None and not document_ids:
            return [[] for _ in texts]
        where = _filter(snapshot, document_ids)
        ranked = [
            self._ranked(text, row, where, top_k=top_k, alpha=alpha) for text, row in zip(texts, rows, strict=True)
        ]
        ids = sorted({id_ for ranking in ranked for id_, _ in ranking})
        passages = dict(zip(ids, self.get(ids), strict=True))
        return [[Hit(passages[id_], score) for id_, score in ranking] for ranking in ranked]

    def _ranked(self, text: str, vector: Any, where: Any, *, top_k: int, alpha: float) -> list[tuple[str, float]]:
        """Return ids with scores; more are asked for than are needed, so that ties are cut by id."""
        from weaviate.classes.query import HybridFusion, MetadataQuery

        limit = max(top_k, CANDIDATES)
        words = " ".join(dict.fromkeys(terms(text)))
        common: dict[str, Any] = {"limit": limit, "filters": where, "return_properties": ["passage_id"]}
        query = self._passages.query
        with _errors(self._where, "searched"):
            if alpha == 1 or not words:
                if alpha == 0:
                    return []
                near = query.near_vector(vector.tolist(), return_metadata=MetadataQuery(distance=True), **common)
                by_vector = {one.properties["passage_id"]: 1 - one.metadata.distance for one in near.objects}
                return fuse({}, by_vector, alpha=alpha, top_k=top_k)
            scored = {**common, "query_properties": ["terms"], "return_metadata": MetadataQuery(score=True)}
            if alpha == 0:
                found = query.bm25(words, **scored)
            else:
                found = query.hybrid(
                    words,
                    vector=vector.tolist(),
                    alpha=alpha,
                    fusion_type=HybridFusion.RELATIVE_SCORE,
                    **scored,
                )
        scores = {one.properties["passage_id"]: one.metadata.score for one in found.objects}
        if alpha == 0:
            return fuse(scores, {}, alpha=0, top_k=top_k)
        return sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:top_k]

    def publish(self, snapshot: int) -> None:
        """Move the alias, then the pointer, to this collection and this snapshot."""
        check_sealed(snapshot, self.sealed(), collection=self._name)
        with _errors(self._where, "published"):
            if self._client.alias.exists(alias_name=ALIAS):
                is_moved = self._client.alias.update(alias_name=ALIAS, new_target_collection=self._name)
            else:
                self._client.alias.create(alias_name=ALIAS, target_collection=self._passages.name)
                is_moved = self._client.alias.exists(alias_name=ALIAS)
        if not is_moved:
            raise ServiceError(
                f"Weaviate did not move the alias {ALIAS} to {self._name}; what was published stays published",
                remedy="look at the server's log, then publish again",
            )
        self._put_state("pointer", number=snapshot)

    def published(self) -> int | None:
        """Return the published snapshot when it is one of this collection."""
        pointer = self.pointer()
        return pointer.snapshot if pointer is not None and pointer.collection == self._name else None

    def pointer(self) -> Pointer | None:
        """Return what is published in this store."""
        with _errors(self._where, "read"):
            found = self._state.query.fetch_object_by_id(_uuid("pointer"))
        if found is None:
            return None
        return Pointer(str(found.properties["collection"]), int(found.properties["number"]))

    def settle(self) -> None:
        """Do nothing: the server tidies up by itself."""

    def describe(self) -> StoreDescription:
        """Return what `doctor` tells."""
        with _errors(self._where, "described"):
            meta = self._client.get_meta()
            total = self._passages.aggregate.over_all(total_count=True).total_count
            collections = [name for name in self._client.collections.list_all(simple=True) if name != STATE]
        return StoreDescription(
            store="weaviate",
            version=str(meta["version"]),
            location=str(meta["hostname"]),
            collection=self._name,
            dimensions=self._dimensions,
            passages=int(total),
            sealed=tuple(self.sealed()),
            published=self.pointer(),
            collections=tuple(sorted(collections)),
        )

    def close(self) -> None:
        """Close the client."""
        self._client.close()


def _uuid(*parts: object) -> uuid.UUID:
    """Return the object id of `parts`; they are encoded, so that no two lists of parts read the same."""
    return uuid.uuid5(_NAMESPACE, canonical_json(parts))


def _ensure_collection(client: Any, name: str, properties: Mapping[str, str]) -> Any:
    """Open a collection, making it first when it is not there; refuse one that somebody else made."""
    from weaviate.classes.config import Configure, DataType, Property, StopwordsPreset, Tokenization

    if not client.collections.exists(name):
        described = [
            Property(
                name=property_name,
                data_type=DataType(kind),
                index_filterable=property_name in _FILTERED,
                index_range_filters=kind == "int" and property_name in _FILTERED,
                **({"index_searchable": property_name == "terms"} if kind == "text" else {}),
                tokenization=_tokenization(Tokenization, property_name, kind),
            )
            for property_name, kind in properties.items()
        ]
        client.collections.create(
            name,
            properties=described,
            vector_config=Configure.Vectors.self_provided(),
            inverted_index_config=Configure.inverted_index(bm25_b=B, bm25_k1=K1, stopwords_preset=StopwordsPreset.NONE),
        )
    found = {one.name: one.data_type.value for one in client.collections.get(name).config.get().properties}
    if found != dict(properties):
        raise ServiceError(
            f"collection {name} in Weaviate was not made by this version of Steelyard: it has the properties "
            f"{', '.join(sorted(found)) or 'none'}",
            remedy="rename or remove that collection, or use another server",
        )
    return client.collections.get(name)


def _tokenization(choices: Any, name: str, kind: str) -> Any:
    if kind != "text":
        return None
    return choices.WHITESPACE if name == "terms" else choices.FIELD


def _to_properties(passage: Passage) -> dict[str, str | int]:
    return {
        "passage_id": passage.id,
        "document_id": passage.document_id,
        "ordinal": passage.ordinal,
        "title": passage.title,
        "heading_path": passage.heading_path,
        "text": passage.text,
        "uri": passage.uri,
        "terms": " ".join(terms(passage.text)),
        "from_snapshot": passage.from_snapshot,
        "to_snapshot": OPEN if passage.to_snapshot is None else passage.to_snapshot,
    }


def _to_passage(row: Mapping[str, Any]) -> Passage:
    values = {name: row[name] for name in _READ}
    end = values["to_snapshot"]
    return Passage(id=values.pop("passage_id"), **{**values, "to_snapshot": None if end == OPEN else end})


def _filter(snapshot: int, document_ids: Collection[str] | None) -> Any:
    from weaviate.classes.query import Filter

    begun = Filter.by_property("from_snapshot").less_or_equal(snapshot)
    valid = begun & Filter.by_property("to_snapshot").greater_than(snapshot)
    if document_ids is None:
        return valid
    return valid & Filter.by_property("document_id").contains_any(sorted(document_ids))


def _slices(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (ids[first : first + _OBJECTS_A_REQUEST] for first in range(0, len(ids), _OBJECTS_A_REQUEST))
