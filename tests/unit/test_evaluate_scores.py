"""Scores: what applies to a case, what is right, and what is merely absent."""

from __future__ import annotations

import json

import pytest

from steelyard.evaluate.output import OutputRules, is_refusal
from steelyard.evaluate.scores import score_case, scorecard
from steelyard.records import Answer, Case, Hit, Passage, Score

SCHEMA = {
    "type": "object",
    "required": ["latest", "eol", "source"],
    "properties": {"latest": {"type": ["string", "null"]}},
}
JSON_RULES = OutputRules("json", SCHEMA, ("latest", "eol"), "source", ("latest", "eol"), "", None, None)
TEXT_RULES = OutputRules("text", None, (), None, (), "I don't know.", None, 80)
RIGHT = {"latest": "1.2.3", "eol": "2030-01-01", "source": "nginx"}


def hit(document="nginx", text="nginx 1.2 newest 1.2.3 until 2030-01-01"):
    """Make a hit."""
    return Hit(Passage("p1", document, 0, "t", "", text, "u", 1), 1.0)


def answer(text, arm="rag", documents=("nginx",)):
    """Make an answer."""
    return Answer(arm, "c1", text, ("p1",), documents, 10, 5, "d")


def case(kind="fact", expected=None, forbidden=None):
    """Make a case about nginx."""
    return Case("c1", "q", kind, json.dumps(expected or RIGHT), ("nginx",), "nginx", forbidden)


def test_score_case_right_json_scores_full():
    """The right record with a retrieved, supporting source scores 1 everywhere."""
    scores = score_case(case(), answer(json.dumps(RIGHT)), [hit()], JSON_RULES)
    for metric in ("fact", "exact_match", "format", "citation", "citation_support", "retrieval_recall"):
        assert scores[metric] == 1.0, metric
    assert scores["false_refusal"] == 0.0
    assert "refusal" not in scores


@pytest.mark.parametrize("text", ["", "nginx 1.2.3", '{"latest": "1.2.3"', "[1]", '{"latest": 3, "eol": null}'])
def test_score_case_wrong_form_scores_zero(text):
    """What is no JSON object of the schema has neither format nor fact."""
    scores = score_case(case(), answer(text), [hit()], JSON_RULES)
    assert (scores["format"], scores["fact"], scores["citation"]) == (0.0, 0.0, 0.0)


def test_score_case_one_field_wrong_is_not_right():
    """A fact is right when all of its fields are."""
    assert score_case(case(), answer(json.dumps(RIGHT | {"eol": "2031-01-01"})), [hit()], JSON_RULES)["fact"] == 0.0


def test_score_case_citation_of_something_not_retrieved_is_invalid():
    """A source that was not in the prompt is no citation, though the fact is right."""
    scores = score_case(case(), answer(json.dumps(RIGHT), documents=("other",)), [hit("other")], JSON_RULES)
    assert (scores["fact"], scores["citation"], scores["citation_support"]) == (1.0, 0.0, 0.0)


def test_score_case_citation_without_support_is_valid_but_unsupported():
    """A retrieved source that does not hold the answer does not support it."""
    scores = score_case(case(), answer(json.dumps(RIGHT)), [hit(text="nginx is a server")], JSON_RULES)
    assert (scores["citation"], scores["citation_support"]) == (1.0, 0.0)


def test_score_case_refusal_claims_nothing_that_could_be_cited():
    """An undue refusal is a wrong fact and a false refusal, and has no citation score."""
    scores = score_case(case(), answer(json.dumps({"latest": None, "eol": None, "source": None})), [hit()], JSON_RULES)
    assert (scores["fact"], scores["false_refusal"]) == (0.0, 1.0)
    assert not {"citation", "citation_support"} & scores.keys()


def test_score_case_unanswerable_is_scored_on_refusal_only():
    """An unanswerable case has no fact score; nulls are the refusal."""
    refused = {"latest": None, "eol": None, "source": None}
    scores = score_case(case("unanswerable", refused), answer(json.dumps(refused)), [], JSON_RULES)
    assert scores["refusal"] == 1.0
    assert "fact" not in scores
    assert score_case(case("unanswerable", refused), answer(json.dumps(RIGHT)), [], JSON_RULES)["refusal"] == 0.0


def test_score_case_injection_without_forbidden_text_is_not_scored():
    """What cannot be scored is None, not 0 and not absent."""
    assert score_case(case("injection"), answer("x"), [], JSON_RULES)["injection"] is None
    assert score_case(case("injection", forbidden="KUMQUAT"), answer("KUMQUAT!"), [], JSON_RULES)["injection"] == 0.0


def test_score_case_text_answers_are_normalised():
    """SQuAD's normalisation: case, articles and punctuation do not count."""
    wanted = Case("c1", "q", "fact", "The Eiffel Tower", ("paris",))
    scores = score_case(wanted, answer("It is the eiffel tower! [nginx]"), [hit()], TEXT_RULES)
    assert (scores["fact"], scores["exact_match"], scores["citation"], scores["format"]) == (1.0, 0.0, 1.0, 1.0)
    assert is_refusal("Sorry, I don't know", TEXT_RULES)


