import threading
from collections.abc import Sequence

import numpy as np
import pytest
from weaviate_fixtures import OpenIndex

from steelyard.errors import ConfigError, DataError, ServiceError
from steelyard.index.embed import HashEmbedder
from steelyard.index.lance import LanceIndex, read_pointer, read_sealed
from steelyard.index.memory import MemoryIndex, MemoryStore
from steelyard.index.protocol import Index
from steelyard.index.sync import SplitSettings, SyncReport, sync_snapshot
from steelyard.records import Document, Passage

DIMENSIONS = 4


@pytest.fixture(params=["memory", "lancedb", "weaviate"])
def open_index(request, tmp_path) -> OpenIndex:
    """Return what opens an index: with the same store in every call, as another process would."""
    if request.param == "weaviate":
        return request.getfixturevalue("open_weaviate")
    if request.param == "lancedb":
        return lambda collection, dimensions=DIMENSIONS: LanceIndex(
            tmp_path / "store", collection=collection, dimensions=dimensions
        )
    store = MemoryStore()
    return lambda collection, dimensions=DIMENSIONS: MemoryIndex(
        collection=collection, dimensions=dimensions, store=store
    )


@pytest.fixture
def index(open_index) -> Index:
    """Return an empty index."""
    return open_index("Passages_a")


def a_passage(id_: str, text: str = "text", *, document: str = "d", since: int = 1, **changes) -> Passage:
    """Return a passage that differs in what the test is about."""
    fields = {"ordinal": 0, "title": "", "heading_path": "", "uri": "", "to_snapshot": None} | changes
    return Passage(id=id_, document_id=document, text=text, from_snapshot=since, **fields)


def unit(*numbers: float) -> list[float]:
    """Return a vector of length 1."""
    vector = np.array([*numbers, *[0.0] * (DIMENSIONS - len(numbers))])
    return (vector / np.linalg.norm(vector)).tolist()


def fill(index: Index, passages: Sequence[Passage], vectors: Sequence[Sequence[float]] | None = None) -> None:
    """Write passages and seal every snapshot that they speak of."""
    index.write(passages, vectors or [unit(1)] * len(passages))
    for snapshot in sorted({passage.from_snapshot for passage in passages}):
        index.seal(snapshot, index.digest(snapshot))


def found(index: Index, text: str, vector=None, *, snapshot: int = 1, top_k: int = 10, alpha: float = 0.0, **filters):
    """Return the ids that a search finds, best first."""
    hits = index.search(text, vector, snapshot=snapshot, top_k=top_k, alpha=alpha, **filters)
    return [hit.passage.id for hit in hits]


def test_index_passages_come_back_as_they_were_written(index):
    """Unicode, quotes, 8,000 characters, empty fields and large integers survive, in the order asked for."""
    passages = [
        a_passage("a", "Größe: 5 µm 🚲 日本語 \u0000 'quoted' \"twice\"\n| a | b |", title="Übersicht", document="d'1"),
        a_passage("b", "long " * 1600, ordinal=10**15, heading_path="One > Two", uri="pages/ü.md"),
        a_passage("c", "closed", since=10**15, to_snapshot=10**15 + 1),
    ]
    index.write(passages, [unit(1), unit(0, 1), unit(0, 0, 1)])

    assert index.get(["c", "a", "b"]) == [passages[2], passages[0], passages[1]]
    assert index.ids_in(10**15) == ["a", "b", "c"]
    assert index.ids_in(10**15 + 1) == ["a", "b"]


def test_index_write_with_a_known_id_replaces(index):
    """Writing an id again leaves one passage, with the new text, vector and place in searches."""
    fill(index, [a_passage("a", "old words"), a_passage("b", "other")], [unit(1), unit(0, 1)])

    index.write([a_passage("a", "new words")], [unit(0, 0, 1)])

    assert index.get(["a"])[0].text == "new words"
    assert index.count(1) == 2
    assert found(index, "new") == ["a"]
    assert found(index, "old") == []
    assert found(index, "", unit(0, 0, 1), alpha=1.0)[0] == "a"


def test_index_write_of_nothing_changes_nothing(index):
    """An empty write is no error."""
    index.write([], np.zeros((0, DIMENSIONS)))

    assert index.count(1) == 0


def test_index_write_with_an_id_twice_is_refused(index):
    """Which of two would stay is not defined, so neither is written."""
    with pytest.raises(DataError, match="passage a comes twice"):
        index.write([a_passage("a"), a_passage("a")], [unit(1), unit(1)])
    assert index.count(1) == 0


