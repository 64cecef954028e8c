"""Keeping a collection in step with a snapshot's documents.

Belongs here: what is to be added and closed (`plan_sync`, pure) and doing it (`sync_snapshot`). Not here: stores,
publishing.

Content that stays keeps its row: it is neither embedded nor sent again. Batches are cut from the full list of what
the snapshot adds, so a run that was interrupted forms the same batches when it is repeated, skips those whose ids
are all there, and ends in the same state as an undisturbed one.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType

from steelyard.errors import DataError, ServiceError
from steelyard.index.embed import Embedder
from steelyard.index.protocol import Index, content_key_of, passage_id
from steelyard.index.split import Draft, split_document
from steelyard.progress import Progress, Silent
from steelyard.records import Document, Passage


@dataclass(frozen=True, slots=True)
class SplitSettings:
    """See `split_document`."""

    max_characters: int
    min_characters: int
    overlap: int


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """The ids of passages that a snapshot adds, in the order of embedding, that it ends, and that stay."""

    to_add: tuple[str, ...]
    to_close: tuple[str, ...]
    unchanged: tuple[str, ...]

    @property
    def target(self) -> set[str]:
        """The ids of all passages that are valid in the snapshot."""
        return {*self.to_add, *self.unchanged}


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What one run did: nothing of it repeats work that an earlier run had finished.

    `passages_embedded` can exceed `passages_added` after an interruption, because a batch is embedded as a whole.
    """

    passages_added: int
    passages_closed: int
    passages_embedded: int
    passages_total: int
    digest: str


def plan_sync(current: Mapping[str, str], target: Mapping[str, int], *, snapshot: int) -> SyncPlan:
    """Compare the previous snapshot's passages with a snapshot's content.

    `current` maps content keys to the ids that hold them, `target` maps content keys to text lengths. What is added
    is sorted by text length, so that a batch holds texts of like length, then by id.
    """
    added = sorted((target[key], passage_id(key, snapshot)) for key in target.keys() - current.keys())
    return SyncPlan(
        to_add=tuple(id_ for _, id_ in added),
        to_close=tuple(sorted(id_ for key, id_ in current.items() if key not in target)),
        unchanged=tuple(sorted(id_ for key, id_ in current.items() if key in target)),
    )


def sync_snapshot(
    index: Index,
    embedder: Embedder,
    documents: Iterable[Document],
    *,
    snapshot: int,
    split: SplitSettings,
    batch_size: int,
    progress: Progress | None = None,
) -> SyncReport:
    """Make `snapshot` hold exactly the passages of `documents`, seal it, and say what was done.

    The snapshot is compared with the last sealed one before it. It is not published. Raises `DataError` for a
    document id that comes twice, for a snapshot before sealed ones that does not exist yet, and for a published
    snapshot that would lose passages; `ServiceError` when what was read back is not what was to be there.
    """
    _check_order(index, snapshot)
    earlier = [sealed for sealed in index.sealed() if sealed < snapshot]
    current = {content_key_of(id_): id_ for id_ in (index.ids_in(earlier[-1]) if earlier else ())}
    with _Drafts() as drafts:
        lengths = _collect(documents, split, current, drafts)
        plan = plan_sync(current, lengths, snapshot=snapshot)
        total = len(plan.target)
        if snapshot in index.sealed() and set(index.ids_in(snapshot)) == plan.target:
            return SyncReport(0, 0, 0, total, index.sealed()[snapshot])
        _open_for_changes(index, plan, snapshot)
        closed = _settle_ends(index, plan, snapshot)
        batches, added = _missing_batches(index, plan, snapshot, batch_size)
        embedded, to_embed = 0, sum(map(len, batches))
        for batch in batches:
            _write_batch(index, embedder, batch, drafts, snapshot=snapshot)
            embedded += len(batch)
            (progress or Silent()).update("Embed passages", embedded, to_embed, "passages")
    return SyncReport(added, closed, embedded, total, _finish(index, plan, snapshot))


def _check_order(index: Index, snapshot: int) -> None:
    sealed = index.sealed()
    if snapshot not in sealed and any(later > snapshot for later in sealed):
        raise DataError(
            f"snapshot {snapshot} cannot be added to collection {index.collection}: it holds later ones "
            f"({', '.join(map(str, sealed))})",
            remedy="index snapshots in ascending order; an earlier one takes a collection of its own",
        )


