"""Documents out of files: what is taken, what is refused and how it is named."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from pipelines.documents import read_documents
from pipelines.spec import DocumentFormat, DocumentSource
from steelyard.errors import ConfigError
from steelyard.records import Document, Refusal


def _read(folder: Path, format: DocumentFormat, *, max_bytes: int = 10_000) -> list[Document | Refusal]:
    return list(read_documents([(DocumentSource("pages", format, folder), folder)], max_bytes=max_bytes))


def _only(items: list[Document | Refusal]) -> Document:
    assert len(items) == 1
    assert isinstance(items[0], Document), items[0]
    return items[0]


def _reasons(items: list[Document | Refusal], folder: Path) -> dict[str, str]:
    return {str(Path(item.location).relative_to(folder)): item.reason for item in items if isinstance(item, Refusal)}


def test_markdown_front_matter_gives_id_title_and_uri_as_written(tmp_path):
    """Scalars stay as they are written, other fields are ignored, and the body has no front matter."""
    (tmp_path / "page.md").write_text("---\nid: 007\ntitle: 3.10\nuri: https://x/y\ntags: [a]\n---\n# Head\n\nText.")
    document = _only(_read(tmp_path, "markdown"))
    assert (document.id, document.title, document.uri) == ("007", "3.10", "https://x/y")
    assert document.text == "# Head\n\nText."


def test_markdown_without_front_matter_is_named_by_place_and_first_heading(tmp_path):
    """A heading inside a code block is no title."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "page.md").write_text("```\n# comment\n```\n## The title ##\nText.")
    document = _only(_read(tmp_path, "markdown"))
    assert (document.id, document.title, document.uri) == ("deep/page", "The title", "deep/page.md")


def test_markdown_between_two_rules_is_text_not_front_matter(tmp_path):
    """A page that begins with a horizontal rule keeps all its text."""
    (tmp_path / "page.md").write_text("---\nJust prose\n---\nrest")
    assert _only(_read(tmp_path, "markdown")).text == "---\nJust prose\n---\nrest"


def test_html_page_gives_title_and_laid_out_text(tmp_path):
    """Tables stay readable, scripts go, entities and encodings are resolved."""
    (tmp_path / "page.html").write_text(
        '<?xml version="1.0" encoding="utf-8"?><html><head><title> Größe\n&amp; more</title></head>'
        "<body><h1>Head</h1><table><tr><td>a</td><td>é</td></tr></table><script>evil()</script></body></html>"
    )
    document = _only(_read(tmp_path, "html"))
    assert document.title == "Größe & more"
    assert document.text.split() == ["Head", "a", "é"]


def test_rows_of_jsonl_and_csv_are_documents(tmp_path):
    """One document per row; title and uri have defaults, and a CSV cell may hold line breaks."""
    (tmp_path / "a.jsonl").write_text('\ufeff{"id": 1, "text": "one"}\n\n{"id": "2", "text": "two", "title": "T"}\n')
    (tmp_path / "b.csv").write_text('id,text,uri\r\n3,"three\nlines",u\r\n')
    jsonl, csv = _read(tmp_path, "jsonl"), _read(tmp_path, "csv")
    assert [(d.id, d.title, d.uri) for d in jsonl if isinstance(d, Document)] == [
        ("1", "1", "a.jsonl#1"),
        ("2", "T", "a.jsonl#2"),
    ]
    assert (_only(csv).id, _only(csv).text, _only(csv).uri) == ("3", "three\nlines", "u")


def test_files_that_cannot_be_taken_are_refused_by_name(tmp_path):
    """Every bad file is named with its reason, and the good one is taken all the same."""
    (tmp_path / "empty.md").write_bytes(b"")
    (tmp_path / "blank.md").write_text("---\nid: blank\n---\n\n")
    (tmp_path / "latin.md").write_bytes("Größe".encode("latin-1"))
    (tmp_path / "large.md").write_bytes(b"x" * 20_000)
    (tmp_path / "yaml.md").write_text("---\nid: [a\n---\ntext")
    (tmp_path / "type.md").write_text("---\nid: [a]\n---\ntext")
    (tmp_path / "good.md").write_text("good")
    items = _read(tmp_path, "markdown")
    assert [item.id for item in items if isinstance(item, Document)] == ["good"]
    reasons = _reasons(items, tmp_path)
    assert reasons["empty.md"] == "the file is empty (0 bytes)"
    assert reasons["blank.md"] == "the file holds no text"
    assert reasons["latin.md"] == "not UTF-8: byte 0xf6 at offset 2"
    assert reasons["large.md"] == "the file has 20,000 bytes; the limit is 10,000"
    assert reasons["yaml.md"].startswith("the front matter is not valid YAML on its line 3:")
    assert reasons["type.md"] == "field 'id' is a list; expected text"