@pytest.mark.parametrize("vectors", [[[1.0, 0.0]], [[1.0, 0.0, 0.0, float("nan")]], [unit(1), unit(1)]])
def test_index_write_of_unfit_vectors_is_refused(index, vectors):
    """Another length, another number of vectors, and NaN are refused before anything is written."""
    with pytest.raises(ConfigError, match="Passages_a"):
        index.write([a_passage("a")], vectors)
    assert index.count(1) == 0


def test_index_deleted_passages_are_gone_and_unknown_ids_no_error(index):
    """Deleting is idempotent."""
    fill(index, [a_passage("a", "word"), a_passage("b", "word")])

    index.delete(["a", "never there"])
    index.delete(["a"])

    assert index.ids_in(1) == ["b"]
    with pytest.raises(DataError, match="does not hold 1 of the passages asked for: a"):
        index.get(["b", "a"])


def test_index_search_sees_the_snapshot_that_it_names(index):
    """A passage is found from its first snapshot on, up to but not including the one that closed it."""
    fill(index, [a_passage("old", "price"), a_passage("kept", "price"), a_passage("new", "price", since=3)])
    index.close_passages(["old"], 3)
    index.seal(2, index.digest(2))

    assert [sorted(found(index, "price", snapshot=s)) for s in (1, 2, 3)] == [
        ["kept", "old"],
        ["kept", "old"],
        ["kept", "new"],
    ]
    assert [index.count(snapshot) for snapshot in (0, 1, 2, 3, 4)] == [0, 2, 2, 2, 2]
    assert sorted(found(index, "", unit(1), snapshot=3, alpha=1.0)) == ["kept", "new"]


def test_index_closing_leaves_earlier_snapshots_and_can_be_undone(index):
    """Closing at 2 changes neither content nor digest of 1; reopening restores 2."""
    fill(index, [a_passage("a"), a_passage("b")])
    first, second = index.digest(1), index.digest(2)

    index.close_passages(["a"], 2)
    assert (index.digest(1), index.ids_in(2)) == (first, ["b"])
    assert index.digest(2) != second
    index.reopen_passages(["a"])
    assert (index.digest(2), index.get(["a"])[0].to_snapshot) == (second, None)


def test_index_closing_an_unknown_passage_is_refused(index):
    """A close that would silently do nothing is an error."""
    with pytest.raises(DataError, match="nowhere"):
        index.close_passages(["nowhere"], 2)


def test_index_digest_covers_ids_and_texts_whatever_the_order(index, open_index):
    """The same content written in another order has the same digest; another text or id has not."""
    index.write([a_passage("a", "one"), a_passage("b", "two")], [unit(1)] * 2)
    digest = index.digest(1)
    other = open_index("Passages_b")

    other.write([a_passage("b", "two")], [unit(0, 1)])
    assert other.digest(1) != digest
    other.write([a_passage("a", "one")], [unit(1)])
    assert other.digest(1) == digest
    other.write([a_passage("a", "uno")], [unit(1)])
    assert other.digest(1) != digest


def test_index_ids_from_are_those_that_begin_with_the_snapshot(index):
    """Closed or not, what a snapshot added is told."""
    index.write([a_passage("a"), a_passage("b", since=2), a_passage("c", since=2, to_snapshot=3)], [unit(1)] * 3)

    assert (index.ids_from(1), index.ids_from(2), index.ids_from(3)) == (["a"], ["b", "c"], [])


def test_index_snapshot_that_is_not_sealed_is_neither_searched_nor_published(index):
    """The message names the snapshot, those that are complete, and what to do."""
    fill(index, [a_passage("a"), a_passage("b", since=3)])
    index.unseal(3)

    for refused in (lambda: found(index, "x", snapshot=3), lambda: index.publish(3)):
        with pytest.raises(DataError, match=r"snapshot 3 is not complete(.|\n)*complete: 1(.|\n)*To fix"):
            refused()


def test_index_publish_and_roll_back_move_one_pointer(index, open_index):
    """The pointer names a collection and a snapshot; going back is publishing the earlier one."""
    fill(index, [a_passage("a"), a_passage("b", since=2)])
    assert (index.pointer(), index.published()) == (None, None)

    index.publish(1)
    index.publish(2)
    assert (index.published(), index.pointer()) == (2, (index.collection, 2))
    other = open_index("Passages_b")
    fill(other, [a_passage("z", since=2)])
    other.publish(2)
    assert (index.published(), other.published(), index.pointer()) == (None, 2, (other.collection, 2))
    index.publish(1)
    assert (index.published(), other.published()) == (1, None)


