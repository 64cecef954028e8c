"""What a Weaviate server knows beside passages: seals, the pointer, the alias, the lengths of vectors.

Belongs here: the state collection of one namespace, making collections, looking at all of it. Not here: passages
(see `weaviate_store`).

The pointer to what is published is one object, so that readers never see half a switch. The alias follows it, for
those who look from outside.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from steelyard.errors import ServiceError
from steelyard.fingerprint import canonical_json
from steelyard.index.protocol import Pointer
from steelyard.index.weaviate_connection import Connection, translated

_PROPERTIES = {"kind": "text", "collection": "text", "number": "int", "digest": "text"}
_MOST_STATES = 10_000  # what a server returns at once; a collection has a handful
_NAMESPACE = uuid.UUID("6f0f3d0e-7b0c-5d5e-9a5e-2f7d1c0b9a41")  # any fixed one: ids are the same on every machine


def object_id(*parts: object) -> uuid.UUID:
    """Return the object id of `parts`; they are encoded, so that no two lists of parts read the same."""
    return uuid.uuid5(_NAMESPACE, canonical_json(parts))


@dataclass(frozen=True, slots=True)
class ServerDescription:
    """What `doctor` tells about a server and one namespace; counts by collection."""

    version: str
    nodes: tuple[str, ...]
    objects: Mapping[str, int]
    alias: tuple[str, str | None]
    published: Pointer | None
    sealed: Mapping[str, tuple[int, ...]]


class State:
    """The state of one namespace; reading makes nothing."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._client = connection.client
        self._connection = connection
        self._namespace = namespace
        self._name = f"{namespace}_State"
        self._where = f"collection {self._name} in Weaviate"

    @property
    def alias(self) -> str:
        """The name under which the published collection can be read."""
        return f"{self._namespace}_Published"

    def physical(self, collection: str) -> str:
        """Return a collection's name on the server."""
        return f"{self._namespace}_{collection}"

    def collections(self) -> dict[str, str]:
        """Return this namespace's collections of passages: names on the server by names of ours."""
        with translated(self._where, "read"):
            names = self._client.collections.list_all(simple=True)
        start = self.physical("Passages_")
        return {name.removeprefix(f"{self._namespace}_"): name for name in sorted(names) if name.startswith(start)}

    @cached_property
    def _objects(self) -> Any:
        return ensure_collection(self._client, self._name, _PROPERTIES, filtered={"kind", "collection"})

    def _existing(self) -> Any:
        """Return the state collection, or None as long as nobody has made it."""
        if "_objects" not in self.__dict__:
            with translated(self._where, "read"):
                if not self._client.collections.exists(self._name):
                    return None
        return self._objects

    def pointer(self) -> Pointer | None:
        """Return what is published."""
        found = self._find("pointer")
        return None if found is None else Pointer(str(found["collection"]), int(found["number"]))

    def point_to(self, collection: str, snapshot: int) -> None:
        """Move the alias, then the pointer; when the alias does not move, neither does the pointer."""
        target = self.physical(collection)
        aliases = self._client.alias
        with translated(self._where, "published"):
            if aliases.exists(alias_name=self.alias):
                is_moved = aliases.update(alias_name=self.alias, new_target_collection=target)
            else:
                aliases.create(alias_name=self.alias, target_collection=target)  # returns nothing
                is_moved = aliases.exists(alias_name=self.alias)
        if not is_moved:
            raise ServiceError(
                f"Weaviate did not move the alias {self.alias} to {target}; what was published stays published",
                remedy="look at the server's log, then publish again",
            )
        self._put(object_id("pointer"), kind="pointer", collection=collection, number=snapshot)

    def seal(self, collection: str, snapshot: int, digest: str) -> None:
        """Record that a snapshot is complete."""
        self._put(object_id("sealed", collection, snapshot), "sealed", collection, number=snapshot, digest=digest)

    def unseal(self, collection: str, snapshot: int) -> None:
        """Take the record back."""
        objects = self._existing()
        if objects is not None:
            with translated(self._where, "written"):
                objects.data.delete_by_id(object_id("sealed", collection, snapshot))

    def sealed_digest(self, collection: str, snapshot: int) -> str | None:
        """Return the digest that a snapshot was sealed with, None when it is not sealed."""
        found = self._find("sealed", collection, snapshot)
        return None if found is None else str(found["digest"])

    def sealed(self, collection: str) -> dict[int, str]:
        """Return the sealed snapshots with their digests, in ascending order."""
        from weaviate.classes.query import Filter

        objects = self._existing()
        if objects is None:
            return {}
        where = Filter.by_property("kind").equal("sealed") & Filter.by_property("collection").equal(collection)
        with translated(self._where, "read"):
            found = objects.query.fetch_objects(filters=where, limit=_MOST_STATES).objects
        pairs = ((int(one.properties["number"]), str(one.properties["digest"])) for one in found)
        return dict(sorted(pairs))

    def dimensions(self, collection: str) -> int | None:
        """Return the length of a collection's vectors, None when it is not recorded."""
        found = self._find("dimensions", collection)
        return None if found is None else int(found["number"])

    def record_dimensions(self, collection: str, dimensions: int) -> None:
        """Record the length of a collection's vectors."""
        self._put(object_id("dimensions", collection), "dimensions", collection, number=dimensions)

    def _find(self, *key: object) -> Mapping[str, Any] | None:
        objects = self._existing()
        if objects is None:
            return None
        with translated(self._where, "read"):
            found = objects.query.fetch_object_by_id(object_id(*key))
        return None if found is None else found.properties

    def _put(self, place: uuid.UUID, kind: str, collection: str, *, number: int, digest: str = "") -> None:
        """Insert or replace one object."""
        properties = {"kind": kind, "collection": collection, "number": number, "digest": digest}
        with translated(self._where, "written"):
            if self._objects.data.exists(place):
                self._objects.data.replace(place, properties=properties)
            else:
                self._objects.data.insert(properties, uuid=place)

    def describe(self) -> ServerDescription:
        """Return what `doctor` tells; nothing is made or changed."""
        collections = self.collections()
        with translated(self._connection.endpoints.shown, "described"):
            nodes = self._client.cluster.nodes(output="verbose")
            alias = self._client.alias.get(alias_name=self.alias)
            objects = {
                name: int(self._client.collections.get(name).aggregate.over_all(total_count=True).total_count)
                for name in collections.values()
            }
        return ServerDescription(
            version=self._connection.version,
            nodes=tuple(f"{node.name} {node.status.lower()}" for node in nodes),
            objects=objects,
            alias=(self.alias, None if alias is None else str(alias.collection)),
            published=self.pointer(),
            sealed={name: tuple(self.sealed(name)) for name in collections},
        )