def test_rows_that_cannot_be_taken_are_refused_by_line(tmp_path):
    """A malformed line is named by file and line, and the lines around it are taken."""
    bad = [b"{bad", b"[1]", b'{"id": "x"}', b'{"id": "y", "text": 7.5}', b'{"id": "z", "text": "\\ud800"}', b"\xff"]
    lines = [b'{"id": "first", "text": "t"}', *bad, b'{"id": "' + b"l" * 20_000 + b'"}', b'{"id": "last", "text": "t"}']
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(lines))
    items = _read(tmp_path, "jsonl")
    assert [item.id for item in items if isinstance(item, Document)] == ["first", "last"]
    reasons = list(_reasons(items, tmp_path).items())
    assert [place for place, _ in reasons] == [f"rows.jsonl:{line}" for line in range(2, 9)]
    expected = [
        "not valid JSON",
        "a list",
        "'text' is missing",
        "'text' is a number",
        "surrogate",
        "0xff",
        "longer than",
    ]
    assert all(word in reason for word, (_, reason) in zip(expected, reasons, strict=True))


def test_csv_rows_that_cannot_be_taken_are_refused_by_line(tmp_path):
    """A row with too few cells, wrong bytes, too much text or an open quote does not take its neighbours with it."""
    (tmp_path / "rows.csv").write_bytes(
        b"id,text\n1,ok\n2\n3,\xff\n4," + b"x" * 20_000 + b'\n5,"two\nlines"\n6,\n7,ok\n8,"open\n'
    )
    items = _read(tmp_path, "csv")
    assert [item.id for item in items if isinstance(item, Document)] == ["1", "5", "7"]
    reasons = _reasons(items, tmp_path)
    assert list(reasons) == ["rows.csv:3", "rows.csv:4", "rows.csv:5", "rows.csv:8", "rows.csv:10"]
    expected = ["1 cells", "not UTF-8", "longer than", "'text' is missing", "not valid CSV"]
    assert all(word in reason for word, reason in zip(expected, reasons.values(), strict=True))


def test_duplicate_id_refuses_the_second_and_names_the_first(tmp_path):
    """Files are read in the order of their names, so that the same one is refused every time."""
    for name in ("b.md", "a.md"):
        (tmp_path / name).write_text(f"---\nid: same\n---\n{name}")
    first, second = _read(tmp_path, "markdown")
    assert isinstance(first, Document)
    assert first.text == "a.md"
    assert isinstance(second, Refusal)
    assert second.location == str(tmp_path / "b.md")
    assert second.reason == f"the document id 'same' is already taken by {tmp_path / 'a.md'}"


def test_missing_path_is_an_error_with_its_remedy(tmp_path):
    """A path that is not there is named, with what to do."""
    with pytest.raises(ConfigError, match="there is no file or folder") as caught:
        _read(tmp_path / "nowhere", "markdown")
    assert str(tmp_path / "nowhere") in str(caught.value)
    assert caught.value.remedy


def test_glob_and_hidden_files_give_the_named_files_only(tmp_path):
    """A pattern takes what it names; a folder leaves hidden files and other endings out."""
    for name in ("a1.md", "a2.md", "b.md", ".hidden.md", "note.txt"):
        (tmp_path / name).write_text(name)
    taken = [item.id for item in _read(tmp_path, "markdown") if isinstance(item, Document)]
    by_glob = [item.id for item in _read(tmp_path / "a*.md", "markdown") if isinstance(item, Document)]
    assert (taken, by_glob) == (["a1", "a2", "b"], ["a1", "a2"])


def test_ten_megabyte_page_is_refused_without_being_read(tmp_path):
    """Memory does not grow with a file over the limit, nor with a line over the limit."""
    (tmp_path / "large.md").write_bytes(b"x" * 10_000_000)
    (tmp_path / "large.jsonl").write_bytes(b'{"id": "' + b"x" * 10_000_000 + b'"}')
    tracemalloc.start()
    refused = [*_read(tmp_path, "markdown"), *_read(tmp_path, "jsonl")]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert all(isinstance(item, Refusal) for item in refused)
    assert len(refused) == 2
    assert peak < 1_000_000


def test_many_files_are_held_one_at_a_time(tmp_path):
    """Reading 20 MB in 400 files takes the memory of a few of them."""
    for number in range(400):
        (tmp_path / f"{number}.txt").write_bytes(b"word " * 10_000)
    items = read_documents([(DocumentSource("pages", "text", tmp_path), tmp_path)], max_bytes=100_000)
    tracemalloc.start()
    count = sum(1 for _ in items)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 400
    assert peak < 1_000_000
