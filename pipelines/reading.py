"""Reading the sources in full: what was taken, what was refused, and whether that is too much.

Belongs here: collecting and counting. Not here: parsing (`documents`, `questions`) and loading.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any, TypeVar

from pipelines.documents import read_documents
from pipelines.history import State
from pipelines.questions import read_cases, read_pairs
from pipelines.spec import IngestSpec
from steelyard.progress import Progress
from steelyard.records import Case, Document, Pair, Refusal

_REPORT_EVERY = 100  # documents
_REASONS_SHOWN = 5  # refused rows that a message names

_Row = TypeVar("_Row", Pair, Case)


@dataclass(frozen=True, slots=True)
class Questions:
    """All pairs and cases, and by table the rows that were refused."""

    pairs: tuple[Pair, ...]
    cases: tuple[Case, ...]
    refusals: dict[str, list[Refusal]]

    def problems(self, max_refused_share: float) -> list[str]:
        """Return why tables cannot be taken, nothing when they can."""
        taken = {"pairs": len(self.pairs), "cases": len(self.cases)}
        found = [
            _share_problem(table, taken=taken[table], refusals=refusals, limit=max_refused_share)
            for table, refusals in self.refusals.items()
        ]
        return [problem for problem in found if problem is not None]


def read_questions(spec: IngestSpec) -> Questions:
    """Read all pairs and cases; raises `ConfigError` when a path is missing."""
    limit = spec.limits.max_document_bytes
    refusals: dict[str, list[Refusal]] = {"pairs": [], "cases": []}
    pairs = () if spec.pairs is None else _taken(read_pairs(spec.pairs, max_bytes=limit), refusals["pairs"])
    return Questions(pairs, _taken(read_cases(spec.cases, max_bytes=limit), refusals["cases"]), refusals)


def _taken(items: Iterable[_Row | Refusal], refusals: list[Refusal]) -> tuple[_Row, ...]:
    taken: list[_Row] = []
    for item in items:
        if isinstance(item, Refusal):
            refusals.append(item)
        else:
            taken.append(item)
    return tuple(taken)


class Reading:
    """The documents of one state on their way to dlt: counted, and the refused ones set aside."""

    def __init__(self, state: State, *, max_bytes: int, progress: Progress) -> None:
        self._state = state
        self._documents = self._read(max_bytes)
        self._first: Document | None = None
        self._progress = progress
        self.taken = 0
        self.longest_bytes = 0
        self.refusals: list[Refusal] = []

    def has_documents(self) -> bool:
        """Read up to the first document; False when there is none."""
        self._first = next(self._documents, None)
        return self._first is not None

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of all documents, after `has_documents`."""
        task = f"Loading documents of {self._state.date or 'now'}"
        for document in chain([self._first] if self._first else [], self._documents):
            self.taken += 1
            self.longest_bytes = max(self.longest_bytes, len(document.text.encode()))
            yield asdict(document)
            if self.taken % _REPORT_EVERY == 0:
                self._progress.update(task, self.taken, None, "documents")
        self._progress.update(task, self.taken, self.taken, "documents")

    def _read(self, max_bytes: int) -> Iterator[Document]:
        for item in read_documents(self._state.sources, max_bytes=max_bytes):
            if isinstance(item, Document):
                yield item
            else:
                self.refusals.append(item)

    def problem(self, max_refused_share: float) -> str | None:
        """Return why this state cannot be taken, None when it can."""
        if self.taken:
            return _share_problem("documents", taken=self.taken, refusals=self.refusals, limit=max_refused_share)
        paths = ", ".join(str(path) for _, path in self._state.sources)
        refused = _share_problem("documents", taken=0, refusals=self.refusals, limit=0)
        return f"  documents: there is none in {paths}" + (f"\n{refused}" if refused else "")


def _share_problem(table: str, *, taken: int, refusals: Sequence[Refusal], limit: float) -> str | None:
    rows = taken + len(refusals)
    if not refusals or len(refusals) <= limit * rows:
        return None
    shown = [f"    {refusal.location}: {refusal.reason}" for refusal in refusals[:_REASONS_SHOWN]]
    if len(refusals) > _REASONS_SHOWN:
        shown.append(f"    and {len(refusals) - _REASONS_SHOWN:,} more")
    share = f"{len(refusals):,} of {rows:,} rows were refused ({len(refusals) / rows:.1%}; the limit is {limit:.1%})"
    return "\n".join([f"  {table}: {share}", *shown])
