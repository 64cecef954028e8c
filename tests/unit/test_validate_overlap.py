"""What pairs and cases have in common."""

from __future__ import annotations

import random

import pytest

from steelyard.records import Case, Pair
from steelyard.validate import overlap


def _case(id_: str, question: str, *documents: str, cluster: str = "") -> Case:
    return Case(id_, question, "fact", "answer", documents, cluster or id_)


@pytest.mark.parametrize(
    ("one", "other"),
    [("What is new?", "what  is NEW"), ("Latest of Django 4.2?", "latest of django 4.2"), ("Größe!", "größe")],
)
def test_normalise_same_question_in_other_spelling_is_equal(one: str, other: str):
    """Case, spacing and punctuation do not make another question."""
    assert overlap.normalise(one) == overlap.normalise(other)


def test_normalise_versions_that_differ_by_a_dot_stay_apart():
    """The point of a version number is no punctuation."""
    assert overlap.normalise("Python 3.1 0") != overlap.normalise("Python 3.10")


def test_normalise_text_without_words_is_kept():
    """Two texts of signs only are not the same question."""
    assert overlap.normalise("???") != overlap.normalise("!!!")


def test_leaks_pair_on_a_test_document_names_pair_and_case():
    """A pair whose document a case uses gives that case away."""
    cases = [_case("case-1", "what?", "django")]
    found = overlap.leaks([Pair("p1", "hello", "x", documents=("flask", "django")), Pair("p2", "hi", "x")], cases)
    assert found == ["pair 'p1' leaks case 'case-1': both use the document 'django'", None]


def test_leaks_pair_on_a_test_cluster_is_found_without_documents():
    """A case without documents is protected by its cluster."""
    found = overlap.leaks([Pair("p1", "hello", "x", documents=("django",))], [_case("c", "what?", cluster="django")])
    assert found[0] is not None


def test_leaks_same_question_without_documents_is_found():
    """A question that is asked in a test is no training input."""
    found = overlap.leaks([Pair("p1", "What is new in 4.2", "x")], [_case("c", "what is new in 4.2?")])
    assert found == ["pair 'p1' leaks case 'c': both ask the same question"]


def test_contradictions_same_input_with_two_outputs_finds_both():
    """Neither of two outputs can be known to be the right one."""
    pairs = [Pair("a", "Same?", "1"), Pair("b", "same", "2"), Pair("c", "other", "1"), Pair("d", "Same?", "1")]
    found = overlap.contradictions(pairs)
    assert [reason is not None for reason in found] == [True, True, False, True]
    assert "'b'" in str(found[0])


def test_contradictions_repeated_pair_is_none():
    """The same output twice is a duplicate, no contradiction."""
    assert overlap.contradictions([Pair("a", "x", "1"), Pair("b", "x", "1")]) == [None, None]


def test_duplicates_second_row_names_the_first():
    """The first row with a key stays, later ones name it."""
    assert overlap.duplicates([("k",), ("l",), ("k",)], ["a", "b", "c"], "pair") == [
        None,
        None,
        "pair 'c' repeats pair 'a'",
    ]


def test_similar_templates_with_another_name_are_not_similar():
    """Questions from one template about two products are different questions."""
    cases = [_case("c", "What is the latest patch release of Django 4.2, and when does its support end?")]
    pairs = [Pair("p", "What is the latest patch release of Flask 2.0, and when does its support end?", "x")]
    assert overlap.similar(pairs, cases) == [None]


def test_similar_prefix_filter_finds_what_comparing_all_finds():
    """The index leaves no pair out that shares nine tenths of its trigrams with a case."""
    rng = random.Random(5)  # noqa: S311 - reproducible data, no secret
    words = [f"w{number}" for number in range(40)]
    cases = [_case(f"c{n}", " ".join(rng.choices(words, k=rng.randint(1, 60)))) for n in range(60)]
    pairs = []
    for number in range(200):
        text = rng.choice(cases).question.split()
        for _ in range(rng.choice([0, 1, 1, 2])):
            text.insert(rng.choice([0, len(text)]), rng.choice(words))
        pairs.append(Pair(f"p{number}", " ".join(text), "x"))

    def shares(pair: Pair, case: Case) -> bool:
        one, other = (overlap._trigrams(text) for text in (pair.input, case.question))
        return len(one & other) / len(one | other) >= 0.9

    expected = [any(shares(pair, case) for case in cases) for pair in pairs]
    assert any(expected)
    assert not all(expected)
    assert [reason is not None for reason in overlap.similar(pairs, cases)] == expected


def test_unknown_documents_missing_one_is_named():
    """Only documents that are not in the snapshot are reported."""
    found = overlap.unknown_documents([Pair("p", "x", "y", documents=("a", "b"))], frozenset({"a"}))
    assert found == ["'p' names documents that are not there: b"]
