"""Texts compared, and what a project's answers look like."""

from __future__ import annotations

import json

import pytest

from steelyard.evaluate.output import OutputRules, has_format, is_json, refusal_of, supports
from steelyard.evaluate.text import holds, matches, stands_in, token_f1, token_precision

JSON_RULES = OutputRules("json", None, ("latest", "eol"), "source", ("latest", "eol"), "", None, None)
TEXT_RULES = OutputRules("text", None, (), None, (), "I don't know.", r"\w+\.", 10)


def test_token_f1_partial_overlap_is_the_harmonic_mean():
    """Two of three and two of two tokens shared: 2 * 2 / 5."""
    assert token_f1("red big car", "red car") == pytest.approx(0.8)


def test_token_precision_counts_a_token_as_often_as_the_context_has_it():
    """Saying red three times is not supported by saying it once."""
    assert token_precision("red red red car", "A red car") == pytest.approx(0.5)
    assert token_precision("the", "anything") == 1.0


@pytest.mark.parametrize(
    ("text", "expected", "answer"),
    [
        ("It is the Eiffel Tower!", "eiffel tower", True),
        ("patch 3.14", "3.1", False),
        ("fourteen 14", "4", False),
        ("anything", "The!", None),
    ],
)
def test_holds_compares_whole_words(text, expected, answer):
    """A word inside a word is another word; an expectation of nothing cannot be scored."""
    assert holds(text, expected) is answer


@pytest.mark.parametrize(
    ("text", "expected", "answer"),
    [
        ("There are Twelve.", r"/\b(12|twelve)\b/", True),
        ("112", r"/\b12\b/", False),
        ("x", "/[/", None),
        ("a/b", "b", None),
    ],
)
def test_matches_takes_a_regular_expression_between_slashes(text, expected, answer):
    """Case does not count; what is no regular expression is not scored."""
    assert matches(text, expected) is (answer if expected.startswith("/") else False)


@pytest.mark.parametrize(
    ("value", "text", "answer"),
    [
        ("3.1", "Python 3.1, out since", True),
        ("3.1", "ends with v3.1.", True),
        ("3.1", "3.11", False),
        ("3.1", "3.1.4", False),
        ("3.1", "1.3.1", False),
        ("2024-01", "2024-01-05", False),
        ("C++", "written in C++.", True),
        (7, "patch 7 of 17", True),
        (7, "patch 17", False),
    ],
)
def test_stands_in_finds_a_value_by_itself(value, text, answer):
    """A version is not a part of another version, a number not a part of another number."""
    assert stands_in(value, text) is answer


def test_supports_needs_every_fact_field_and_ignores_what_is_null():
    """Text is compared by words, a record by its fact fields."""
    expected = json.dumps({"latest": "1.2", "eol": None, "source": "elsewhere"})
    assert supports("newest is 1.2", expected, JSON_RULES)
    assert not supports("newest is 1.2.9", expected, JSON_RULES)
    assert supports("It was the red car.", "red car", TEXT_RULES)


def test_refusal_of_json_keeps_keys_and_nulls_the_refusal_fields():
    """A refusal has the form of the answer that it replaces."""
    record = {"latest": "1", "eol": "2", "source": "nginx"}
    assert json.loads(refusal_of(json.dumps(record), JSON_RULES)) == {"latest": None, "eol": None, "source": "nginx"}
    assert refusal_of("red", TEXT_RULES) == "I don't know."


def test_has_format_of_text_is_pattern_and_length():
    """Both rules have to hold, from start to end."""
    assert [has_format(text, TEXT_RULES) for text in ("red. ", "red", "red. blue.", "r" * 10 + ".")] == [
        True, False, False, False,
    ]  # fmt: skip


def test_is_json_is_strict_about_constants():
    """NaN and Infinity are Python's, not JSON's."""
    assert [is_json(text) for text in ("1", " {} ", "NaN", "[Infinity]", "", "{'a': 1}")] == [
        True, True, False, False, False, False,
    ]  # fmt: skip
