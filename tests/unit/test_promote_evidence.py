import json

from steelyard.promote.evidence import metric_values
from steelyard.promote.verdict_table import verdict_table
from steelyard.records import Score, Scorecard, Verdict

BASE = Scorecard(
    "base", {"fact": Score(0.25, 8), "citation": Score(None, 8, 8)}, {"fresh": {"fact": Score(0.5, 2)}}, {}
)
RAG = Scorecard("rag", {"fact": Score(0.75, 8, 1), "citation": Score(1.0, 8)}, {}, {})
VERDICTS = {"rag": Verdict("rag", "promote", ("better | clearly",))}


def test_metric_values_scores_by_arm_and_kind_unscored_left_out():
    """A score that could not be taken is neither zero nor there."""
    assert metric_values({"base": BASE, "rag": RAG}) == {
        "base/fact": 0.25,
        "base/fresh/fact": 0.5,
        "rag/fact": 0.75,
        "rag/citation": 1.0,
    }


def test_verdict_table_markdown_shows_every_arm_and_escapes_cells():
    """The table keeps the arms' order, says what was not scored, and a reason cannot break it."""
    lines = verdict_table({"rag": RAG, "base": BASE}, VERDICTS).markdown.splitlines()
    assert lines[0] == "| arm | verdict | fact | citation |"
    assert lines[2] == "| base | not judged | 0.25 | not scored |"
    assert lines[3] == "| rag | promote | 0.75 (1 of 8 not scored) | 1 |"
    assert lines[-1] == r"- better \| clearly"


def test_verdict_table_json_holds_scores_with_their_counts():
    """The form for programs keeps value, n and what was not scored."""
    rows = json.loads(verdict_table({"rag": RAG, "base": BASE}, VERDICTS).json)
    assert rows["base"]["scores"]["citation"] == {"value": None, "n": 8, "not_scored": 8}
    assert rows["base"]["verdict"] is None
    assert rows["rag"]["verdict"]["ruling"] == "promote"
