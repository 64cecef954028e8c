"""Documents out of files: Markdown with front matter, HTML, plain text, and rows of JSONL and CSV.

Belongs here: one generator that yields documents and refusals and holds one file at a time. Not here: where the
documents go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.files import SourceFile, list_files
from pipelines.rows import FieldError, Row, describe_not_utf8, read_rows, refuse, text_field
from pipelines.spec import DocumentFormat, DocumentSource
from steelyard.fingerprint import digest_lines
from steelyard.records import Document, Refusal

TABLE = "documents"
SUFFIXES: Mapping[DocumentFormat, tuple[str, ...]] = {
    "markdown": (".md", ".markdown"),
    "html": (".html", ".htm"),
    "text": (".txt",),
    "jsonl": (".jsonl",),
    "csv": (".csv",),
}
_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$")
_FENCE = re.compile(r"^(```|~~~)")


def list_source_files(source: DocumentSource, path: Path) -> list[SourceFile]:
    """Return the files of a document source at one of its paths; raises `ConfigError` when the path is missing."""
    return list_files(path, SUFFIXES[source.format], subject=f"document source {source.name!r}")


def read_documents(sources: Sequence[tuple[DocumentSource, Path]], *, max_bytes: int) -> Iterator[Document | Refusal]:
    """Yield the documents of one state of all sources, in order; a second document with an id is refused."""
    seen: dict[str, str] = {}
    for source, path in sources:
        for file in list_source_files(source, path):
            for location, item in _read_file(source, file, max_bytes=max_bytes):
                if isinstance(item, Document) and item.id in seen:
                    reason = f"the document id {item.id!r} is already taken by {seen[item.id]}"
                    yield refuse(TABLE, location, reason, item.text)
                    continue
                if isinstance(item, Document):
                    seen[item.id] = location
                yield item


def _read_file(source: DocumentSource, file: SourceFile, *, max_bytes: int) -> Iterator[tuple[str, Document | Refusal]]:
    if source.format in ("jsonl", "csv"):
        for row in read_rows(file, source.format, table=TABLE, max_bytes=max_bytes):
            item = _document_of_row(source.name, file, row) if isinstance(row, Row) else row
            yield row.location, item
    else:
        yield str(file.path), _document_of_file(source, file, max_bytes=max_bytes)


def _document_of_row(source: str, file: SourceFile, row: Row) -> Document | Refusal:
    try:
        id_ = text_field(row.fields, "id")
        text = text_field(row.fields, "text")
        title = text_field(row.fields, "title", default="") or id_
        uri = text_field(row.fields, "uri", default="") or f"{file.name}#{id_}"
    except FieldError as error:
        return refuse(TABLE, row.location, str(error), str(dict(row.fields)))
    return _document(id=id_, source=source, uri=uri, title=title, text=text)


def _document_of_file(source: DocumentSource, file: SourceFile, *, max_bytes: int) -> Document | Refusal:
    content = ""
    try:
        content = _read_text(file.path, max_bytes=max_bytes)
        fields, text = _parse(source.format, content)
        if not text.strip():
            raise FieldError("the file holds no text")
        name = PurePosixPath(file.name)
        return _document(
            id=text_field(fields, "id", default="") or str(name.with_suffix("")),
            source=source.name,
            uri=text_field(fields, "uri", default="") or file.name,
            title=text_field(fields, "title", default="") or name.stem,
            text=text,
        )
    except (ValueError, RecursionError) as error:
        return refuse(TABLE, str(file.path), str(error), content)


def _read_text(path: Path, *, max_bytes: int) -> str:
    """Return a file's text; raises `ValueError` with the reason why it cannot be taken."""
    try:
        size = path.stat().st_size
        if size == 0:
            raise ValueError("the file is empty (0 bytes)")
        if size > max_bytes:
            raise ValueError(f"the file has {size:,} bytes; the limit is {max_bytes:,}")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(describe_not_utf8(error)) from error
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror or error}") from error


def _document(*, id: str, source: str, uri: str, title: str, text: str) -> Document:
    content_hash = digest_lines((id, source, uri, title, text))  # of all that is stored: it is the row's version
    return Document(id=id, source=source, uri=uri, title=title, text=text, content_hash=content_hash)


def _parse(format: DocumentFormat, content: str) -> tuple[Mapping[str, Any], str]:
    if format == "markdown":
        return _parse_markdown(content)
    if format == "html":
        return _parse_html(content)
    return {}, content.strip()


def _parse_markdown(content: str) -> tuple[Mapping[str, Any], str]:
    """Return front matter and body; the first heading is the title when the front matter has none."""
    fields, body = _split_front_matter(content)
    title = fields.get("title")
    return {**fields, "title": _first_heading(body) if title in (None, "") else title}, body.strip()


def _split_front_matter(content: str) -> tuple[dict[str, Any], str]:
    import yaml
    from frontmatter.default_handlers import YAMLHandler

    handler = YAMLHandler()
    if not handler.detect(content):
        return {}, content
    try:
        front, body = handler.split(content)
    except ValueError:
        return {}, content  # it begins with a horizontal rule
    try:
        # every scalar stays as it is written: a title 3.10 is no number, an id 007 neither
        fields = handler.load(front, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
        line = f" on its line {mark.line + 1}" if mark else ""  # its text begins with the end of line 1
        raise ValueError(f"the front matter is not valid YAML{line}: {problem or 'unreadable'}") from error
    return (fields, body) if isinstance(fields, dict) else ({}, content)


def _first_heading(body: str) -> str | None:
    is_code = False
    for line in body.splitlines():
        if _FENCE.match(line):
            is_code = not is_code
        elif not is_code and (heading := _HEADING.match(line)):
            return heading.group(1)
    return None


def _parse_html(content: str) -> tuple[Mapping[str, Any], str]:
    """Return the title element's text and the page's text with its tables laid out."""
    from inscriptis import get_text
    from lxml.html import document_fromstring  # type: ignore[import-untyped]

    text = get_text(content).strip()
    title = document_fromstring(content.encode("utf-8")).findtext(".//title") if text else None
    return {"title": " ".join(title.split()) if title else None}, text
