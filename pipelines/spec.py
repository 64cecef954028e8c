"""What to ingest, as plain values.

Belongs here: the description of sources and limits. Not here: reading them, and how a config file spells them.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from steelyard.errors import ConfigError

DocumentFormat = Literal["markdown", "html", "text", "jsonl", "csv"]
RowFormat = Literal["jsonl", "csv"]


@dataclass(frozen=True, slots=True)
class DocumentSource:
    """Documents of one format: at one `path` as they are now, or as dated `snapshots` of (ISO date, path).

    A path is a folder (read with its subfolders), one file, or a glob pattern.
    """

    name: str
    format: DocumentFormat
    path: Path | None = None
    snapshots: tuple[tuple[str, Path], ...] = ()

    def __post_init__(self) -> None:
        if (self.path is None) == (not self.snapshots):
            raise ConfigError(
                f"document source {self.name!r} has {'neither a path nor' if self.path is None else 'both a path and'}"
                " dated snapshots",
                remedy="give it either one path or a list of dated snapshots",
            )
        for date, _ in self.snapshots:
            check_date(date, subject=f"document source {self.name!r}")
        dates = [date for date, _ in self.snapshots]
        if dates != sorted(set(dates)):
            raise ConfigError(
                f"document source {self.name!r} lists its snapshots as {', '.join(dates)}",
                remedy="list every date once, oldest first",
            )


@dataclass(frozen=True, slots=True)
class PairSource:
    """Training pairs in one file; `as_of` is the date of the documents that the ideal outputs were written from."""

    path: Path
    format: RowFormat
    as_of: str | None = None

    def __post_init__(self) -> None:
        if self.as_of is not None:
            check_date(self.as_of, subject="the pairs' as_of")


@dataclass(frozen=True, slots=True)
class CaseSource:
    """Test cases in one file."""

    path: Path
    format: RowFormat


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused: a document or row over `max_document_bytes`; a table with a larger share of refused rows."""

    max_document_bytes: int
    max_refused_share: float


@dataclass(frozen=True, slots=True)
class IngestSpec:
    """All sources of the project `name`, and the DuckDB file that they are loaded into."""

    name: str
    documents: tuple[DocumentSource, ...]
    cases: CaseSource
    limits: Limits
    warehouse: Path
    pairs: PairSource | None = None


def check_date(date: str, *, subject: str) -> None:
    """Raise `ConfigError` unless `date` is an ISO calendar date such as 2026-08-22."""
    try:
        is_iso = dt.date.fromisoformat(date).isoformat() == date
    except ValueError:
        is_iso = False
    if not is_iso:
        raise ConfigError(f"{subject} has the date {date!r}", remedy="write it as year-month-day: 2026-08-22")