def _collect(
    documents: Iterable[Document], split: SplitSettings, current: Mapping[str, str], drafts: _Drafts
) -> dict[str, int]:
    """Split all documents; keep content keys with text lengths in memory, texts that are new on disk."""
    lengths: dict[str, int] = {}
    seen: set[str] = set()
    for document in documents:
        if document.id in seen:
            raise DataError(
                f"document {document.id} ({document.uri}) comes twice in one snapshot",
                remedy="give every document an id of its own",
            )
        seen.add(document.id)
        for draft in split_document(document, **asdict(split)):
            lengths[draft.content_key] = len(draft.text)
            if draft.content_key not in current:
                drafts.keep(draft)
    return lengths


def _open_for_changes(index: Index, plan: SyncPlan, snapshot: int) -> None:
    """Take the seal off before anything changes; a published snapshot may gain what was lost, but lose nothing."""
    surplus = set(index.ids_in(snapshot)) - plan.target
    if index.published() != snapshot:
        index.unseal(snapshot)
    elif surplus:
        raise DataError(
            f"snapshot {snapshot} is published and holds {len(surplus)} passages that are not in the documents given",
            remedy="index changed documents as a new snapshot",
        )


def _settle_ends(index: Index, plan: SyncPlan, snapshot: int) -> int:
    """Remove what an interrupted run with other documents left, reopen what it closed, close what has ended."""
    orphans = set(index.ids_from(snapshot)).difference(plan.to_add)
    if orphans:
        index.delete(orphans)
    valid = set(index.ids_in(snapshot))
    wrongly_closed = set(plan.unchanged) - valid
    if wrongly_closed:
        index.reopen_passages(wrongly_closed)
    to_close = valid.intersection(plan.to_close)
    if to_close:
        index.close_passages(to_close, snapshot)
    return len(to_close)


def _missing_batches(index: Index, plan: SyncPlan, snapshot: int, batch_size: int) -> tuple[list[tuple[str, ...]], int]:
    """Return the batches that are not there as a whole, and how many of their passages are not there."""
    present = set(index.ids_from(snapshot))
    batches = [plan.to_add[first : first + batch_size] for first in range(0, len(plan.to_add), batch_size)]
    missing = [batch for batch in batches if not present.issuperset(batch)]
    return missing, len(set(plan.to_add) - present)


def _write_batch(index: Index, embedder: Embedder, ids: Sequence[str], drafts: _Drafts, *, snapshot: int) -> None:
    passages = [_passage(drafts.read(content_key_of(id_)), id_, snapshot) for id_ in ids]
    index.write(passages, embedder.embed([passage.text for passage in passages]))


def _passage(draft: Draft, id_: str, snapshot: int) -> Passage:
    return Passage(
        id=id_,
        document_id=draft.document_id,
        ordinal=draft.ordinal,
        title=draft.title,
        heading_path=draft.heading_path,
        text=draft.text,
        uri=draft.uri,
        from_snapshot=snapshot,
    )


def _finish(index: Index, plan: SyncPlan, snapshot: int) -> str:
    """Compare what the store holds with what was to be there, seal the snapshot and return its digest."""
    index.settle()
    held = index.ids_in(snapshot)
    if held != sorted(plan.target):
        raise ServiceError(
            f"collection {index.collection} holds {len(held)} passages of snapshot {snapshot}, expected "
            f"{len(plan.target)}: {len(plan.target.difference(held))} are missing, "
            f"{len(set(held) - plan.target)} do not belong there",
            remedy="make sure that only one run writes to this store, then run again",
        )
    digest = index.digest(snapshot)
    index.seal(snapshot, digest)
    return digest


class _Drafts:
    """New passages on disk until they are embedded, so that memory holds keys and places, not texts."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - this class is its context manager
        self._places: dict[str, tuple[int, int]] = {}

    def __enter__(self) -> _Drafts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def keep(self, draft: Draft) -> None:
        """Append a draft."""
        line = json.dumps(asdict(draft)).encode("ascii")
        self._places[draft.content_key] = (self._file.seek(0, 2), len(line))
        self._file.write(line)

    def read(self, content_key: str) -> Draft:
        """Return a draft that was kept."""
        offset, size = self._places[content_key]
        self._file.seek(offset)
        return Draft(**json.loads(self._file.read(size)))
