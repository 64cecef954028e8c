import math
from collections import Counter

import pytest

from steelyard.index.bm25 import K1, B, Bm25, Entry
from steelyard.index.fusion import fuse
from steelyard.index.terms import terms

TEXTS = {
    "a": "Node.js 22.1 was released in April",
    "b": "Node.js 22.10 was released in October, and Node.js 22 is supported",
    "c": "Python 3.11 is supported until 2027",
    "d": "April April April",
}


def an_index(texts: dict[str, str] = TEXTS) -> Bm25:
    """Return an index in which every text is its own document."""
    return Bm25(Entry(id=id_, document_id=f"document {id_}", text=text) for id_, text in texts.items())


def bm25_by_hand(query: str, texts: dict[str, str]) -> dict[str, float]:
    """Return the scores by the formula as the paper writes it."""
    documents = {id_: Counter(terms(text)) for id_, text in texts.items()}
    mean = sum(sum(counts.values()) for counts in documents.values()) / len(documents)
    scores: dict[str, float] = {}
    for term in set(terms(query)):
        holders = [id_ for id_, counts in documents.items() if term in counts]
        idf = math.log(1 + (len(documents) - len(holders) + 0.5) / (len(holders) + 0.5))
        for id_ in holders:
            frequency, length = documents[id_][term], sum(documents[id_].values())
            weight = frequency / (frequency + K1 * (1 - B + B * length / mean))
            scores[id_] = scores.get(id_, 0.0) + idf * weight
    return scores


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Node.js 22.1", ["node.js", "node", "js", "22.1", "22", "1"]),
        ("End-of-Life.", ["end-of-life", "end", "of", "life"]),
        ("C++ und C#", ["c++", "c", "und", "c#", "c"]),
        ("Größe, ÉTÉ", ["grosse", "ete"]),
        ("...", []),
    ],
)
def test_terms_of_a_text_are_compounds_and_their_parts(text, expected):
    """Versions and names stay findable as a whole; case and accents play no part."""
    assert terms(text) == expected


@pytest.mark.parametrize("query", ["Node.js 22.1", "april", "supported until when", "python python"])
def test_bm25_scores_follow_the_formula(query):
    """Scores equal those of the formula written out."""
    [found] = an_index().search([query], limit=10, document_ids=None)

    assert found == pytest.approx(bm25_by_hand(query, TEXTS), rel=1e-5)


def test_bm25_version_in_a_question_finds_that_version_first():
    """22.1 is another version than 22.10, though they share a part."""
    [found] = an_index().search(["Node.js 22.1"], limit=10, document_ids=None)

    assert max(found, key=found.__getitem__) == "a"


def test_bm25_filter_applies_before_the_best_are_taken():
    """With a limit of one, the best allowed passage is found, not the best one and then nothing."""
    [found] = an_index().search(["Node.js"], limit=1, document_ids=["document b"])

    assert list(found) == ["b"]


def test_bm25_ties_are_cut_by_id():
    """Of equal passages the lower ids are kept."""
    bm25 = an_index({f"p{n}": "same words" for n in (3, 1, 2)})

    assert list(bm25.search(["same"], limit=2, document_ids=None)[0]) == ["p1", "p2"]


@pytest.mark.parametrize("texts", [{}, {"a": "...", "b": ""}])
def test_bm25_without_any_term_finds_nothing(texts):
    """An empty snapshot, or one of punctuation, is searched without complaint."""
    assert an_index(texts).search(["anything", ""], limit=5, document_ids=None) == [{}, {}]


def test_fuse_scales_each_side_and_weighs_it():
    """The score is alpha x vector + (1 - alpha) x keyword after both are scaled to 0..1."""
    fused = fuse({"a": 8.0, "b": 4.0, "c": 6.0}, {"b": 0.9, "c": 0.5, "d": 0.1}, alpha=0.25, top_k=4)

    assert dict(fused) == pytest.approx({"a": 0.75, "b": 0.25, "c": 0.75 * 0.5 + 0.25 * 0.5, "d": 0.0})
    assert [id_ for id_, _ in fused] == ["a", "c", "b", "d"]


@pytest.mark.parametrize(("alpha", "expected"), [(0.0, ["k"]), (1.0, ["v"])])
def test_fuse_side_without_weight_takes_no_part(alpha, expected):
    """At 0 and at 1 what only the other side found is not in the result."""
    assert [id_ for id_, _ in fuse({"k": 1.0}, {"v": 1.0}, alpha=alpha, top_k=5)] == expected


def test_fuse_ties_go_to_the_lower_id():
    """Equal scores are ordered by id, whatever order they came in."""
    assert fuse({"b": 1.0, "a": 1.0}, {}, alpha=0.0, top_k=1) == [("a", 1.0)]
