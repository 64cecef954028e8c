"""A server that is killed in the middle of a load, and readers while another embedder's index takes over."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import weaviate.retry

from steelyard.errors import ServiceError
from steelyard.index import weaviate_store
from steelyard.index.embed import HashEmbedder
from steelyard.index.memory import MemoryIndex
from steelyard.index.sync import SplitSettings, SyncReport, sync_snapshot
from steelyard.index.weaviate_connection import connect
from steelyard.index.weaviate_store import WeaviateIndex
from steelyard.records import Document

PASSAGES = 5_000
SECTIONS = 100  # of a document, each a passage: splitting few long documents is faster than many short ones
SPLIT = SplitSettings(max_characters=60, min_characters=30, overlap=0)


def documents(n: int = PASSAGES) -> Iterator[Document]:
    """Return documents of 100 passages each, `n` in all."""
    for first in range(0, n, SECTIONS):
        numbers = range(first, min(n, first + SECTIONS))
        text = "\n\n".join(f"# Product {i}\n\nProduct {i} is at version {i}." for i in numbers)
        yield Document(f"d{first}", "pages", f"d{first}.md", "", text, "")


def sync(index, *, dimensions: int = 16, n: int = PASSAGES) -> SyncReport:
    """Load the first snapshot."""
    return sync_snapshot(index, HashEmbedder(dimensions), documents(n), snapshot=1, split=SPLIT, batch_size=500)


@pytest.fixture(autouse=True)
def _impatient_client(monkeypatch) -> None:
    """Try again at once: the client's own pauses add up to half a minute for each request to a dead server."""
    monkeypatch.setattr(weaviate.retry, "time", SimpleNamespace(sleep=lambda seconds: None))
    monkeypatch.setattr(weaviate_store, "_FIRST_PAUSE_SECONDS", 0.1)


class KillingIndex(WeaviateIndex):
    """An index whose server is killed while it takes a request."""

    sends_left = 6

    def _send(self, rows):
        self.sends_left -= 1
        if self.sends_left:
            return super()._send(rows)
        killer = threading.Thread(target=self.kill)  # runs beside the request
        killer.start()
        try:
            return super()._send(rows)
        finally:
            killer.join()


def test_weaviate_killed_during_a_load_then_repeated_holds_every_passage_once(start_weaviate):
    """After kill -9, restart and a second run: each of 5,000 passages is there once, and the digest is the right one.

    While the server is away a search says so; nothing of the half-loaded snapshot can be read.
    """
    server = start_weaviate()
    place = server.place
    expected = sync(MemoryIndex(collection="Passages_k", dimensions=16))

    def open_(kind=WeaviateIndex):
        return kind(connect(place, api_key=None), namespace=place.namespace, collection="Passages_k", dimensions=16)

    index = open_(KillingIndex)
    index.kill = server.kill
    with pytest.raises(ServiceError, match=r"took 500 passages but 500 cannot be read back: (.|\n)*the server said: "):
        sync(index)
    with pytest.raises(ServiceError, match="in Weaviate cannot be"):
        index.search("version", None, snapshot=1, top_k=1, alpha=0)
    index.close()

    server.start()
    again = open_()
    assert (dict(again.sealed()), again.published()) == ({}, None)
    assert 2_000 <= again.count(1) < PASSAGES
    report = sync(again)

    assert report.digest == expected.digest == again.digest(1)
    assert report.passages_total == expected.passages_total == PASSAGES
    assert report.passages_embedded <= PASSAGES - 2_000
    held = [one.properties["passage_id"] for one in again._passages.iterator(return_properties=["passage_id"])]
    assert len(held) == len(set(held)) == PASSAGES
    assert again.count(1) == PASSAGES
    vector = HashEmbedder(16).embed(["Product 4711 is at version 4711."])[0]
    assert len(again.search("4711", vector, snapshot=1, top_k=100, alpha=1)) == 100
    again.close()


def test_weaviate_readers_during_a_new_embedders_index_never_see_it_empty_or_mixed(open_weaviate):
    """A second collection is filled and published while readers follow the pointer: all old, then all new."""
    old, new = open_weaviate("Passages_old", 16), open_weaviate("Passages_new", 24)
    sync(old, n=30)
    old.publish(1)
    readers = {"Passages_old": open_weaviate("Passages_old", 16), "Passages_new": open_weaviate("Passages_new", 24)}
    seen, failures, stop = [], [], threading.Event()

    def read() -> None:
        try:
            while not stop.is_set():
                pointer = readers["Passages_old"].pointer()
                reader = readers[pointer.collection]
                [vector] = HashEmbedder(reader.dimensions).embed(["Product 7 version"])
                hits = reader.search("Product 7", vector, snapshot=pointer.snapshot, top_k=50, alpha=0.5)
                seen.append((pointer.collection, len(hits), hits[0].passage.heading_path))
        except BaseException as error:
            failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    sync(new, dimensions=24, n=30)
    new.publish(1)
    after_the_switch = len(seen) + 2
    while len(seen) < after_the_switch and not failures:
        stop.wait(0.01)
    stop.set()
    reader.join()

    assert failures == []
    assert set(seen) == {("Passages_old", 30, "Product 7"), ("Passages_new", 30, "Product 7")}
    assert [name for name, *_ in seen] == sorted((name for name, *_ in seen), reverse=True)
