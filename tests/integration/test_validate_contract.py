"""The data contract through Great Expectations itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from steelyard.progress import Silent
from steelyard.records import Case, Document, Pair
from steelyard.validate import ContractError, ValidationReport, ValidationRules, validate


def _documents(count: int = 20) -> list[Document]:
    return [Document(f"d{n}", "pages", f"d{n}.md", f"D {n}", f"Text of page number {n}.", "h") for n in range(count)]


def _pairs(count: int) -> list[Pair]:
    return [Pair(f"p{n}", f"What about item {n}?", f"answer {n}", "fact", (f"d{n % 10}",)) for n in range(count)]


def _cases(count: int = 12) -> list[Case]:
    return [
        Case(f"c{n}", f"What of thing {n}?", "fact", "a", (f"d{10 + n % 10}",), f"d{10 + n % 10}") for n in range(count)
    ]


def _validate(folder: Path, documents=None, pairs=(), cases=None, **rules) -> ValidationReport:
    return validate(
        _documents() if documents is None else documents,
        pairs,
        _cases() if cases is None else cases,
        rules=ValidationRules(**rules),
        docs_folder=folder / "docs",
        progress=Silent(),
    )


def _failed(report: ValidationReport) -> set[tuple[str, str]]:
    return {(result.name, result.severity) for result in report.results if not result.success}


def test_validate_clean_data_is_accepted_whole(tmp_path):
    """Data that keeps the contract passes every rule, and the report opens on a page."""
    report = _validate(tmp_path, pairs=_pairs(500))
    assert (len(report.pairs), len(report.cases), report.refusals, _failed(report)) == (500, 12, (), set())
    assert "accepted_pairs" in report.data_docs.read_text()


def test_validate_499_pairs_stops_with_count_range_and_remedy(tmp_path):
    """One pair too few stops the run and says what to do."""
    with pytest.raises(ContractError, match=r"499 rows; expected 500 to 50,000") as caught:
        _validate(tmp_path, pairs=_pairs(499))
    assert "validation.pairs.minimum" in str(caught.value)
    assert caught.value.exit_code == 3
    assert caught.value.report.data_docs.exists()


def test_validate_no_pairs_is_accepted(tmp_path):
    """A project that has no pairs is weighed without tuning."""
    assert _validate(tmp_path).pairs == ()


def test_validate_leaking_pair_is_quarantined_with_its_reason(tmp_path):
    """A pair on a test document is taken out, named with the case, and the rest goes on."""
    leak = Pair("leak", "What is inside?", "x", "fact", ("d11",))
    report = _validate(tmp_path, pairs=[*_pairs(500), leak])
    assert [(refusal.table, refusal.location, refusal.reason) for refusal in report.refusals] == [
        ("pairs", "pairs: leak", "pair 'leak' leaks case 'c1': both use the document 'd11'")
    ]
    assert leak not in report.pairs
    assert len(report.pairs) == 500


def test_validate_many_leaking_pairs_stop_the_run(tmp_path):
    """Over the share a leak is no accident of single rows."""
    leaks = [Pair(f"leak{n}", f"What is inside {n}?", "x", "fact", ("d11",)) for n in range(100)]
    with pytest.raises(ContractError, match="leaking_pairs") as caught:
        _validate(tmp_path, pairs=[*_pairs(500), *leaks])
    assert len(caught.value.report.refusals) == 100


def test_validate_several_broken_rules_are_all_named(tmp_path):
    """One run tells everything that has to be corrected."""
    pairs = [Pair(f"p{n}", "Always the same?", f"output {n}") for n in range(20)]
    with pytest.raises(ContractError) as caught:
        _validate(tmp_path, pairs=pairs, cases=_cases(3))
    assert all(rule in str(caught.value) for rule in ("contradicting_pairs", "pair_count", "case_count"))


def test_validate_warning_is_reported_and_does_not_stop(tmp_path):
    """Short pages, repeated pairs and unknown documents are told, and only repeats are taken out."""
    documents = [*_documents(), Document("short", "pages", "u", "t", "tiny", "h")]
    pairs = [
        *_pairs(500),
        Pair("again", "What about item 1", "answer 1"),
        Pair("lost", "Where?", "x", "fact", ("gone",)),
    ]
    report = _validate(tmp_path, documents=documents, pairs=pairs)
    assert _failed(report) == {
        ("document_length", "warning"),
        ("duplicate_pairs", "warning"),
        ("unknown_documents", "warning"),
    }
    assert [refusal.location for refusal in report.refusals] == ["pairs: again"]


def test_validate_long_question_names_row_and_limit(tmp_path):
    """A refusal by a range says what was seen and what was expected."""
    report = _validate(tmp_path, cases=[*_cases(), Case("long", "why " * 50, "fact", "a")], max_question_characters=100)
    assert [refusal.reason for refusal in report.refusals] == ["'long': characters 200; expected at most 100"]


def test_validate_text_of_documents_never_reaches_the_pages(tmp_path):
    """Data Docs do not escape, so that markup and placeholders in data must not get there raw."""
    evil = "<script>alert(1)</script> $column ${mostly}"
    documents = [
        *_documents(),
        Document(evil, "pages", "u", evil, evil, "h"),
        Document(evil + "2", "s", "u", "t", evil, "h"),
    ]
    pairs = [*_pairs(500), Pair(evil, evil, evil, "fact", (evil,)), Pair("p", evil, evil, "fact", ("d11",))]
    report = _validate(tmp_path, documents=documents, pairs=pairs)
    pages = list(report.data_docs.parent.rglob("*.html"))
    assert len(pages) >= 10
    assert not [page for page in pages if "<script>alert" in page.read_text()]
    assert any("&lt;script&gt;" in page.read_text() for page in pages)


def test_validate_again_replaces_the_pages_and_repeats_the_digest(tmp_path):
    """The report shows one validation, the newest, and equal data give an equal digest."""
    first = _validate(tmp_path, pairs=_pairs(500))
    count = len(list((tmp_path / "docs").rglob("*.html")))
    second = _validate(tmp_path, pairs=_pairs(500))
    assert second.digest == first.digest
    assert len(list((tmp_path / "docs").rglob("*.html"))) == count
    assert [path.name for path in tmp_path.iterdir()] == ["docs"]
