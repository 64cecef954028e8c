"""A run's outcome in the terminal and as JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path

import jsonschema
import pytest

from steelyard.cli.report import details, next_steps, promotion_in_words, show_report
from steelyard.cli.streams import console
from steelyard.cli.words import seconds_in_words, share
from steelyard.records import Comparison, Interval, Power, Rule, Score, Snapshot, TuneDecision, Verdict
from steelyard.report import Digests, ModelVersion, RunReport, Work

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schemas/run.schema.json").read_text(encoding="utf-8"))


def scores(fact: float | None) -> dict[str, Score]:
    """Return an arm's scores as a run reports them."""
    return {
        "fact": Score(fact, 130, 130 if fact is None else 0),
        "format": Score(0.85, 130, 2),
        "refusal": Score(0.5, 20),
        "citation": Score(0.25, 110),
        "prompt_tokens": Score(1234.4, 130),
        "completion_tokens": Score(40.0, 130),
        "latency_p50_seconds": Score(1.26, 6),
        "setup_seconds": Score(75.0, 1),
        "update_seconds": Score(None, 1),
    }


def report(**changes) -> RunReport:
    """Return the report of a run that promoted RAG."""
    rule = Rule("fact", 0.4, 0.2, True, "fact 0.4 over 130, asked at least 0.2")
    fields = {
        "run_id": "abc",
        "project": "mine",
        "snapshot": Snapshot(2, "2026-08-22", "ab12", 80),
        "precision": "bfloat16 on cpu",
        "promoted": "rag",
        "decision": TuneDecision(False, ("there are no training pairs",), ("add sources.pairs",)),
        "verdicts": {
            "base": Verdict("base", "reject", ("fact 0.1 over 130, asked at least 0.2",), (rule,)),
            "rag": Verdict("rag", "promote", ("the only arm that reaches the minimum",), (rule,)),
        },
        "scores": {"base": scores(None), "rag": scores(0.4)},
        "intervals": {"rag": {"fact": Interval(0.31, 0.49, 0.95, "Wilson")}},
        "comparisons": (Comparison("fact", "rag", "base", 0.3, None, 40, 1, 89, 40, 0.0001, 0.0001),),
        "power": Power(130, 40, 0.2, 0.05, 0.8, 0.11, 120),
        "baseline": "rag",
        "work": Work(documents_loaded=80, passages_embedded=381),
        "digests": Digests("a1", "b2", "c3", None),
        "seconds": {"ingest": 1.5, "index": 20.25},
        "model_version": ModelVersion("mine", "3", "champion", "models:/mine@champion"),
        "refused": 2,
        "warnings": ("few cases",),
    }
    return RunReport(**(fields | changes))


def shown(run: RunReport, **places) -> str:
    """Return what a person sees."""
    stream = io.StringIO()
    defaults = {"project_file": Path("my file.yaml"), "tracking_uri": "sqlite:///m.db", "data_docs": Path("nowhere")}
    show_report(console(stream), run, **(defaults | places))
    return stream.getvalue()


@pytest.mark.parametrize(
    "changes",
    [{}, {"promoted": None, "model_version": None}, {"digests": Digests("a1", "b2", "c3", "d4")}, {"scores": {}}],
)
def test_report_as_json_fits_the_schema(changes):
    """What `run --json` prints is what the schema says."""
    value = json.loads(json.dumps(report(**changes).plain(), allow_nan=False))
    jsonschema.Draft202012Validator(SCHEMA).validate(value)


def test_report_schema_refuses_what_it_does_not_know():
    """The schema is closed: a field that is not documented fails it."""
    value = {**json.loads(json.dumps(report().plain())), "surprise": 1}
    with pytest.raises(jsonschema.ValidationError, match="surprise"):
        jsonschema.Draft202012Validator(SCHEMA).validate(value)


