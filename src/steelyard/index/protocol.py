"""What an index store does, whichever it is.

Belongs here: the protocol, its small records, identities and the checks that every store makes. Not here: a store.

An `Index` is one collection: the passages of one splitter and one embedder, over many snapshots. A snapshot is
written (`write`, `close_passages`), sealed when it is complete and checked, searched, and published: publishing moves
the one pointer of the store to this collection and snapshot. Going back is publishing an earlier one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from steelyard.errors import ConfigError, DataError, ServiceError
from steelyard.fingerprint import digest, digest_lines
from steelyard.index.bm25 import K1, B
from steelyard.index.terms import TERMS_VERSION
from steelyard.records import Hit, Passage

# Stands for "not closed" where a store's filter needs a number: the largest that JSON keeps exact.
OPEN = 2**53 - 1

_SHOWN_IDS = 5  # enough to find them, few enough to read


class Pointer(NamedTuple):
    """What readers of a store are to read."""

    collection: str
    snapshot: int


@dataclass(frozen=True, slots=True)
class StoreDescription:
    """What `doctor` tells about a store; `location` never holds a secret."""

    store: str
    version: str
    location: str
    collection: str
    dimensions: int
    passages: int
    sealed: tuple[int, ...]
    published: Pointer | None
    collections: tuple[str, ...]


class Index(Protocol):
    """One collection of a store; stores inherit `search` and `published`.

    Raises `ServiceError` when the store fails and `DataError` when it is asked for what it does not hold. A search
    sees a passage when from_snapshot <= snapshot < to_snapshot, so work on a later snapshot does not disturb it.
    """

    @property
    def collection(self) -> str:
        """The collection's name, see `collection_name`."""

    @property
    def dimensions(self) -> int:
        """The length of every vector."""

    def write(self, passages: Sequence[Passage], vectors: Any) -> None:
        """Add passages with their vectors [n, dimensions], replacing those with the same id.

        Returns only when all ids were read back; raises `ServiceError` that names the missing ones otherwise.
        """

    def close_passages(self, ids: Collection[str], snapshot: int) -> None:
        """End the validity of passages: they are not part of `snapshot` and later ones."""

    def reopen_passages(self, ids: Collection[str]) -> None:
        """Undo `close_passages`."""

    def delete(self, ids: Collection[str]) -> None:
        """Remove passages from every snapshot; unknown ids are no error."""

    def ids_in(self, snapshot: int) -> list[str]:
        """Return the sorted ids of the passages that are valid in a snapshot, sealed or not."""

    def ids_from(self, snapshot: int) -> list[str]:
        """Return the sorted ids of the passages whose from_snapshot is exactly this one, closed or not."""

    def get(self, ids: Sequence[str]) -> list[Passage]:
        """Return passages in the order asked for; raises `DataError` when one is not there."""

    def count(self, snapshot: int) -> int:
        """Return how many passages are valid in a snapshot, sealed or not."""

    def digest(self, snapshot: int) -> str:
        """Return the digest of a snapshot's content: ids, texts and from_snapshots of what is valid in it.

        Computed from what the store holds now. A later snapshot does not change it, although it closes passages.
        """

    def seal(self, snapshot: int, digest: str) -> None:
        """Record that a snapshot is complete, with its digest; from then on it may be searched and published."""

    def unseal(self, snapshot: int) -> None:
        """Take the record back; raises `DataError` when the snapshot is published."""

    def sealed(self) -> Mapping[int, str]:
        """Return the sealed snapshots with the digests that they were sealed with, in ascending order."""

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
        """Return the best passages of a sealed snapshot for one query: `search_many` for one."""
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
        """Return for every query its best `top_k` passages of a sealed snapshot, best first, ties by id.

        `vectors` is [n, dimensions]. alpha 0 is BM25 alone (a passage without any term of the query is not found, and
        `vectors` may be None), alpha 1 is vectors alone, between them the two are fused by relative score. With
        `document_ids` only passages of these documents are searched, before the best are taken.
        """

    def publish(self, snapshot: int) -> None:
        """Move the store's pointer to this collection and this sealed snapshot, in one step."""

    def published(self) -> int | None:
        """Return the published snapshot when the store's pointer names this collection, else None."""
        pointer = self.pointer()
        return pointer.snapshot if pointer is not None and pointer.collection == self.collection else None

    def pointer(self) -> Pointer | None:
        """Return what is published in this store, whichever collection it is in."""

    def settle(self) -> None:
        """Let the store tidy up after many writes, so that searches are fast; results stay the same."""

    def describe(self) -> StoreDescription:
        """Return what `doctor` tells."""

    def close(self) -> None:
        """Let go of files and connections; closing twice is no error."""