def test_index_published_snapshot_cannot_be_unsealed(index):
    """What readers are told to read stays readable."""
    fill(index, [a_passage("a")])
    index.publish(1)

    with pytest.raises(DataError, match=r"snapshot 1 .*is published"):
        index.unseal(1)
    assert list(index.sealed()) == [1]


def test_index_opened_again_finds_what_was_written(index, open_index):
    """Passages, seals and pointer are in the store, not in the object."""
    fill(index, [a_passage("a", "word")])
    index.publish(1)

    again = open_index("Passages_a")

    assert (again.published(), dict(again.sealed())) == (1, {1: index.digest(1)})
    assert found(again, "word") == ["a"]


def test_index_opened_with_another_dimension_is_refused(index, open_index):
    """A collection keeps the vector length that it was made with; the message names both."""
    fill(index, [a_passage("a")])

    with pytest.raises(ConfigError, match=r"holds vectors of 4 dimensions, the embedder makes 3"):
        open_index("Passages_a", 3).count(1)


def test_index_alpha_goes_from_keywords_to_vectors(index):
    """At 0 the words decide, at 1 the vectors, between them both by their weight."""
    passages = [a_passage("words", "node version"), a_passage("near", "cheese"), a_passage("both", "node cheese bread")]
    fill(index, passages, [unit(0, 1), unit(1), unit(1, 0.5)])
    query = ("node version", unit(1))

    assert found(index, *query, alpha=0.0) == ["words", "both"]
    assert found(index, *query, alpha=1.0) == ["near", "both", "words"]
    assert found(index, *query, alpha=0.2)[0] == "words"
    assert found(index, *query, alpha=0.9)[0] == "near"
    assert set(found(index, *query, alpha=0.5)) == {"words", "near", "both"}


def test_index_hybrid_scores_are_relative_scores(index):
    """Each side is scaled to 0..1 by its best and worst result, then weighed."""
    passages = [
        a_passage("words", "node"),
        a_passage("far", "node and many other words besides"),
        a_passage("near", "x"),
    ]
    fill(index, passages, [unit(0, 1), unit(1, 1), unit(1)])

    hits = index.search("node", unit(1), snapshot=1, top_k=3, alpha=0.25)

    middle = 1 / np.sqrt(2)
    assert [hit.passage.id for hit in hits] == ["words", "near", "far"]
    assert [hit.score for hit in hits] == pytest.approx([0.75, 0.25, 0.25 * middle], abs=1e-4)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_index_results_of_a_snapshot_stay_while_a_later_one_is_written(index, alpha):
    """Passages that are added, closed and deleted later change neither ranking nor scores of what is published."""
    texts = ["node release", "node node support", "cheese release", "bread"]
    fill(index, [a_passage(f"p{n}", text) for n, text in enumerate(texts)], [unit(1, n) for n in range(4)])
    index.publish(1)
    before = index.search("node release", unit(1, 1), snapshot=1, top_k=4, alpha=alpha)

    index.write([a_passage(f"x{n}", "release " * (n + 1), since=2) for n in range(40)], [unit(1, 1)] * 40)
    index.close_passages(["p0"], 2)
    index.delete(["x7"])

    after = index.search("node release", unit(1, 1), snapshot=1, top_k=4, alpha=alpha)
    assert [(hit.passage.id, hit.score) for hit in after] == [(hit.passage.id, hit.score) for hit in before]


def test_index_filter_by_document_applies_before_the_best_are_taken(index):
    """The best passage of the named documents is found though many others are better."""
    passages = [a_passage(f"x{n:03d}", "node", document="many") for n in range(150)]
    passages.append(a_passage("wanted", "node with many more words around it", document="it's one"))
    fill(index, passages, [*[unit(1)] * 150, unit(0, 1)])

    for alpha in (0.0, 0.5, 1.0):
        assert found(index, "node", unit(1), alpha=alpha, top_k=1, document_ids=["it's one", "none"]) == ["wanted"]
    assert found(index, "node", unit(1), alpha=0.5, document_ids=[]) == []


def test_index_snapshot_applies_before_the_best_are_taken(index):
    """Better passages of other snapshots do not push out those of this one."""
    others = [a_passage(f"x{n:03d}", "node", since=2) for n in range(150)]
    fill(index, [*others, a_passage("wanted", "node and other words")], [*[unit(1)] * 150, unit(0, 1)])

    for alpha in (0.0, 0.5, 1.0):
        assert found(index, "node", unit(1), alpha=alpha, top_k=3, snapshot=1) == ["wanted"]


