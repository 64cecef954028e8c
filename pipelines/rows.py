"""Rows of JSONL and CSV files, and their fields.

Belongs here: from bytes to named fields, with a refusal for what does not parse. Not here: what a document, a pair
or a case needs.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipelines.files import SourceFile, read_lines
from pipelines.spec import RowFormat
from steelyard.records import Refusal

_SURROGATE = re.compile("[\ud800-\udfff]")
_PAYLOAD_CHARACTERS = 300  # enough to recognise a row in a report, too little to make the report unreadable


class FieldError(ValueError):
    """Raised when a field of a row is missing or has the wrong type; the message names it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One parsed row; a CSV cell that is empty is a field that is missing."""

    location: str
    fields: Mapping[str, Any]


def refuse(table: str, location: str, reason: str, payload: str = "") -> Refusal:
    """Return a refusal whose payload is cut to a readable length and can be written anywhere."""
    text = payload.encode("utf-8", "replace").decode("utf-8").strip()
    is_long = len(text) > _PAYLOAD_CHARACTERS
    return Refusal(table, location, reason, text[:_PAYLOAD_CHARACTERS] + "…" if is_long else text)


def read_rows(file: SourceFile, format: RowFormat, *, table: str, max_bytes: int) -> Iterator[Row | Refusal]:
    """Yield every row of a file, in order, as fields or as a refusal named by file and line."""
    try:
        if file.path.stat().st_size == 0:
            yield refuse(table, str(file.path), "the file is empty (0 bytes)")
        elif format == "jsonl":
            yield from _jsonl_rows(file, table=table, max_bytes=max_bytes)
        else:
            yield from _csv_rows(file, table=table, max_bytes=max_bytes)
    except OSError as error:
        yield refuse(table, str(file.path), f"the file cannot be read: {error.strerror or error}")


def _jsonl_rows(file: SourceFile, *, table: str, max_bytes: int) -> Iterator[Row | Refusal]:
    for number, line in read_lines(file.path, max_bytes=max_bytes):
        location = f"{file.path}:{number}"
        if line is None:
            yield refuse(table, location, f"the line is longer than {max_bytes:,} bytes")
            continue
        if not line.strip():
            continue
        try:
            fields = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            yield refuse(table, location, describe_not_utf8(error), line.decode("utf-8", "replace"))
        except (ValueError, RecursionError) as error:
            yield refuse(table, location, f"the line is not valid JSON: {error}", line.decode("utf-8"))
        else:
            if isinstance(fields, dict):
                yield Row(location, fields)
            else:
                reason = f"the line holds {_kind_of(fields)}; expected a JSON object"
                yield refuse(table, location, reason, line.decode("utf-8"))


def describe_not_utf8(error: UnicodeDecodeError) -> str:
    """Return a reason that names the first byte that is wrong."""
    return f"not UTF-8: byte 0x{error.object[error.start]:02x} at offset {error.start}"


def _csv_rows(file: SourceFile, *, table: str, max_bytes: int) -> Iterator[Row | Refusal]:
    lines = _CsvLines(file, max_bytes=max_bytes)
    with _csv_field_limit(max_bytes):
        reader = csv.reader(lines, strict=True)
        header: list[str] | None = None
        while True:
            location = f"{file.path}:{lines.number + 1}"
            try:
                cells = next(reader, None)
            except csv.Error as error:
                yield refuse(table, location, f"the row is not valid CSV: {error}")
                continue
            if cells is None and not lines.has_overlong:
                return
            cells = cells or []
            if lines.take_overlong():
                yield refuse(table, location, f"the row is longer than {max_bytes:,} bytes")
            elif any(_has_surrogates(cell) for cell in cells):
                yield refuse(table, location, "not UTF-8", ",".join(cells))
            elif not any(cells):
                continue
            elif header is None:
                header = [cell.strip() for cell in cells]
            elif len(cells) != len(header):
                reason = f"the row has {len(cells)} cells; the header has {len(header)}: {', '.join(header)}"
                yield refuse(table, location, reason, ",".join(cells))
            else:
                yield Row(location, {name: cell for name, cell in zip(header, cells, strict=True) if cell.strip()})


class _CsvLines:
    """The lines of a CSV file as text; bytes that are not UTF-8 become lone surrogates, to be refused by row."""

    def __init__(self, file: SourceFile, *, max_bytes: int) -> None:
        self._lines = read_lines(file.path, max_bytes=max_bytes)
        self.number = 0
        self.has_overlong = False

    def __iter__(self) -> _CsvLines:
        return self

    def __next__(self) -> str:
        self.number, line = next(self._lines)
        if line is None:
            self.has_overlong = True
            return "\n"
        return line.decode("utf-8-sig" if self.number == 1 else "utf-8", "surrogateescape")

    def take_overlong(self) -> bool:
        had_overlong, self.has_overlong = self.has_overlong, False
        return had_overlong


@contextmanager
def _csv_field_limit(max_characters: int) -> Iterator[None]:
    """Let a cell be as long as a document may be; the csv module keeps this limit per process."""
    before = csv.field_size_limit(max_characters)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _has_surrogates(text: str) -> bool:
    return _SURROGATE.search(text) is not None


def text_field(fields: Mapping[str, Any], name: str, *, default: str | None = None) -> str:
    """Return a text field; a whole number is taken as its digits, which is how ids are often written.

    Without `default` the field has to be there and hold more than white space. Raises `FieldError`.
    """
    value = fields.get(name)
    if value is None and default is not None:
        return default
    if value is None:
        raise FieldError(f"field {name!r} is missing; the row has: {', '.join(map(str, fields)) or 'nothing'}")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise FieldError(f"field {name!r} is {_kind_of(value)}; expected text")
    return _clean_text(value, name, is_required=default is None)


def answer_field(fields: Mapping[str, Any], name: str) -> str:
    """Return a text field that may also be a JSON object, which becomes compact JSON text with its keys in order."""
    value = fields.get(name)
    if not isinstance(value, dict):
        return text_field(fields, name)
    return _clean_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")), name, is_required=True)


def list_field(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return a list of texts, which a CSV cell writes with semicolons; missing is empty. Raises `FieldError`."""
    value = fields.get(name)
    if value is None:
        return ()
    if isinstance(value, str):
        return tuple(item.strip() for item in _clean_text(value, name, is_required=False).split(";") if item.strip())
    if not isinstance(value, list):
        raise FieldError(f"field {name!r} is {_kind_of(value)}; expected a list of texts")
    return tuple(text_field({name: item}, name) for item in value)


def _clean_text(value: str, name: str, *, is_required: bool) -> str:
    if _has_surrogates(value):
        raise FieldError(f"field {name!r} holds half of a surrogate pair, which is no text in any encoding")
    if is_required and not value.strip():
        raise FieldError(f"field {name!r} is empty")
    return value


def _kind_of(value: object) -> str:
    names = {dict: "an object", list: "a list", bool: "true or false", int: "a number", float: "a number", str: "text"}
    return "null" if value is None else names.get(type(value), type(value).__name__)
