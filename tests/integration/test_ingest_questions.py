"""Pairs and cases out of files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.questions import read_cases, read_pairs
from pipelines.spec import CaseSource, PairSource
from steelyard.errors import DataError
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
        "field 'kind' is 'fcat'; expected one of fact, fresh, unanswerable, format, injection, retention",
        "field 'expected' is missing; the row has: question",
        "field 'question' is a list; expected text",
        "field 'documents' is an object; expected text",
        "field 'question' is empty",
    ]
    assert [reason for _, reason in reasons] == expected


KEY = "AKIA" + "QWERTYUIOPASDFGH"  # put together here, so that no scanner takes this file for a leak


def test_pair_with_a_key_stops_and_names_file_and_line_but_never_the_key(tmp_path):
    """What is trained on can be asked for, so a key may not get in, and not into the message either."""
    rows = [{"input": "q", "output": "a"}, {"input": "deploy?", "output": f"use {KEY}"}]
    path = _lines(tmp_path / "p.jsonl", *rows)
    with path.open("a") as file:
        file.write(f'{{"input": 1, "output": "{KEY}"}}\n')
    with pytest.raises(DataError) as caught:
        _pairs(path)
    message = str(caught.value)
    assert f"{path}:2: AWS Access Key" in message
    assert f"{path}:3: AWS Access Key" in message
    assert f"{path}:1" not in message
    assert KEY not in message
    assert "revoke" in (caught.value.remedy or "")


@pytest.mark.parametrize(
    "text",
    [
        "the password is in the vault",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "v1.29.8",
    ],
)
def test_pair_about_passwords_and_checksums_is_taken(tmp_path, text):
    """Talking about secrets is not telling one."""
    assert len(_pairs(_lines(tmp_path / "p.jsonl", {"input": "q", "output": text}))) == 1
