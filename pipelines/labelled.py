"""Labelled items for a judge out of a JSONL file.

Belongs here: which fields an item has. Not here: what the labels are compared with.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.documents import SUFFIXES
from pipelines.files import list_files
from pipelines.rows import FieldError, Row, answer_field, read_rows, text_field
from steelyard.errors import DataError
from steelyard.evaluate.judge.licence import LabelledItem
from steelyard.evaluate.judge.pairs import CHOICES, Pairing

_REMEDY = "each line is an object with question, expected, first, second and better: first, second or tie"


def read_labelled(path: Path, *, max_bytes: int) -> tuple[LabelledItem, ...]:
    """Return all items in order; a judge licensed on a part of them would be licensed on nothing.

    Raises `ConfigError` when the path is missing and `DataError` for the first line that is no item.
    """
    items = []
    for file in list_files(path, SUFFIXES["jsonl"], subject="evaluation.judge.labelled"):
        for row in read_rows(file, "jsonl", table="labelled", max_bytes=max_bytes):
            if not isinstance(row, Row):
                raise DataError(f"{row.location}: {row.reason}", remedy=_REMEDY)
            try:
                items.append(_item(row.fields))
            except FieldError as error:
                raise DataError(f"{row.location}: {error}", remedy=_REMEDY) from error
    return tuple(items)


def _item(fields: Mapping[str, Any]) -> LabelledItem:
    better = text_field(fields, "better")
    if better not in CHOICES:
        raise FieldError(f"field 'better' is {better!r}; expected one of {', '.join(CHOICES)}")
    texts = (answer_field(fields, name) for name in ("question", "expected", "first", "second"))
    return LabelledItem(Pairing(*texts), better)