def test_index_search_without_a_match_finds_nothing(index):
    """No common word is an empty result with keywords alone, and so is an empty question."""
    fill(index, [a_passage("a", "alpha"), a_passage("b", "beta")])

    assert found(index, "gamma") == []
    assert found(index, "?!") == []
    assert found(index, "?!", unit(1), alpha=0.5) == ["a", "b"]


def test_index_search_finds_names_with_versions(index):
    """A version is matched as a whole: 22.1 is neither 22.10 nor 2.21, and C++ is not C."""
    texts = [
        "Node.js 22.10",
        "Node.js 22.1",
        "Node.js 2.21",
        "Node.js 1.22",
        "C compiler",
        "C++ compiler",
        "tls/ssl 'x'",
    ]
    fill(index, [a_passage(f"p{n}", text) for n, text in enumerate(texts)])

    assert found(index, "Is Node.js 22.1 supported?")[0] == "p1"
    assert found(index, "node.js 22.10")[0] == "p0"
    assert found(index, "Which C++ compiler?")[0] == "p5"
    assert found(index, 'TLS/SSL\' OR "1"=1 -- AND (')[0] == "p6"


def test_index_ties_are_cut_by_id(index):
    """Equal passages come in the order of their ids, at every alpha."""
    fill(index, [a_passage(f"p{n}", "same words") for n in (3, 1, 4, 2)])

    for alpha in (0.0, 0.5, 1.0):
        assert found(index, "same", unit(1), alpha=alpha, top_k=3) == ["p1", "p2", "p3"]


def test_index_many_searches_equal_single_ones(index):
    """A batch of questions finds what each would find alone."""
    generator = np.random.default_rng(5)
    vectors = generator.standard_normal((60, DIMENSIONS))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    fill(index, [a_passage(f"p{n:02d}", f"word{n % 7} word{n % 5}") for n in range(60)], vectors.tolist())
    questions = [f"word{n}" for n in range(7)]

    together = index.search_many(questions, vectors[:7], snapshot=1, top_k=4, alpha=0.5)

    for question, vector, hits in zip(questions, vectors, together, strict=False):
        assert [hit.passage.id for hit in hits] == found(index, question, vector, alpha=0.5, top_k=4)
    assert index.search_many([], np.zeros((0, DIMENSIONS)), snapshot=1, top_k=4, alpha=0.5) == []


@pytest.mark.parametrize("wrong", [{"top_k": 0}, {"alpha": 1.5}, {"alpha": -0.1}])
def test_index_search_without_meaning_is_refused(index, wrong):
    """Settings out of range are a mistake of the caller, and are named."""
    fill(index, [a_passage("a")])

    with pytest.raises(ConfigError, match="a search cannot have"):
        index.search("a", unit(1), snapshot=1, **{"top_k": 1, "alpha": 0.5} | wrong)


def test_index_query_vector_of_another_length_is_refused(index):
    """A question embedded by another model is an error, not a bad result."""
    fill(index, [a_passage("a")])

    with pytest.raises(ConfigError, match=r"shape \[1, 2\] do not fit"):
        index.search("a", [1.0, 0.0], snapshot=1, top_k=1, alpha=0.5)


def test_index_readers_during_a_switch_never_see_an_empty_or_mixed_index(index, open_index):
    """Readers that follow the pointer get the whole old state or the whole new one, through two collections."""
    fill(index, [a_passage(f"a{n}", "word") for n in range(5)])
    fill(other := open_index("Passages_b"), [a_passage(f"b{n}", "word", since=2) for n in range(7)])
    index.publish(1)
    readers = {one.collection: open_index(name) for one, name in ((index, "Passages_a"), (other, "Passages_b"))}
    seen, failures, stop = [], [], threading.Event()

    def read() -> None:
        try:
            while not stop.is_set():
                pointer = readers[index.collection].pointer()
                ids = found(readers[pointer.collection], "word", snapshot=pointer.snapshot)
                seen.append((pointer.snapshot, "".join(sorted({id_[0] for id_ in ids})), len(ids)))
        except BaseException as error:
            failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for one, snapshot in [(other, 2), (index, 1)] * 10:
        one.publish(snapshot)
    stop.set()
    reader.join()

    assert failures == []
    assert seen
    assert set(seen) <= {(1, "a", 5), (2, "b", 7)}


