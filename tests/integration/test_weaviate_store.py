"""What only the Weaviate store does; what it shares with the others is in test_index_contract.py."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
from weaviate_fixtures import OpenIndex

from steelyard.doctor import check_weaviate
from steelyard.errors import ConfigError, ServiceError
from steelyard.index import weaviate_store
from steelyard.index.weaviate_state import State, object_id
from steelyard.index.weaviate_store import WeaviateIndex
from steelyard.records import Passage

UNIT = [1.0, 0.0, 0.0, 0.0]


@pytest.fixture
def index(open_weaviate: OpenIndex, monkeypatch) -> WeaviateIndex:
    """Return an empty index that does not wait between tries."""
    monkeypatch.setattr(weaviate_store, "_FIRST_PAUSE_SECONDS", 0.0)
    return open_weaviate("Passages_a")


def passages(*ids: str, since: int = 1) -> list[Passage]:
    """Return passages that differ in their ids."""
    return [Passage(id_, "d", 0, "", "", f"text of {id_}", "", since) for id_ in ids]


def fill(index: WeaviateIndex, *ids: str) -> None:
    """Write passages, seal and publish their snapshot."""
    index.write(passages(*ids), [UNIT] * len(ids))
    index.seal(1, index.digest(1))
    index.publish(1)


def test_weaviate_passages_that_were_lost_are_sent_again(index, monkeypatch):
    """What cannot be read back after a request is sent again, until all of it is there."""
    send, requests = index._send, []

    def lose_all_but_one(rows):
        requests.append(len(rows))
        return send(rows[:1])

    monkeypatch.setattr(index, "_send", lose_all_but_one)
    index.write(passages("a", "b", "c"), [UNIT] * 3)

    assert index.ids_in(1) == ["a", "b", "c"]
    assert requests == [3, 2, 1]


def test_weaviate_replacement_that_was_lost_is_sent_again(index, monkeypatch):
    """An id that is there with its old content does not count as written."""
    fill(index, "a")
    send, tries = index._send, []

    def lose_the_first(rows):
        tries.append(len(rows))
        return send(rows) if len(tries) > 1 else {}

    monkeypatch.setattr(index, "_send", lose_the_first)
    [passage] = passages("a", since=2)
    index.write([passage], [UNIT])

    assert tries == [1, 1]
    assert index.get(["a"]) == [passage]


def test_weaviate_passages_that_stay_lost_are_named_and_the_published_snapshot_stays(index, monkeypatch):
    """After the last try the error names the ids and the server's own words; readers notice nothing."""
    fill(index, "old")
    monkeypatch.setattr(index, "_send", lambda rows: {row.properties["passage_id"]: "disk is full" for row in rows})

    with pytest.raises(ServiceError, match=r"took 2 passages but 2 cannot .*: a, b; the server said: disk is full"):
        index.write(passages("a", "b", since=2), [UNIT] * 2)
    assert (index.published(), index.ids_in(1)) == (1, ["old"])
    assert [hit.passage.id for hit in index.search("text", None, snapshot=1, top_k=3, alpha=0)] == ["old"]


def test_weaviate_read_only_store_is_an_error_in_the_servers_words_and_can_still_be_read(index):
    """A full disk makes shards read-only: writing says so, reading goes on, and nothing is half written."""
    fill(index, "old")
    shards = [shard.name for shard in index._passages.config.get_shards()]
    index._passages.config.update_shards(status="READONLY", shard_names=shards)

    with pytest.raises(ServiceError, match=r"1 cannot be read back: new; the server said: .*read-only"):
        index.write(passages("new", since=2), [UNIT])
    with pytest.raises(ServiceError, match="read-only"):
        index.close_passages(["old"], 2)
    assert (index.published(), index.ids_in(1), index.ids_in(2)) == (1, ["old"], ["old"])


def test_weaviate_collection_of_another_make_is_refused_and_left_alone(index):
    """A collection with other properties is named, and nothing is written to it."""
    from weaviate.classes.config import DataType, Property

    name = index._state.physical(index.collection)
    index._client.collections.create(name, properties=[Property(name="wine", data_type=DataType.TEXT)])

    with pytest.raises(ServiceError, match=r"was not made by this version of Steelyard: it has the properties wine"):
        index.write(passages("a"), [UNIT])
    assert len(index._client.collections.get(name)) == 0


def test_weaviate_embedder_of_another_length_is_refused_and_nothing_is_lost(index, open_weaviate):
    """Vectors that do not fit the collection are refused with both lengths, before anything is sent."""
    fill(index, "a")

    with pytest.raises(ConfigError, match=r"holds vectors of 4 dimensions, the embedder makes 3"):
        open_weaviate("Passages_a", 3).write(passages("b"), [[1.0, 0.0, 0.0]])
    assert index.ids_in(1) == ["a"]


