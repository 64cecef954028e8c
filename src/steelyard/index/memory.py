"""The store that lives and ends with the process: for tests, trials and small corpora.

Belongs here: `MemoryIndex`. Not here: anything that other stores need as well.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from steelyard.errors import DataError
from steelyard.index.bm25 import Bm25, Entry
from steelyard.index.fusion import CANDIDATES, fuse
from steelyard.index.protocol import (
    Pointer,
    StoreDescription,
    check_dimensions,
    check_sealed,
    check_search,
    check_unique,
    checked_vectors,
    content_digest,
    is_valid_in,
    missing_passages,
    row_digest,
)
from steelyard.records import Hit, Passage


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


class MemoryIndex:
    """An `Index` in this process's memory; exact, and unknown to other processes."""

    def __init__(self, *, collection: str, dimensions: int, store: MemoryStore | None = None) -> None:
        self._store = store or MemoryStore()
        self._name = collection
        self._held = self._store.collections.setdefault(collection, _Collection(dimensions))
        check_dimensions(self._held.dimensions, dimensions, collection=collection, store="memory")
        self._views: dict[int, _View] = {}

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
        self._views.clear()
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
        self._views.clear()
        for passage in passages:
            self._held.passages[passage.id] = dataclasses.replace(passage, to_snapshot=snapshot)

    def delete(self, ids: Collection[str]) -> None:
        """Remove passages from every snapshot."""
        self._views.clear()
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
        if self.published() == snapshot:
            raise DataError(
                f"snapshot {snapshot} of collection {self._name} is published and cannot be unsealed",
                remedy="publish another snapshot first",
            )
        self._held.sealed.pop(snapshot, None)

    def sealed(self) -> Mapping[int, str]:
        """Return the sealed snapshots with their digests."""
        return dict(sorted(self._held.sealed.items()))

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
        check_sealed(snapshot, self._held.sealed, collection=self._name)
        view = self._views.setdefault(snapshot, _View(self._held, snapshot))
        limit = max(top_k, CANDIDATES)
        keyword: list[dict[str, float]] = [{} for _ in texts]
        by_vector: list[dict[str, float]] = [{} for _ in texts]
        if alpha < 1:
            keyword = view.keywords.search(texts, limit=limit, document_ids=document_ids)
        if alpha > 0:
            queries = checked_vectors(vectors, count=len(texts), dimensions=self.dimensions, collection=self._name)
            by_vector = view.nearest(queries, limit=limit, document_ids=document_ids)
        return [
            [Hit(self._held.passages[id_], score) for id_, score in fuse(k, v, alpha=alpha, top_k=top_k)]
            for k, v in zip(keyword, by_vector, strict=True)
        ]

    def publish(self, snapshot: int) -> None:
        """Move the store's pointer to this collection and this snapshot."""
        check_sealed(snapshot, self._held.sealed, collection=self._name)
        self._store.pointer = Pointer(self._name, snapshot)

    def published(self) -> int | None:
        """Return the published snapshot when it is one of this collection."""
        pointer = self._store.pointer
        return pointer.snapshot if pointer is not None and pointer.collection == self._name else None

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
        self._views.clear()


class _View:
    """One snapshot prepared for searching."""

    def __init__(self, held: _Collection, snapshot: int) -> None:
        self._held = held
        self._snapshot = snapshot

    @cached_property
    def _passages(self) -> list[Passage]:
        valid = (p for p in self._held.passages.values() if is_valid_in(p, self._snapshot))
        return sorted(valid, key=lambda passage: passage.id)

    @cached_property
    def keywords(self) -> Bm25:
        return Bm25(Entry(p.id, p.document_id, p.text) for p in self._passages)

    @cached_property
    def _matrix(self) -> Any:
        import numpy as np

        rows = [self._held.vectors[passage.id] for passage in self._passages]
        return np.stack(rows) if rows else np.zeros((0, self._held.dimensions), dtype=np.float32)

    def nearest(self, queries: Any, *, limit: int, document_ids: Collection[str] | None) -> list[dict[str, float]]:
        """Return for every query the cosine similarities of its nearest passages (vectors have length 1)."""
        import numpy as np

        wanted = None if document_ids is None else set(document_ids)
        rows = np.array(
            [i for i, p in enumerate(self._passages) if wanted is None or p.document_id in wanted], dtype=int
        )
        similarities = queries @ self._matrix[rows].T
        orders = (np.lexsort((rows, -line))[:limit] for line in similarities)
        return [
            {self._passages[rows[i]].id: float(line[i]) for i in order}
            for line, order in zip(similarities, orders, strict=True)
        ]
