from collections.abc import Iterator, Sequence

import pytest

from steelyard.errors import DataError, ServiceError
from steelyard.index.embed import HashEmbedder
from steelyard.index.memory import MemoryIndex, MemoryStore
from steelyard.index.protocol import content_key_of, passage_id
from steelyard.index.sync import SplitSettings, SyncReport, plan_sync, sync_snapshot
from steelyard.records import Document

SPLIT = SplitSettings(max_characters=60, min_characters=30, overlap=0)


class CountingEmbedder(HashEmbedder):
    """A hash embedder that remembers its batches."""

    def __init__(self) -> None:
        super().__init__(32)
        self.batches: list[tuple[str, ...]] = []

    def embed(self, texts: Sequence[str]):
        """Remember and embed."""
        self.batches.append(tuple(texts))
        return super().embed(texts)


class InterruptedRunError(Exception):
    """Raised in place of a killed process."""


class FailingIndex(MemoryIndex):
    """An index whose process ends after some writes."""

    writes_left = 10**9

    def write(self, passages, vectors) -> None:
        """Write, or end."""
        if not self.writes_left:
            raise InterruptedRunError
        self.writes_left -= 1
        super().write(passages, vectors)


def documents(*, changed: Sequence[int] = (), removed: Sequence[int] = (), n: int = 8) -> Iterator[Document]:
    """Return documents of two passages each; changed ones differ in their second."""
    for number in range(n):
        if number not in removed:
            version = "2.0" if number in changed else "1.0"
            text = f"Product {number} is described here, in so many words.\n\nProduct {number} is at version {version}."
            yield Document(f"d{number}", "pages", f"d{number}.md", f"Product {number}", text, "")


def sync(index: MemoryIndex, docs, *, snapshot: int, embedder: HashEmbedder | None = None) -> SyncReport:
    """Bring the index in step in small batches."""
    return sync_snapshot(index, embedder or HashEmbedder(32), docs, snapshot=snapshot, split=SPLIT, batch_size=3)


@pytest.fixture
def index() -> FailingIndex:
    """Return an empty index."""
    return FailingIndex(collection="Passages_x", dimensions=32)


def test_plan_sync_tells_added_closed_and_unchanged_apart():
    """Keys of both sides stay, keys of one side are added or closed; what is added is sorted by length, then id."""
    plan = plan_sync({"kept": "kept-1", "gone": "gone-1"}, {"kept": 5, "b": 9, "a": 9, "c": 2}, snapshot=2)

    assert plan.to_add == ("c-2", "a-2", "b-2")
    assert plan.to_close == ("gone-1",)
    assert plan.unchanged == ("kept-1",)


def test_passage_id_gives_its_content_key_back():
    """Content key and snapshot are both in an id."""
    assert content_key_of(passage_id("0f" * 16, 12)) == "0f" * 16


def test_sync_first_snapshot_adds_everything_and_seals_it(index):
    """All passages are embedded, counted and sealed; nothing is published."""
    report = sync(index, documents(), snapshot=1)

    assert (report.passages_added, report.passages_embedded, report.passages_closed) == (16, 16, 0)
    assert report.passages_total == index.count(1) == 16
    assert index.sealed() == {1: report.digest}
    assert report.digest == index.digest(1)
    assert index.published() is None


def test_sync_repeated_does_nothing(index):
    """A second run with the same documents embeds nothing and returns the same digest."""
    first, embedder = sync(index, documents(), snapshot=1), CountingEmbedder()

    second = sync(index, documents(), snapshot=1, embedder=embedder)

    assert embedder.batches == []
    assert second == SyncReport(0, 0, 0, 16, first.digest)


def test_sync_changed_document_embeds_only_its_changed_passage(index):
    """One changed paragraph of sixteen: one passage is added, one closed, the others keep their rows."""
    sync(index, documents(), snapshot=1)

    report = sync(index, documents(changed=[3]), snapshot=2)

    assert (report.passages_added, report.passages_embedded, report.passages_closed) == (1, 1, 1)
    assert len(set(index.ids_in(1)) & set(index.ids_in(2))) == 15


def test_sync_later_snapshot_leaves_the_earlier_one_as_it_was(index):
    """Search, count and digest at the old snapshot do not notice the new one."""
    first = sync(index, documents(), snapshot=1)
    query, vector = "Product 3 version", HashEmbedder(32).embed(["Product 3 version"])[0]
    before = [hit.passage.id for hit in index.search(query, vector, snapshot=1, top_k=5, alpha=0.5)]

    sync(index, documents(changed=[3], removed=[5]), snapshot=2)

    after = [hit.passage.id for hit in index.search(query, vector, snapshot=1, top_k=5, alpha=0.5)]
    assert after == before
    assert (index.count(1), index.digest(1)) == (16, first.digest)
    assert not any("Product 5" in passage.text for passage in index.get(index.ids_in(2)))


def test_sync_content_that_comes_back_is_found_again(index):
    """Removed in one snapshot and back in the next: it is added anew and the one between stays without it."""
    sync(index, documents(), snapshot=1)
    sync(index, documents(removed=[0]), snapshot=2)
    sync(index, documents(), snapshot=3)

    assert [index.count(snapshot) for snapshot in (1, 2, 3)] == [16, 14, 16]


