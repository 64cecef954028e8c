"""Hybrid search as every store does it: keywords here, vectors in the store, one ranking out of both.

Belongs here: `HybridIndex`, which a store inherits. Not here: the formulas (see `bm25` and `fusion`), any store.

Keywords are scored from the snapshot's own passages, held in memory by whoever searches, and never by a store's
full-text index: that counts every passage of the collection, closed ones and those of a snapshot being written too,
so the results of a published snapshot would change while a later one is loaded, and differ from store to store.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from steelyard.index.bm25 import Bm25, Entry
from steelyard.index.fusion import CANDIDATES, fuse
from steelyard.index.protocol import Index, check_sealed, check_search, checked_vectors
from steelyard.records import Hit


class HybridIndex(Index):
    """An `Index` whose store brings passages and nearest vectors; keywords and fusion are done here."""

    # The keyword index of the snapshot searched last, under its number and digest; writing drops it.
    _keywords: tuple[tuple[int, str], Bm25] | None = None

    @abstractmethod
    def _entries(self, snapshot: int) -> Iterable[Entry]:
        """Return what the keyword search needs of every passage that is valid in a snapshot."""

    @abstractmethod
    def _nearest(
        self, queries: Any, *, snapshot: int, document_ids: Collection[str] | None, limit: int
    ) -> list[dict[str, float]]:
        """Return for every query, a row of [n, dimensions], its nearest passages with their cosine similarities."""

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
        """Return for every query its best passages of a sealed snapshot; see `Index`."""
        check_search(top_k=top_k, alpha=alpha)
        digest = self._sealed_digest(snapshot)
        limit = max(top_k, CANDIDATES)
        keyword: list[dict[str, float]] = [{} for _ in texts]
        by_vector: list[dict[str, float]] = [{} for _ in texts]
        if alpha < 1:
            bm25 = self._keyword_index(snapshot, digest)
            keyword = bm25.search(texts, limit=limit, document_ids=document_ids)
        if alpha > 0:
            rows = checked_vectors(vectors, count=len(texts), dimensions=self.dimensions, collection=self.collection)
            if document_ids is None or document_ids:
                by_vector = self._nearest(rows, snapshot=snapshot, document_ids=document_ids, limit=limit)
        ranked = [fuse(k, v, alpha=alpha, top_k=top_k) for k, v in zip(keyword, by_vector, strict=True)]
        ids = sorted({id_ for ranking in ranked for id_, _ in ranking})
        passages = dict(zip(ids, self.get(ids), strict=True))
        return [[Hit(passages[id_], score) for id_, score in ranking] for ranking in ranked]

    def _sealed_digest(self, snapshot: int) -> str:
        """Return the digest that a snapshot was sealed with; refuse one that is not sealed."""
        sealed = self.sealed()
        check_sealed(snapshot, sealed, collection=self.collection)
        return sealed[snapshot]

    def _keyword_index(self, snapshot: int, digest: str) -> Bm25:
        """Return the keyword index of a sealed snapshot, built at its first search."""
        if self._keywords is None or self._keywords[0] != (snapshot, digest):
            self._keywords = ((snapshot, digest), Bm25(self._entries(snapshot)))
        return self._keywords[1]