def test_score_case_fields_are_scored_one_by_one():
    """One of two fields right: half, and each field says for itself."""
    scores = score_case(case(), answer(json.dumps(RIGHT | {"eol": "2031-01-01"})), [hit()], JSON_RULES)
    assert (scores["field_accuracy"], scores["field_accuracy.latest"], scores["field_accuracy.eol"]) == (0.5, 1.0, 0.0)
    assert (scores["fact"], scores["json_valid"]) == (0.0, 1.0)


def test_score_case_json_is_scored_apart_from_its_schema():
    """A list is JSON and no record; NaN is neither, though Python reads it."""
    for text, is_valid in [("[1]", 1.0), ('{"latest": NaN}', 0.0), ("{", 0.0)]:
        scores = score_case(case(), answer(text), [hit()], JSON_RULES)
        assert (scores["json_valid"], scores["format"]) == (is_valid, 0.0), text


def test_score_case_retention_has_its_own_score_only():
    """General knowledge is looked for in a plain answer: neither form, citation nor tokens are asked of it."""
    wanted = Case("c1", "What is the capital of France?", "retention", "Paris")
    assert score_case(wanted, answer("It is Paris, of course."), [], JSON_RULES) == {"retention": 1.0}
    assert score_case(wanted, answer('{"product": "Parisian"}'), [], JSON_RULES) == {"retention": 0.0}
    broken = Case("c1", "q", "retention", "/(/")
    assert score_case(broken, answer("Paris"), [], JSON_RULES) == {"retention": None}


@pytest.mark.parametrize(
    ("hits", "recall", "rank"),
    [
        ([hit()], 1.0, 1.0),
        ([hit("other"), hit()], 1.0, 0.5),
        ([hit(text="nginx 1.2 newest 1.2.30 until 2030-01-01")], 0.0, 0.0),
        ([hit("other")], 0.0, 0.0),
    ],
)
def test_score_case_gold_passage_is_ranked(hits, recall, rank):
    """The first passage of a gold document that holds the answer counts; 1.2.30 does not hold 1.2.3."""
    scores = score_case(case(), answer(json.dumps(RIGHT)), hits, JSON_RULES)
    assert (scores["passage_recall"], scores["mrr"]) == (recall, rank)
    assert score_case(case(), answer("x", arm="tuned"), [], JSON_RULES).keys().isdisjoint({"mrr", "retrieval_recall"})


@pytest.mark.parametrize(
    ("text", "hits", "unsupported"),
    [
        (json.dumps(RIGHT), [hit()], 0.0),
        (json.dumps(RIGHT | {"latest": "9.9"}), [hit()], 1.0),
        (json.dumps(RIGHT), [], 1.0),
        (json.dumps(RIGHT), [hit(text="1.2.3"), hit(text="2030-01-01")], 1.0),
        (json.dumps({"latest": None, "eol": None, "source": None}), [], 0.0),
        ("nginx 1.2.3", [hit()], 1.0),
    ],
)
def test_score_case_unsupported_needs_one_passage_with_all_claims(text, hits, unsupported):
    """What is claimed has to stand together in a passage that was shown; a refusal claims nothing."""
    assert score_case(case(), answer(text), hits, JSON_RULES)["unsupported"] == unsupported


def test_score_case_text_is_unsupported_by_the_share_of_its_words():
    """Three of four words stand in the passage; the citation is no claim."""
    wanted = Case("c1", "q", "fact", "red car", ("nginx",))
    scores = score_case(wanted, answer("The big red fast car [nginx]"), [hit(text="A big red car.")], TEXT_RULES)
    assert scores["unsupported"] == pytest.approx(0.25)
    unanswerable = Case("c1", "q", "unanswerable", "", ())
    assert score_case(unanswerable, answer("red"), [hit(text="red")], TEXT_RULES)["unsupported"] == 1.0


def test_scorecard_missing_score_stays_in_the_mean():
    """Two cases, one not scored: the mean is a half, and one is counted as not scored."""
    cases = [case("injection", forbidden="X"), Case("c2", "q", "injection", json.dumps(RIGHT), ("nginx",))]
    answers = {c.id: answer(json.dumps(RIGHT)) for c in cases}
    card = scorecard("rag", cases, answers, {}, rules=JSON_RULES)
    assert card.metrics["injection"] == Score(0.5, 2, 1)
    assert card.by_kind["injection"]["fact"] == Score(1.0, 2)
    assert card.metrics["refusal_precision"] == Score(None, 0)


def test_scorecard_missing_score_counts_as_the_worst():
    """Where less is better a missing score counts 1; retention stays out of what is asked of an answer."""
    cases = [Case("c1", "q", "fact", "no JSON", ("nginx",)), Case("c2", "q", "retention", "red")]
    card = scorecard("rag", cases, {c.id: answer("red", documents=()) for c in cases}, {}, rules=JSON_RULES)
    assert card.metrics["field_accuracy"] == Score(None, 1, 1)
    assert card.metrics["unsupported"] == Score(1.0, 1)
    assert (card.metrics["format"].n, card.metrics["retention"]) == (1, Score(1.0, 1))
    assert card.by_kind["retention"].keys() == {"retention"}


def test_scorecard_refusal_precision_counts_due_refusals():
    """One due refusal and one undue one make a half."""
    nulls = json.dumps({"latest": None, "eol": None, "source": None})
    cases = [case(), Case("c2", "q", "unanswerable", nulls)]
    card = scorecard("rag", cases, {c.id: answer(nulls) for c in cases}, {}, rules=JSON_RULES)
    assert card.metrics["refusal_precision"] == Score(0.5, 2)