def ensure_collection(client: Any, name: str, properties: Mapping[str, str], *, filtered: set[str]) -> Any:
    """Open a collection, making it first when it is not there; refuse one that somebody else made.

    `properties` are names with Weaviate's type names. Numbers among `filtered` are indexed for ranges, texts for
    equality; nothing is indexed for the server's own keyword search.
    """
    where = f"collection {name} in Weaviate"
    with translated(where, "opened"):
        if not client.collections.exists(name):
            _create(client, name, properties, filtered)
        found = {one.name: one.data_type.value for one in client.collections.get(name).config.get().properties}
    if found != dict(properties):
        raise ServiceError(
            f"{where} was not made by this version of Steelyard: it has the properties "
            f"{', '.join(sorted(found)) or 'none'}",
            remedy="rename or remove that collection, set another index.store.namespace, or use another server",
        )
    return client.collections.get(name)


def _create(client: Any, name: str, properties: Mapping[str, str], filtered: set[str]) -> None:
    from weaviate.classes.config import Configure, DataType, Property, Tokenization
    from weaviate.exceptions import UnexpectedStatusCodeError

    def described(property_name: str, kind: str) -> Property:
        is_filtered, is_text = property_name in filtered, kind == "text"
        return Property(
            name=property_name,
            data_type=DataType(kind),
            index_filterable=is_filtered and is_text,
            index_range_filters=None if is_text else is_filtered,
            index_searchable=False if is_text else None,
            tokenization=Tokenization.FIELD if is_text else None,
        )

    # Whole vectors: what a server compresses by default differs with its version and settings, and so would scores.
    vectors = Configure.Vectors.self_provided(quantizer=Configure.VectorIndex.Quantizer.none())
    try:
        client.collections.create(
            name, properties=[described(*one) for one in properties.items()], vector_config=vectors
        )
    except UnexpectedStatusCodeError:
        if not client.collections.exists(name):  # else another process was faster
            raise
