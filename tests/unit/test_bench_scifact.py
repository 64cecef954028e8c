"""The retrieval benchmark's metric and its made-up queries, by hand."""

from __future__ import annotations

import math

import pytest
from scifact import Abstract, known_items, ndcg_at_10

SENTENCES = "First we measured forty plants in the field. Then we counted all of their leaves twice. Next we compared"
TEXT = f"{SENTENCES} them with those of last year. Leaves had become more numerous in every single plant."


def test_ndcg_of_a_ranking_equals_the_sum_by_hand():
    """Two relevant of three, found at ranks two and three: (1/log2 3 + 1/log2 4) / (1/log2 2 + 1/log2 3)."""
    by_hand = (1 / math.log2(3) + 1 / math.log2(4)) / (1 + 1 / math.log2(3))

    assert ndcg_at_10(["x", "a", "b"], {"a": 1, "b": 1}) == pytest.approx(by_hand)
    assert by_hand == pytest.approx(0.6934, abs=1e-4)


@pytest.mark.parametrize(
    ("ranking", "grades", "expected"),
    [
        (["a", "b"], {"a": 2, "b": 1}, 1.0),
        (["b", "a"], {"a": 2, "b": 1}, (1 + 2 / math.log2(3)) / (2 + 1 / math.log2(3))),
        (["x"] * 10 + ["a"], {"a": 1}, 0.0),
        ([], {"a": 1}, 0.0),
    ],
)
def test_ndcg_knows_grades_and_stops_after_ten(ranking, grades, expected):
    """The ideal is the best order of all that is graded; what comes after rank ten counts nothing."""
    assert ndcg_at_10(ranking, grades) == pytest.approx(expected)


def test_known_items_are_sentences_that_their_abstract_does_not_hold_any_more():
    """A query is taken out of its own abstract, and abstracts too short for that are left alone."""
    corpus = [Abstract("long", "Title", TEXT), Abstract("short", "Title", "Too short.")]

    places, changed, sentences = known_items(corpus)

    assert places == [0]
    assert sentences[0] in TEXT
    assert sentences[0] not in changed[0].text
