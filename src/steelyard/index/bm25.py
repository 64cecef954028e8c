"""BM25 over the passages of one snapshot, held in memory.

Belongs here: the formula and its exact ranking. Not here: how text becomes terms (see `terms`), fusion with vectors.

The stores in process use this in place of LanceDB's own full-text index, whose statistics go on counting passages
that were closed or deleted until it is rebuilt: there one snapshot ranks differently with the history of its table,
here it depends on nothing but its passages.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from steelyard.index.terms import terms

# Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), section 3; these values are
# the defaults of Lucene and Weaviate, and keep the stores alike.
K1 = 1.2
B = 0.75


class Entry(NamedTuple):
    """What the keyword search needs of a passage."""

    id: str
    document_id: str
    text: str


class Bm25:
    """Keyword search over `entries`, with Lucene's idf: ln(1 + (N - n + 0.5) / (n + 0.5))."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        ids: list[str] = []
        document_ids: list[str] = []

        def texts() -> Iterator[str]:  # one at a time: a corpus of texts need not fit in memory
            for entry in entries:
                ids.append(entry.id)
                document_ids.append(entry.document_id)
                yield entry.text

        self._vocabulary, counts = _count(texts())
        order = sorted(range(len(ids)), key=ids.__getitem__)  # a lower row is a lower id, and sums run in one order
        self.ids = [ids[row] for row in order]
        self._document_ids = [document_ids[row] for row in order]
        self._weights = _weigh(counts[order]) if self._vocabulary else counts.T.tocsr()

    def search(
        self, queries: Sequence[str], *, limit: int, document_ids: Collection[str] | None
    ) -> list[dict[str, float]]:
        """Return for every query the scores of its best passages, ties by id; without a common term, no passage."""
        allowed = self._rows_of(document_ids)
        scores = self._scores(queries)
        return [self._best(scores, query, allowed, limit) for query in range(len(queries))]

    def _rows_of(self, document_ids: Collection[str] | None) -> Any:
        import numpy as np

        if document_ids is None:
            return None
        wanted = set(document_ids)
        return np.fromiter((id_ in wanted for id_ in self._document_ids), dtype=bool, count=len(self.ids))

    def _scores(self, queries: Sequence[str]) -> Any:
        """Return a sparse matrix [queries, passages]; a term counts once, however often a query repeats it."""
        import numpy as np
        from scipy.sparse import csr_matrix

        columns = [sorted({self._vocabulary[t] for t in terms(q) if t in self._vocabulary}) for q in queries]
        indices = np.array([column for row in columns for column in row], dtype=np.int32)
        ends = np.cumsum([0, *map(len, columns)])
        ones: Any = np.ones(len(indices), dtype=np.float32)
        asked = csr_matrix((ones, indices, ends), shape=(len(queries), self._weights.shape[0]))
        return csr_matrix(asked @ self._weights)

    def _best(self, scores: Any, query: int, allowed: Any, limit: int) -> dict[str, float]:
        import numpy as np

        span = slice(scores.indptr[query], scores.indptr[query + 1])
        rows, values = scores.indices[span], scores.data[span]
        if allowed is not None:
            rows, values = rows[allowed[rows]], values[allowed[rows]]
        order = np.lexsort((rows, -values))[:limit]
        return {self.ids[row]: float(value) for row, value in zip(rows[order], values[order], strict=True)}


def _count(texts: Iterator[str]) -> tuple[dict[str, int], Any]:
    """Return the vocabulary and how often each term is in each text, as a sparse matrix [texts, terms]."""
    import numpy as np
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import CountVectorizer  # type: ignore[import-untyped]

    vectorizer, seen = CountVectorizer(analyzer=terms, dtype=np.float32), 0

    def counted() -> Iterator[str]:
        nonlocal seen
        for text in texts:
            seen += 1
            yield text

    try:
        counts = vectorizer.fit_transform(counted())
    except ValueError as error:
        if "empty vocabulary" not in str(error):
            raise
        return {}, csr_matrix((seen, 0), dtype=np.float32)
    return vectorizer.vocabulary_, counts


def _weigh(counts: Any) -> Any:
    """Return each term's weight in each text, as a sparse matrix [terms, texts]."""
    import numpy as np

    lengths = np.asarray(counts.sum(axis=1), dtype=np.float32).ravel()
    found_in = np.bincount(counts.indices, minlength=counts.shape[1])
    idf = np.log1p((counts.shape[0] - found_in + 0.5) / (found_in + 0.5)).astype(np.float32)
    saturation = K1 * (1 - B + B * lengths / lengths.mean())
    per_count: Any = np.repeat(saturation, np.diff(counts.indptr))
    counts.data = idf[counts.indices] * counts.data / (counts.data + per_count)
    return counts.T.tocsr()
