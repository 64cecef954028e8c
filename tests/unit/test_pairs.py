"""Pairs and cases from tables and logs."""

from __future__ import annotations

import json

import pytest

from steelyard.cli.app import run_program
from steelyard.errors import ConfigError
from steelyard.pairs import LogFields, RowError, pair_of_log, pair_of_row, parse_templates, split_by_document

TEMPLATE = """
input:
  - What is the latest release of {{ product }} {{ cycle }}?
  - "{{ product }} {{ cycle }}: newest release?"
output: {latest: "{{ latest }}", eol: "{{ eol }}", source: "{{ product }}"}
document: "{{ product }}"
"""
ROW = {"product": "nginx", "cycle": "1.29", "latest": "1.29.8", "eol": ""}


def template(text=TEMPLATE):
    """Return the first template of a text."""
    return parse_templates(text, name="t.yaml")[0]


def test_pair_of_row_fills_a_phrasing_and_a_json_output():
    """A cell that is empty becomes null, keys stay in their order, the document is named."""
    pair = pair_of_row(ROW, template(), seed=1)
    assert pair.output == '{"latest":"1.29.8","eol":null,"source":"nginx"}'
    assert "nginx 1.29" in pair.input
    assert pair.documents == ("nginx",)


def test_pair_of_row_phrasings_vary_with_rows_and_stay_with_the_seed():
    """The same row and seed give the same question; rows do not all get the same phrasing."""
    rows = [{**ROW, "cycle": str(number)} for number in range(20)]
    asked = [pair_of_row(row, template(), seed=1).input for row in rows]
    assert asked == [pair_of_row(row, template(), seed=1).input for row in rows]
    assert len({question.startswith("What") for question in asked}) == 2


def test_pair_of_row_missing_column_is_named():
    """A variable that no column gives is an error of the row, not an empty text."""
    with pytest.raises(RowError, match="latest"):
        pair_of_row({"product": "nginx", "cycle": "1", "eol": ""}, template(), seed=1)


def test_pair_of_row_template_cannot_reach_into_python():
    """A template is somebody's file: it runs in Jinja's sandbox."""
    with pytest.raises(RowError, match=r"unsafe|undefined"):
        pair_of_row(ROW, template(TEMPLATE.replace("{{ latest }}", "{{ ''.__class__.__mro__ }}")), seed=1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("input: [", "not YAML"),
        ("- just text", "template 1 is no mapping"),
        ("input: a\noutput: b", "lacks document"),
        ("input: a\noutput: b\ndocument: c\ncolour: d", "unknown colour"),
        ("input: a\noutput: b\ndocument: c\nkind: guess", "expected one of fact, unanswerable"),
    ],
)
def test_parse_templates_bad_template_names_the_field(text, said):
    """What is wrong with a template is told before any row is read."""
    with pytest.raises(ConfigError, match=said):
        parse_templates(text, name="t.yaml")


def test_pair_of_log_takes_rated_answers_and_their_documents():
    """Low ratings are left out, objects become compact JSON, documents may stand in one text."""
    names = LogFields("prompt", "reply", "pages", "stars", 4)
    row = {"prompt": "q", "reply": {"a": 1}, "pages": "x; y", "stars": "5"}
    pair = pair_of_log(row, names)
    assert (pair.input, pair.output, pair.documents) == ("q", '{"a":1}', ("x", "y"))
    assert pair_of_log({**row, "stars": 3}, names) is None
    with pytest.raises(RowError, match="stars"):
        pair_of_log({**row, "stars": "good"}, names)
    with pytest.raises(RowError, match="reply"):
        pair_of_log({"prompt": "q", "stars": 5}, names)


def test_split_by_document_keeps_documents_on_one_side():
    """No document gives pairs and cases."""
    documents = [(f"d{number // 4}",) for number in range(80)]
    sides = split_by_document(documents, share=0.25, seed=3)
    by_document = {}
    for names, side in zip(documents, sides, strict=True):
        by_document.setdefault(names, set()).add(side)
    assert all(len(found) == 1 for found in by_document.values())
    assert sides.count("case") == 20


def test_pairs_from_table_writes_files_that_a_project_takes(tmp_path, monkeypatch, capfd):
    """The whole command: pairs and cases about different documents; a row that cannot be used is named."""
    monkeypatch.chdir(tmp_path)
    rows = [f"p{number // 3},{number},v{number},2030-01-0{number % 9 + 1}" for number in range(30)]
    (tmp_path / "facts.csv").write_text("product,cycle,latest,eol\n" + "\n".join([*rows, "broken"]) + "\n")
    (tmp_path / "t.yaml").write_text(TEMPLATE)
    words = ["pairs", "from-table", "facts.csv", "--template", "t.yaml", "--cases", "cases.jsonl", "--json"]
    assert run_program(words) == 0
    made = json.loads(capfd.readouterr().out)
    assert (made["pairs"] + made["cases"], made["cases"] >= 6) == (30, True)
    assert "facts.csv:32" in made["refused"][0]
    pairs, cases = ([json.loads(line) for line in (tmp_path / name).open()] for name in ("pairs.jsonl", "cases.jsonl"))
    assert not {pair["documents"][0] for pair in pairs} & {case["documents"][0] for case in cases}
    assert {"id", "question", "expected", "kind", "documents"} == cases[0].keys()


def test_pairs_from_log_without_a_usable_row_is_refused(tmp_path, monkeypatch, capfd):
    """A log with other fields is refused with the fields that it has."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.jsonl").write_text('{"q": "a", "a": "b"}\n')
    assert run_program(["pairs", "from-log", "log.jsonl"]) == 3
    assert "the row has: q, a" in capfd.readouterr().err
