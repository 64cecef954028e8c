"""Pairs and cases out of files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipelines.questions import read_cases, read_pairs
from pipelines.spec import CaseSource, PairSource
from steelyard.records import Case, Pair, Refusal


def _lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _pairs(path: Path) -> list[Pair | Refusal]:
    return list(read_pairs(PairSource(path, "jsonl"), max_bytes=10_000))


def _cases(path: Path, format: str = "jsonl") -> list[Case | Refusal]:
    return list(read_cases(CaseSource(path, format), max_bytes=10_000))


def test_pair_with_an_object_as_output_keeps_its_keys_in_order(tmp_path):
    """An ideal output that is JSON is kept as the compact text that a model is to write."""
    path = _lines(tmp_path / "p.jsonl", {"input": "q", "output": {"z": 1, "a": None, "ü": "é"}, "documents": ["d"]})
    (pair,) = _pairs(path)
    assert isinstance(pair, Pair)
    assert pair.output == '{"z":1,"a":null,"ü":"é"}'
    assert (pair.kind, pair.documents) == ("fact", ("d",))


def test_missing_ids_come_from_content_and_survive_moving(tmp_path):
    """A row without an id has the same one wherever it stands in the file."""
    one, two = {"input": "q", "output": "a"}, {"input": "r", "output": "b"}
    before = [pair.id for pair in _pairs(_lines(tmp_path / "a.jsonl", one, two)) if isinstance(pair, Pair)]
    after = [pair.id for pair in _pairs(_lines(tmp_path / "b.jsonl", two, one)) if isinstance(pair, Pair)]
    assert before == after[::-1]
    assert len(set(before)) == 2


def test_case_of_csv_takes_answer_and_documents_with_semicolons(tmp_path):
    """The five-minute form: a spreadsheet of questions and answers."""
    path = tmp_path / "c.csv"
    path.write_text("question,answer,documents\nWhat?,That,a; b\nWhy?,So,\n")
    first, second = _cases(path, "csv")
    assert isinstance(first, Case)
    assert isinstance(second, Case)
    assert (first.expected, first.documents, first.cluster, first.kind) == ("That", ("a", "b"), "a", "fact")
    assert (second.documents, second.cluster) == ((), second.id)


def test_case_with_all_fields_is_taken_as_given(tmp_path):
    """Nothing that a case says about itself is replaced by a default."""
    row = {
        "id": "c1",
        "question": "q",
        "kind": "injection",
        "expected": {"a": 1},
        "documents": ["d"],
        "cluster": "k",
        "forbidden": "PWNED",
    }
    assert _cases(_lines(tmp_path / "c.jsonl", row)) == [Case("c1", "q", "injection", '{"a":1}', ("d",), "k", "PWNED")]


def test_bad_questions_are_refused_by_field_and_line(tmp_path):
    """Unknown kinds, wrong types, missing fields and repeated ids are named, and the rest is taken."""
    path = _lines(
        tmp_path / "c.jsonl",
        {"id": "a", "question": "q", "expected": "x"},
        {"id": "a", "question": "r", "expected": "x"},
        {"question": "q", "expected": "x", "kind": "fcat"},
        {"question": "q"},
        {"question": ["q"], "expected": "x"},
        {"question": "q", "expected": "x", "documents": [{"id": 1}]},
        {"question": "  ", "expected": "x"},
    )
    first, *refused = _cases(path)
    assert isinstance(first, Case)
    reasons = [(item.location, item.reason) for item in refused if isinstance(item, Refusal)]
    assert [location for location, _ in reasons] == [f"{path}:{line}" for line in range(2, 8)]
    expected = [
        f"the id 'a' is already taken by {path}:1",
        "field 'kind' is 'fcat'; expected one of fact, fresh, unanswerable, format, injection",
        "field 'expected' is missing; the row has: question",
        "field 'question' is a list; expected text",
        "field 'documents' is an object; expected text",
        "field 'question' is empty",
    ]
    assert [reason for _, reason in reasons] == expected