@pytest.mark.parametrize("writes", range(6))
def test_sync_interrupted_then_repeated_ends_as_if_undisturbed(index, writes):
    """Whichever write was the last, the rerun forms the same batches, skips finished ones, and the digest agrees."""
    undisturbed, whole = MemoryIndex(collection="Passages_x", dimensions=32), CountingEmbedder()
    digest = sync(undisturbed, documents(), snapshot=1, embedder=whole).digest
    index.writes_left, rest = writes, CountingEmbedder()
    with pytest.raises(InterruptedRunError):
        sync(index, documents(), snapshot=1)
    index.writes_left = 100

    report = sync(index, documents(), snapshot=1, embedder=rest)

    assert report.digest == digest
    assert rest.batches == whole.batches[writes:]


def test_sync_interrupted_snapshot_cannot_be_read(index):
    """Half a snapshot is neither searched nor published."""
    index.writes_left = 2
    with pytest.raises(InterruptedRunError):
        sync(index, documents(), snapshot=1)

    with pytest.raises(DataError, match=r"snapshot 1 is not complete .*complete: none"):
        index.search("Product", None, snapshot=1, top_k=1, alpha=0)
    with pytest.raises(DataError, match="snapshot 1 is not complete"):
        index.publish(1)


def test_sync_other_documents_after_an_interruption_leave_no_trace_of_the_first(index):
    """What an abandoned attempt wrote and closed is undone: the result is that of the second attempt alone."""
    sync(index, documents(), snapshot=1)
    index.writes_left = 1
    with pytest.raises(InterruptedRunError):
        sync(index, documents(changed=[0, 1, 2, 3], removed=[7]), snapshot=2)
    index.writes_left = 100
    report = sync(index, documents(changed=[4]), snapshot=2)

    clean = MemoryIndex(collection="Passages_x", dimensions=32)
    sync(clean, documents(), snapshot=1)
    assert report.digest == sync(clean, documents(changed=[4]), snapshot=2).digest
    assert index.describe().passages == clean.describe().passages


def test_sync_lost_passages_of_the_published_snapshot_are_put_back(index):
    """A published snapshot that lost rows is repaired in place, to the same digest."""
    first = sync(index, documents(), snapshot=1)
    index.publish(1)
    index.delete(index.ids_in(1)[:2])

    report = sync(index, documents(), snapshot=1)

    assert (report.passages_added, report.digest) == (2, first.digest)
    assert index.published() == 1


def test_sync_published_snapshot_refuses_other_documents(index):
    """What readers see now is never taken from them."""
    sync(index, documents(), snapshot=1)
    index.publish(1)

    with pytest.raises(DataError, match="snapshot 1 is published and holds 1 passages"):
        sync(index, documents(changed=[3]), snapshot=1)
    assert index.count(1) == 16


def test_sync_unpublished_snapshot_takes_other_documents(index):
    """A snapshot that nobody reads may be made again with other documents."""
    sync(index, documents(), snapshot=1)

    report = sync(index, documents(changed=[3]), snapshot=1)

    assert (report.passages_added, report.passages_total) == (1, 16)


def test_sync_snapshot_before_later_ones_is_refused(index):
    """History is written forwards; the message says what to do."""
    sync(index, documents(), snapshot=2)

    with pytest.raises(DataError, match=r"snapshot 1 cannot be added(.|\n)*ascending order"):
        sync(index, documents(), snapshot=1)


def test_sync_document_id_twice_is_refused_and_named(index):
    """Two documents with one id are an error in the data, not a race between them."""
    with pytest.raises(DataError, match=r"document d0 \(d0.md\) comes twice"):
        sync(index, [*documents(), *documents(n=1)], snapshot=1)


def test_sync_without_documents_seals_an_empty_snapshot(index):
    """No documents is a snapshot without passages; a search in it finds nothing."""
    sync(index, [], snapshot=1)

    assert index.search("Product", None, snapshot=1, top_k=3, alpha=0) == []
    vector = HashEmbedder(32).embed(["Product"])[0]
    assert index.search("Product", vector, snapshot=1, top_k=3, alpha=0.5) == []


def test_sync_store_that_loses_passages_is_not_sealed(index, monkeypatch):
    """When reading back finds fewer passages than were to be there, the snapshot stays unsealed."""
    monkeypatch.setattr(index, "settle", lambda: index.delete(index.ids_in(1)[:1]))

    with pytest.raises(ServiceError, match="holds 15 passages of snapshot 1, expected 16: 1 are missing"):
        sync(index, documents(), snapshot=1)
    assert index.sealed() == {}


def test_sync_report_of_progress_ends_at_the_total(index):
    """Whoever listens hears of every batch, up to the number that was to be embedded."""
    heard = []

    class Listener:
        def update(self, task, done, total, unit):
            heard.append((done, total, unit))

        def note(self, message):
            pass

    sync_snapshot(index, HashEmbedder(32), documents(), snapshot=1, split=SPLIT, batch_size=5, progress=Listener())

    assert heard == [(5, 16, "passages"), (10, 16, "passages"), (15, 16, "passages"), (16, 16, "passages")]


def test_sync_two_collections_of_one_store_have_one_pointer():
    """Publishing in a second collection takes the pointer from the first, and back again."""
    store = MemoryStore()
    old = MemoryIndex(collection="Passages_old", dimensions=32, store=store)
    new = MemoryIndex(collection="Passages_new", dimensions=32, store=store)
    sync(old, documents(), snapshot=1)
    sync(new, documents(), snapshot=1)

    old.publish(1)
    new.publish(1)

    assert (old.published(), new.published(), old.pointer()) == (None, 1, ("Passages_new", 1))
    old.publish(1)
    assert (old.published(), new.published()) == (1, None)