def test_report_shows_each_arm_with_scores_costs_and_ruling():
    """The table holds every column that a newcomer was promised, in the order of the arms."""
    text = shown(report())
    base, rag = (next(line for line in text.splitlines() if f"│ {arm} " in line) for arm in ("base", "rag"))
    assert text.index(base) < text.index(rag)
    cells = [cell.strip() for cell in rag.split("│")[1:-1]]
    assert cells == [
        "rag", "0.40 [0.31, 0.49]", "0.85 (2 not scored)", "0.50", "0.25", "1,234 + 40", "1.3 s", "1 min 15 s", "–",
        "promote",
    ]  # fmt: skip
    assert base.split("│")[2].strip() == "–"
    for heading in ("fact", "format", "refusal", "citation", "tokens", "p50 latency", "set-up", "update", "verdict"):
        assert heading in text


def test_report_tells_verdict_reasons_work_and_digests():
    """Below the table stand the outcome, its reasons and the counts of work."""
    text = shown(report())
    assert "rag is promoted: mine version 3, models:/mine@champion" in text
    assert "rag: promote - the only arm that reaches the minimum" in text
    assert "Tuning: skipped - there are no training pairs" in text
    assert "Power: 130 cases of 40 documents, 20% disagreement: this gate can see 11 points" in text
    assert "Baseline: rag" in text
    assert "Warning: few cases" in text
    assert "2 rows are in quarantine" in text
    assert "0 answers generated, 0 tokens generated, 0 steps trained" in text
    assert "80 documents loaded, 381 passages embedded" in text
    assert "warehouse a1, index b2, answers c3\n" in text
    assert "ingest 1.5, index 20.2" in text


def test_report_next_steps_are_commands_that_work(tmp_path):
    """The commands name this project, quoted for a shell, and only pages that are there."""
    steps = list(
        next_steps(report(), project_file=Path("my file.yaml"), tracking_uri="sqlite:///m.db", data_docs=tmp_path)
    )
    assert steps == ["steelyard ask \"...\" --project 'my file.yaml'", "mlflow ui --backend-store-uri sqlite:///m.db"]
    (tmp_path / "index.html").write_text("docs")
    challenger = report(model_version=ModelVersion("mine", "4", "challenger", "models:/mine@challenger"))
    steps = list(next_steps(challenger, project_file=Path("a.yaml"), tracking_uri="http://m:5000", data_docs=tmp_path))
    assert steps == [
        'steelyard ask "..." --project a.yaml --alias challenger',
        "runs and models: http://m:5000",
        f"data docs: {tmp_path / 'index.html'}",
    ]


def test_report_without_promotion_says_so():
    """No winner is an outcome, not an error, and nothing can be asked."""
    text = shown(report(promoted=None, model_version=None))
    assert promotion_in_words(report(promoted=None, model_version=None)) == "No arm is promoted."
    assert "steelyard ask" not in text


def test_report_shows_brackets_as_text():
    """Text from data is never taken for markup."""
    assert "[bold]odd[/bold]" in shown(report(warnings=("[bold]odd[/bold]",)))
    assert any("[/]" in line for line in details(report(warnings=("[/]",))))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (9.96, "10.0 s"),
        (59.6, "1 min 0 s"),
        (61, "1 min 1 s"),
        (3_600, "1 h 0 min"),
        (7_530, "2 h 6 min"),
    ],
)
def test_seconds_in_words(seconds, words):
    """Durations are read at a glance, and never show 60 seconds."""
    assert seconds_in_words(seconds) == words


def test_share_of_nothing_is_a_dash():
    """Not scored is not zero."""
    assert (share(None), share(Score(None, 3, 3)), share(Score(0.0, 3))) == ("–", "–", "0.00")


def test_details_tell_upkeep_where_it_was_measured():
    """Shares, seconds and money with their units; never where nothing helps, nothing where nothing was measured."""
    measured = {
        "fresh_after_update": Score(0.4, 20),
        "seconds_until_right": Score(None, 1),
        "cost_per_1000_queries": Score(0.05, 1),
        "cost_per_correct_answer": Score(None, 0),
    }
    lines = list(details(report(scores={"base": scores(0.1), "rag": measured}, currency="EUR")))
    told = [line for line in lines if line.startswith("Upkeep")]
    assert told == ["Upkeep of rag: right after an update 40%, until right never, 1,000 questions 0.05 EUR"]