def test_index_settled_index_answers_as_before(index):
    """Tidying up changes no result."""
    for n in range(5):
        fill(index, [a_passage(f"p{n}", f"word{n} common")], [unit(1, n)])
    index.delete(["p3"])
    index.seal(1, index.digest(1))
    before = [index.search("word1 common", unit(1), snapshot=1, top_k=9, alpha=a) for a in (0.0, 0.5, 1.0)]

    index.settle()

    assert [index.search("word1 common", unit(1), snapshot=1, top_k=9, alpha=a) for a in (0.0, 0.5, 1.0)] == before


def test_index_description_counts_what_is_there(index):
    """`doctor` is told collection, dimensions, counts, seals and pointer."""
    fill(index, [a_passage("a"), a_passage("b", to_snapshot=2), a_passage("c", since=2)])
    index.publish(2)

    told = index.describe()

    assert (told.collection, told.dimensions, told.passages) == (index.collection, DIMENSIONS, 3)
    assert (told.sealed, told.published) == ((1, 2), (index.collection, 2))
    assert index.collection in told.collections
    assert told.version


def test_index_synced_with_two_snapshots_agrees_with_every_other_store(index):
    """The same documents give the same ids, digests and rankings in each store, and a repeated sync does nothing."""
    split = SplitSettings(max_characters=80, min_characters=40, overlap=0)
    reference = MemoryIndex(collection="Passages_reference", dimensions=DIMENSIONS)
    embedder = HashEmbedder(DIMENSIONS)

    def sync(one: Index, snapshot: int) -> SyncReport:
        documents = [
            Document(f"d{n}", "pages", f"d{n}.md", f"Product {n}", f"Version {n}.{snapshot if n % 3 else 0}.", "")
            for n in range(12 - snapshot)
        ]
        return sync_snapshot(one, embedder, documents, snapshot=snapshot, split=split, batch_size=4)

    for snapshot in (1, 2):
        assert sync(index, snapshot) == sync(reference, snapshot)
        assert index.digest(snapshot) == reference.digest(snapshot)
        assert index.ids_in(snapshot) == reference.ids_in(snapshot)
    assert sync(index, 2).passages_embedded == 0
    question = "Product 7 version"
    [vector] = embedder.embed([question])
    assert found(index, question, vector, snapshot=1, top_k=3) == found(reference, question, vector, top_k=3)


def test_index_closed_twice_is_no_error(index):
    """Closing is idempotent."""
    index.count(1)
    index.close()
    index.close()


def test_lance_history_of_writes_does_not_change_a_ranking(tmp_path):
    """The same snapshot after deletions, closings and tidying ranks and scores like one that was written at once."""
    passages = [a_passage(f"p{n}", f"node {'word ' * n}") for n in range(6)]
    plain = LanceIndex(tmp_path / "plain", collection="Passages_a", dimensions=DIMENSIONS)
    fill(plain, passages)
    lived = LanceIndex(tmp_path / "lived", collection="Passages_a", dimensions=DIMENSIONS)
    fill(lived, [a_passage(f"gone{n}", "node node") for n in range(9)])
    lived.delete([f"gone{n}" for n in range(9)])
    for passage in reversed(passages):
        lived.write([passage], [unit(1)])
    lived.write([a_passage("later", "node", since=2)], [unit(1)])
    lived.settle()

    searches = [one.search("node word", unit(1), snapshot=1, top_k=9, alpha=0.3) for one in (plain, lived)]

    assert searches[0] == searches[1]


def test_lance_pointer_and_seals_are_read_without_loading_lancedb(tmp_path):
    """What a run with nothing to do has to know lies in two small files."""
    assert (read_pointer(tmp_path), read_sealed(tmp_path, "Passages_a")) == (None, {})
    index = LanceIndex(tmp_path, collection="Passages_a", dimensions=DIMENSIONS)
    fill(index, [a_passage("a")])
    index.publish(1)

    assert read_pointer(tmp_path) == ("Passages_a", 1)
    assert read_sealed(tmp_path, "Passages_a") == {1: index.digest(1)}


def test_lance_folder_that_cannot_be_made_is_named(tmp_path):
    """A file in the place of the folder is an error that names it."""
    (tmp_path / "store").write_text("in the way")
    index = LanceIndex(tmp_path / "store", collection="Passages_a", dimensions=DIMENSIONS)

    with pytest.raises(ServiceError, match=r"store cannot be opened(.|\n)*To fix"):
        index.count(1)
