"""From a table or a log in a file to a pairs file and a cases file.

Belongs here: reading and writing the files. Not here: what becomes of a row (see `steelyard.pairs`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.build import row_format
from pipelines.files import SourceFile
from pipelines.rows import Row, read_rows
from steelyard.errors import ConfigError, DataError
from steelyard.pairs import RowError, case_line, pair_line, split_by_document
from steelyard.records import Pair
from steelyard.secrets import secret_kinds
from steelyard.workspace import write_atomically

_LONGEST_ROW_BYTES = 5_000_000

Make = Callable[[Mapping[str, Any]], Sequence[Pair]]


@dataclass(frozen=True, slots=True)
class Made:
    """How many pairs and cases were written, how many rows gave none on purpose, and which could not be used."""

    pairs: int
    cases: int
    skipped: int
    refused: tuple[str, ...]


def make_pairs(
    source: Path, make: Make, *, pairs_file: Path, cases_file: Path | None, case_share: float, seed: int
) -> Made:
    """Write what `make` makes of every row; rows about held-out documents become cases.

    Raises `ConfigError` when the source is missing and `DataError` when no row could be used.
    """
    if not source.is_file():
        raise ConfigError(f"there is no file {source}", remedy="name a CSV or JSONL file")
    made, skipped, refused = list[Pair](), 0, list[str]()
    for row in read_rows(
        SourceFile(source, source.name), row_format(str(source)), table="rows", max_bytes=_LONGEST_ROW_BYTES
    ):
        if not isinstance(row, Row):
            refused.append(f"{row.location}: {row.reason}")
            continue
        try:
            pairs = [_without_secrets(pair) for pair in make(row.fields)]
        except RowError as error:
            refused.append(f"{row.location}: {error}")
        else:
            skipped += not pairs
            made += pairs
    unique = list({pair.id: pair for pair in made}.values())
    if not unique:
        raise DataError(
            f"no row of {source} gives a pair" + "".join(f"\n  {reason}" for reason in refused[:5]),
            remedy="compare the template's fields with the columns of the table",
        )
    sides = split_by_document([pair.documents for pair in unique], share=case_share if cases_file else 0.0, seed=seed)
    pairs = [pair for pair, side in zip(unique, sides, strict=True) if side == "pair"]
    cases = [pair for pair, side in zip(unique, sides, strict=True) if side == "case"]
    write_atomically(pairs_file, "".join(f"{pair_line(pair)}\n" for pair in pairs))
    if cases_file is not None:
        write_atomically(cases_file, "".join(f"{case_line(pair)}\n" for pair in cases))
    return Made(len(pairs), len(cases), skipped, tuple(refused))


def _without_secrets(pair: Pair) -> Pair:
    kinds = secret_kinds(f"{pair.input}\n{pair.output}")
    if kinds:
        raise RowError(f"it seems to hold a secret: {', '.join(kinds)}")
    return pair
