"""What a dossier says in sentences, tables and answers side by side."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from dossier_sample import SCRIPT, dossier, judgement, scorecard

from steelyard.dossier.criteria import decision_table
from steelyard.dossier.flips import compared_pair, field_rows, flipped_cases
from steelyard.dossier.headline import headline, reason, what_would_change
from steelyard.dossier.summary import report_markdown, summary_markdown
from steelyard.dossier.views import break_even_words, kind_rows, rule_rows, shown_comparisons
from steelyard.records import ARMS, Score, Verdict

EVERYTHING = dossier()


def without_winner(ruling: str):
    """Return the sample with nobody promoted and this ruling on hybrid."""
    made = judgement()
    hybrid = replace(made.verdicts["hybrid"], ruling=ruling, reasons=("not significant",))
    rag = replace(made.verdicts["rag"], ruling="reject")
    return dossier(judgement=replace(made, verdicts={**made.verdicts, "hybrid": hybrid, "rag": rag}))


def test_headline_tells_winner_its_value_its_lead_and_its_rules():
    """One sentence: who, how good with interval, against whom, and the rules."""
    assert headline(EVERYTHING) == "hybrid is promoted"
    assert reason(EVERYTHING) == (
        "it reaches 100% on right facts over 16 cases (95% interval 92–100%), 56 points above RAG, "
        "and keeps all 2 rules"
    )


@pytest.mark.parametrize(
    ("ruling", "told"),
    [("reject", "the best on the objective is hybrid: not significant"), ("cannot tell", "undecided: hybrid: not sig")],
)
def test_headline_without_winner_tells_the_nearest(ruling, told):
    """No winner is an outcome with a reason of its own."""
    nobody = without_winner(ruling)
    assert headline(nobody) == "No arm is promoted"
    assert reason(nobody).startswith(told)


def test_what_would_change_counts_answers_that_are_missing():
    """A failed rule says by how much, the promoted arm what it would fall over first, power how many cases."""
    lines = what_would_change(EVERYTHING)
    assert "base would need right facts of 30% instead of 0% (5 of 16 answers) and right format of 95%" in lines[0]
    assert any(line.startswith("hybrid would lose its promotion first over right format: 100%") for line in lines)
    assert lines[-1] == "About 140 cases would settle what cannot be told about RAG with 24."


def cells(name: str) -> dict[str, tuple[str, str, bool]]:
    """Return a row of the decision table: text, interval and whether it is the best, by arm."""
    rows = [row for criterion in decision_table(EVERYTHING) for row in criterion.rows if row.metric.name == name]
    return {cell.arm: (cell.text, cell.interval, cell.is_best) for cell in rows[0].cells}


def test_decision_table_has_values_intervals_and_the_best():
    """The seven criteria are there; values carry their interval; costs are better when they are small."""
    names = [criterion.name for criterion in decision_table(EVERYTHING)]
    assert {"Update cost", "Freshness", "Hallucination", "Set-up effort", "Cost of a query", "Explainability"} < set(
        names
    )
    assert cells("fact")["hybrid"] == ("100%", "92–100%", True)
    assert cells("fact")["rag"] == ("44%", "36–52%", False)
    assert cells("latency_p50_seconds")["base"] == ("0.5 s", "", True)
    assert cells("pairs") == {
        "base": ("none", "", False),
        "rag": ("none", "", False),
        "tuned": ("600", "", False),
        "hybrid": ("600", "", False),
    }


def test_decision_table_tells_not_measured_never_and_not_scored_apart():
    """None is not zero, and there are three reasons for it."""
    assert set(cells("fresh_after_update").values()) == {("not measured", "", False)}
    assert set(cells("cost_per_1000_queries").values()) == {("not measured", "", False)}
    cards = {arm: scorecard(arm) for arm in ARMS}
    changed = {"seconds_until_right": Score(None, 1), "citation": Score(None, 16, 16)}
    cards["base"] = replace(cards["base"], metrics={**cards["base"].metrics, **changed})
    rows = {row.metric.name: row for criterion in decision_table(dossier(scorecards=cards)) for row in criterion.rows}
    assert rows["seconds_until_right"].cells[0].text == "never"
    assert rows["citation"].cells[0].text == "not scored"


def test_flipped_cases_put_what_the_winner_gets_wrong_first():
    """Cases that all arms get alike are left out; a loss of the promoted arm is what a reviewer looks for."""
    flips = flipped_cases(EVERYTHING)
    assert 0 < len(flips) < 24
    won = [next(mark for mark in flip.marks if mark.arm == "hybrid").word == "right" for flip in flips]
    assert won == sorted(won)
    assert compared_pair(EVERYTHING) == ("hybrid", "rag")
    unscored = next(flip for flip in flips if flip.case.id == "fresh-7")
    assert [mark.word for mark in unscored.marks if mark.arm == "rag"] == ["not scored"]
    assert {shown.arms for shown in flips[0].passages} == {("rag", "hybrid")}


def test_field_rows_compare_json_field_by_field():
    """Null and the text "null" differ, so do a number and its text; a field that is not asked for stands out."""
    expected = json.dumps({"latest": "null", "eol": None, "count": 2})
    answers = {"rag": json.dumps({"latest": None, "eol": None, "count": "2", "note": "x"}), "base": "sorry"}
    rows = {row.name: row for row in field_rows(expected, answers)}
    assert [answer.is_same for answer in rows["latest"].answers] == [False, False]
    assert (rows["latest"].expected, rows["latest"].answers[0].text) == ('"null"', "null")
    assert [answer.is_same for answer in rows["eol"].answers] == [True, False]
    assert rows["count"].answers[0].is_same is False
    assert (rows["note"].expected, rows["note"].answers[0].is_same, rows["note"].arms) == (None, False, ["rag"])
    assert rows["answer as text"].arms == ["base"]


def test_field_rows_of_text_are_one_row():
    """Where no JSON is expected the whole answer is compared."""
    (row,) = field_rows("Paris", {"base": " Paris\n", "rag": "Rome"})
    assert [answer.is_same for answer in row.answers] == [True, False]


def test_rows_of_kinds_have_intervals_over_documents():
    """Every kind has its own measure of right, with an interval that holds the value."""
    rows = {row.kind: row for row in kind_rows(EVERYTHING)}
    assert list(rows) == ["fact", "fresh", "unanswerable"]
    assert (rows["unanswerable"].label, rows["unanswerable"].cases) == ("Unanswerable, declined", 8)
    for _, score, interval in rows["fact"].scores:
        assert interval.low <= score.value <= interval.high


def test_comparisons_are_seen_from_the_promoted_arm():
    """A comparison that was computed the other way round is turned, interval and counts with it."""
    (shown,) = shown_comparisons(EVERYTHING)
    assert (shown.arm, shown.baseline, shown.wins, shown.losses) == ("hybrid", "rag", 6, 0)
    assert (shown.interval.low, shown.interval.high) == (0.1, 0.6)


def test_rules_and_break_even_in_words():
    """Each rule has what was measured, its interval and its limit; break-even tells never from not measured."""
    rule = rule_rows(EVERYTHING)[0]
    assert (rule.arm, rule.measured, rule.interval, rule.limit, rule.is_passed) == ("base", "0%", "0–8%", "30%", False)
    assert break_even_words(EVERYTHING) == "Break-even against RAG: not measured."
    cards = {arm: scorecard(arm) for arm in ARMS}
    for arm, value in (("tuned", 1_200.0), ("hybrid", None)):
        cards[arm] = replace(cards[arm], metrics={**cards[arm].metrics, "break_even_queries_per_day": Score(value, 1)})
    assert break_even_words(dossier(scorecards=cards)).endswith("tuned from 1,200 questions a day; hybrid never.")


def test_markdown_holds_verdict_table_and_no_markup_from_data():
    """The summary fits a registry's description; what comes from data is shown, not interpreted."""
    summary = summary_markdown(EVERYTHING)
    assert summary.startswith("**Hybrid is promoted**: it reaches 100% on right facts")
    assert "| Right facts | 0% (0–8%) | 44% (36–52%), 1 of 16 not scored | 25% (17–33%) | 100% (92–100%) |" in summary
    assert len(summary) < 4_000
    whole = report_markdown(EVERYTHING)
    assert SCRIPT not in whole
    assert "\\<script\\>" in whole
    assert "Data, warehouse: 8f09" in whole


def test_dossier_of_one_arm_without_judgement_is_told_as_such():
    """A verdict for an arm that is missing, or one arm alone, is no error."""
    alone = dossier(
        scorecards={"base": scorecard("base")},
        judgement=replace(judgement(), verdicts={"base": Verdict("base", "reject", ("too low",))}, comparisons=()),
    )
    assert compared_pair(alone) is None
    assert flipped_cases(alone) == []
    assert reason(alone) == "the best on the objective is base: too low"