def test_weaviate_parts_of_a_collection_are_read_in_pages(index, monkeypatch):
    """Many pages, and pages that hold more than the server returns at once, lose and double nothing."""
    ids = [f"p{n:03d}" for n in range(300)]
    index.write(passages(*ids), np.tile(UNIT, (300, 1)))
    index.write(passages("later", since=2), [UNIT])
    index.close_passages(ids[::3], 2)
    reads = []
    page = index._page
    monkeypatch.setattr(index, "_page", lambda *part: reads.append(part) or page(*part))

    for aimed_at, at_most in ((50, 10_000), (10_000, 40)):
        monkeypatch.setattr(weaviate_store, "_OBJECTS_A_PAGE", aimed_at)
        monkeypatch.setattr(weaviate_store, "_MOST_OBJECTS", at_most)
        assert index.ids_in(1) == ids
        assert index.ids_from(1) == ids
        assert index.ids_in(2) == sorted({*ids, "later"}.difference(ids[::3]))
    assert len(reads) > 30


def test_weaviate_closing_many_passages_keeps_vectors_and_takes_few_requests(index, monkeypatch):
    """Closed passages are found by their vectors as before, and 300 of them take two requests."""
    ids = [f"p{n:03d}" for n in range(300)]
    vectors = np.random.default_rng(3).standard_normal((300, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index.write(passages(*ids), vectors)
    index.seal(1, index.digest(1))
    before = index.search("", vectors[7], snapshot=1, top_k=20, alpha=1)
    send, requests = index._send, []
    monkeypatch.setattr(index, "_send", lambda rows: requests.append(len(rows)) or send(rows))

    index.close_passages(ids, 2)

    after = index.search("", vectors[7], snapshot=1, top_k=20, alpha=1)
    assert requests == [200, 100]
    assert [(hit.passage.id, hit.score) for hit in after] == [(hit.passage.id, hit.score) for hit in before]
    assert (index.count(1), index.count(2)) == (300, 0)
    index.reopen_passages(ids[:5])
    assert index.ids_in(2) == ids[:5]


def test_weaviate_projects_that_share_a_server_do_not_touch_one_another(index):
    """The same collection name under two namespaces is two collections, two pointers, two aliases."""
    fill(index, "a")
    other_name = index._state.physical("x")[:9] + "Other"  # the fixture removes what begins like this
    other = WeaviateIndex(index._connection, namespace=other_name, collection=index.collection, dimensions=4)

    assert (other.pointer(), dict(other.sealed()), other.count(1)) == (None, {}, 0)
    fill(other, "b")

    assert (index.ids_in(1), other.ids_in(1)) == (["a"], ["b"])
    assert index.describe().collections == (index.collection,)
    aliases = {
        one._state.alias: one._client.alias.get(alias_name=one._state.alias).collection for one in (index, other)
    }
    assert len(set(aliases)) == len(set(aliases.values())) == 2
    other._client.alias.delete(alias_name=other._state.alias)


def test_weaviate_alias_follows_what_is_published(index, open_weaviate):
    """Who reads through the alias reads the published collection."""
    fill(index, "a")
    fill(other := open_weaviate("Passages_b"), "b")
    alias = index._client.collections.get(index._state.alias)

    assert [one.properties["passage_id"] for one in alias.iterator()] == ["b"]
    index.publish(1)
    assert [one.properties["passage_id"] for one in alias.iterator()] == ["a"]
    assert other.published() is None


def test_weaviate_state_is_described_without_making_anything(open_weaviate):
    """Version, node, counts, alias, pointer and seals are told; a server that holds nothing stays empty."""
    index = open_weaviate("Passages_a")
    state = State(index._connection, index._state.physical("")[:-1])
    before = state.describe()
    fill(index, "a", "b")
    told = state.describe()

    assert (before.objects, before.published, before.alias[1]) == ({}, None, None)
    assert list(told.objects.values()) == [2]
    assert told.alias == (state.alias, state.physical("Passages_a"))
    assert (told.published, told.sealed) == (("Passages_a", 1), {"Passages_a": (1,)})
    assert told.version.startswith("1.")
    assert "healthy" in told.nodes[0]


def test_weaviate_doctor_tells_version_memory_counts_alias_and_snapshot(index, weaviate_place):
    """One line holds what an operator asks for first."""
    fill(index, "a", "b")
    place = replace(weaviate_place, namespace=index._state.physical("")[:-1])

    check = check_weaviate(place, api_key=os.environ.get("WEAVIATE_API_KEY"))

    assert check.status == "ok"
    name = index._state.physical("Passages_a")
    for part in ("Weaviate 1.", "healthy", "memory ", f"{name} 2 objects", f"-> {name}", "snapshot 1 of Passages_a"):
        assert part in check.message


def test_weaviate_object_ids_of_parts_that_read_the_same_differ():
    """Parts are encoded: a separator inside a part makes no collision."""
    assert len({object_id("a", "b"), object_id("ab"), object_id("a,b"), object_id('a","b'), object_id(["a", "b"])}) == 5