def collection_name(*, embedder_fingerprint: str, splitter_fingerprint: str) -> str:
    """Return the name of the collection that holds what this splitter and this embedder make."""
    identity = digest(["collection", embedder_fingerprint, splitter_fingerprint, TERMS_VERSION, K1, B])
    return f"Passages_{identity[:16]}"


def passage_id(content_key: str, from_snapshot: int) -> str:
    """Return the id of the passage that holds this content since this snapshot."""
    return f"{content_key}-{from_snapshot}"


def content_key_of(passage_id: str) -> str:
    """Return the content key in a passage's id."""
    return passage_id.rpartition("-")[0]


def is_valid_in(passage: Passage, snapshot: int) -> bool:
    """Return whether a passage is part of a snapshot."""
    return passage.from_snapshot <= snapshot and (passage.to_snapshot is None or snapshot < passage.to_snapshot)


def content_digest(rows: Sequence[str]) -> str:
    """Return the digest of a snapshot from its passages' `row_digest`s, in whatever order they came."""
    return digest_lines(sorted(rows))


def row_digest(passage_id: str, text: str, from_snapshot: int) -> str:
    """Return one passage's part of its snapshot's digest."""
    return digest([passage_id, text, from_snapshot])


def checked_vectors(vectors: Any, *, count: int, dimensions: int, collection: str) -> Any:
    """Return vectors as float32 [count, dimensions]; raises `ConfigError` for another shape, NaN and infinity."""
    import numpy as np

    array = np.asarray(vectors, dtype=np.float32)
    if array.shape != (count, dimensions):
        raise ConfigError(
            f"vectors of shape {list(array.shape)} do not fit collection {collection}: "
            f"expected [{count}, {dimensions}]",
            remedy="use the embedder that the collection was made with, or index again with this one",
        )
    if not np.isfinite(array).all():
        raise ConfigError(
            f"a vector for collection {collection} holds NaN or infinity",
            remedy="check the embedder's files, or choose dtype float32",
        )
    return array


def check_search(*, top_k: int, alpha: float) -> None:
    """Refuse a search that has no meaning."""
    if top_k < 1 or not 0 <= alpha <= 1:
        raise ConfigError(
            f"a search cannot have top_k {top_k} and alpha {alpha}",
            remedy="choose top_k of at least 1 and alpha from 0 (BM25 alone) to 1 (vectors alone)",
        )


def check_sealed(snapshot: int, sealed: Collection[int], *, collection: str) -> None:
    """Refuse to read or publish a snapshot that is not complete."""
    if snapshot not in sealed:
        complete = ", ".join(map(str, sorted(sealed))) or "none"
        raise DataError(
            f"snapshot {snapshot} is not complete in collection {collection} (complete: {complete})",
            remedy="run the index stage for it, or name a complete snapshot",
        )


def check_not_published(snapshot: int, published: int | None, *, collection: str) -> None:
    """Refuse to take the seal off what readers are told to read."""
    if published == snapshot:
        raise DataError(
            f"snapshot {snapshot} of collection {collection} is published and cannot be unsealed",
            remedy="publish another snapshot first",
        )


def check_dimensions(found: int, expected: int, *, collection: str, store: str) -> None:
    """Refuse a collection that was made for vectors of another length."""
    if found != expected:
        raise ConfigError(
            f"collection {collection} in {store} holds vectors of {found} dimensions, the embedder makes {expected}",
            remedy="use the embedder that the collection was made with, or give the store another place",
        )


def check_unique(ids: Sequence[str], *, collection: str) -> None:
    """Refuse a write that holds one id twice: which of the two would stay is not defined."""
    if len(set(ids)) != len(ids):
        twice = next(id_ for id_, times in Counter(ids).items() if times > 1)
        raise DataError(
            f"passage {twice} comes twice in one write to collection {collection}",
            remedy="make sure that every document id comes once in a snapshot",
        )


def check_read_back(sent: Collection[str], found: Collection[str], *, store: str, detail: str = "") -> None:
    """Refuse a write of which ids cannot be read back."""
    missing = sorted(set(sent) - set(found))
    if missing:
        shown = ", ".join(missing[:_SHOWN_IDS]) + (", ..." if len(missing) > _SHOWN_IDS else "")
        raise ServiceError(
            f"{store} took {len(sent)} passages but {len(missing)} cannot be read back: {shown}{detail}",
            remedy="look at the store's log and disk space, then run again: what is there is kept",
        )


def missing_passages(missing: Collection[str], *, collection: str) -> DataError:
    """Return the error for ids that a collection does not hold."""
    shown = ", ".join(sorted(missing)[:_SHOWN_IDS])
    return DataError(
        f"collection {collection} does not hold {len(missing)} of the passages asked for: {shown}",
        remedy="run the index stage again; it adds what is missing",
    )
