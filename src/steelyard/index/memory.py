"""The store that lives and ends with the process: for tests, trials and small corpora.

Belongs here: `MemoryIndex`. Not here: anything that other stores need as well.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from steelyard.index.bm25 import Entry
from steelyard.index.hybrid import HybridIndex
from steelyard.index.protocol import (
    Pointer,
    StoreDescription,
    check_dimensions,
    check_not_published,
    check_sealed,
    check_unique,
    checked_vectors,
    content_digest,
    is_valid_in,
    missing_passages,
    row_digest,
)
from steelyard.records import Passage


@dataclass
class _Collection:
    dimensions: int
    passages: dict[str, Passage] = field(default_factory=dict)
    vectors: dict[str, Any] = field(default_factory=dict)
    sealed: dict[int, str] = field(default_factory=dict)


@dataclass
class MemoryStore:
    """What several `MemoryIndex`es share: their collections and the one pointer."""

    collections: dict[str, _Collection] = field(default_factory=dict)
    pointer: Pointer | None = None


class MemoryIndex(HybridIndex):
    """An `Index` in this process's memory; exact, and unknown to other processes."""

    def __init__(self, *, collection: str, dimensions: int, store: MemoryStore | None = None) -> None:
        self._store = store or MemoryStore()
        self._name = collection
        self._held = self._store.collections.setdefault(collection, _Collection(dimensions))
        check_dimensions(self._held.dimensions, dimensions, collection=collection, store="memory")

    @property
    def collection(self) -> str:
        """The collection's name."""
        return self._name

    @property
    def dimensions(self) -> int:
        """The length of every vector."""
        return self._held.dimensions

    def write(self, passages: Sequence[Passage], vectors: Any) -> None:
        """Add passages with their vectors, replacing those with the same id."""
        check_unique([passage.id for passage in passages], collection=self._name)
        rows = checked_vectors(vectors, count=len(passages), dimensions=self.dimensions, collection=self._name)
        self._keywords = None
        for passage, row in zip(passages, rows, strict=True):
            self._held.passages[passage.id] = passage
            self._held.vectors[passage.id] = row.copy()

    def close_passages(self, ids: Collection[str], snapshot: int) -> None:
        """End the validity of passages at a snapshot."""
        self._set_end(ids, snapshot)

    def reopen_passages(self, ids: Collection[str]) -> None:
        """Undo `close_passages`."""
        self._set_end(ids, None)

    def _set_end(self, ids: Collection[str], snapshot: int | None) -> None:
        passages = self.get(list(ids))
        self._keywords = None
        for passage in passages:
            self._held.passages[passage.id] = dataclasses.replace(passage, to_snapshot=snapshot)

    def delete(self, ids: Collection[str]) -> None:
        """Remove passages from every snapshot."""
        self._keywords = None
        for id_ in ids:
            self._held.passages.pop(id_, None)
            self._held.vectors.pop(id_, None)

    def ids_in(self, snapshot: int) -> list[str]:
        """Return the sorted ids of the passages that are valid in a snapshot."""
        return sorted(passage.id for passage in self._valid_in(snapshot))

    def ids_from(self, snapshot: int) -> list[str]:
        """Return the sorted ids of the passages that begin with a snapshot."""
        return sorted(p.id for p in self._held.passages.values() if p.from_snapshot == snapshot)

    def _valid_in(self, snapshot: int) -> list[Passage]:
        return [passage for passage in self._held.passages.values() if is_valid_in(passage, snapshot)]

    def get(self, ids: Sequence[str]) -> list[Passage]:
        """Return passages in the order asked for."""
        missing = [id_ for id_ in ids if id_ not in self._held.passages]
        if missing:
            raise missing_passages(missing, collection=self._name)
        return [self._held.passages[id_] for id_ in ids]

    def count(self, snapshot: int) -> int:
        """Return how many passages are valid in a snapshot."""
        return len(self._valid_in(snapshot))

    def digest(self, snapshot: int) -> str:
        """Return the digest of a snapshot's content."""
        return content_digest([row_digest(p.id, p.text, p.from_snapshot) for p in self._valid_in(snapshot)])

    def seal(self, snapshot: int, digest: str) -> None:
        """Record that a snapshot is complete."""
        self._held.sealed[snapshot] = digest

    def unseal(self, snapshot: int) -> None:
        """Take the record back."""
        check_not_published(snapshot, self.published(), collection=self._name)
        self._held.sealed.pop(snapshot, None)

    def sealed(self) -> Mapping[int, str]:
        """Return the sealed snapshots with their digests."""
        return dict(sorted(self._held.sealed.items()))

    def _entries(self, snapshot: int) -> Iterable[Entry]:
        return (Entry(p.id, p.document_id, p.text) for p in self._valid_in(snapshot))

    def _nearest(
        self, queries: Any, *, snapshot: int, document_ids: Collection[str] | None, limit: int
    ) -> list[dict[str, float]]:
        """Return for every query the cosine similarities of its nearest passages (vectors have length 1)."""
        import numpy as np

        wanted = None if document_ids is None else set(document_ids)
        found = (p for p in self._valid_in(snapshot) if wanted is None or p.document_id in wanted)
        ids = sorted(passage.id for passage in found)
        matrix = np.stack([self._held.vectors[id_] for id_ in ids]) if ids else np.zeros((0, self.dimensions))
        similarities = queries @ matrix.T
        orders = (np.lexsort((np.arange(len(ids)), -line))[:limit] for line in similarities)
        return [{ids[row]: float(line[row]) for row in order} for line, order in zip(similarities, orders, strict=True)]

    def publish(self, snapshot: int) -> None:
        """Move the store's pointer to this collection and this snapshot."""
        check_sealed(snapshot, self._held.sealed, collection=self._name)
        self._store.pointer = Pointer(self._name, snapshot)

    def pointer(self) -> Pointer | None:
        """Return what is published in this store."""
        return self._store.pointer

    def settle(self) -> None:
        """Do nothing: there is nothing to tidy."""

    def describe(self) -> StoreDescription:
        """Return what `doctor` tells."""
        return StoreDescription(
            store="memory",
            version="1",
            location="this process",
            collection=self._name,
            dimensions=self.dimensions,
            passages=len(self._held.passages),
            sealed=tuple(self.sealed()),
            published=self._store.pointer,
            collections=tuple(sorted(self._store.collections)),
        )

    def close(self) -> None:
        """Let go of what was built for searching."""
        self._keywords = None
