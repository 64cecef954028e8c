"""The outline of a Markdown text: which headings stand above a line, and which table a line is in.

Belongs here: reading structure. Not here: where to cut (see `split`).
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

_DELIMITER_ROW = re.compile(r"^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$")


class Heading(NamedTuple):
    """A heading on the lines from `line` up to but not including `end`; level 1 is the outermost."""

    line: int
    end: int
    level: int
    title: str


class Table(NamedTuple):
    """A table: `head` is its header row, `body` the first row after the delimiter row, `end` is past its last."""

    head: int
    body: int
    end: int


class Outline:
    """Headings, tables and the lines at which top-level blocks begin; lines count from 0."""

    def __init__(self, headings: Sequence[Heading], tables: Sequence[Table], block_starts: Sequence[int]) -> None:
        self.block_starts = tuple(block_starts)
        self._heading_lines = [heading.line for heading in headings]
        self._paths = list(_paths(headings))
        self._tables = list(tables)
        self._table_heads = [table.head for table in tables]

    def above(self, line: int) -> tuple[Heading, ...]:
        """Return the headings under which `line` stands, outermost first, without one on the line itself."""
        return self._paths[bisect_left(self._heading_lines, line)]

    def heading_at(self, line: int) -> Heading | None:
        """Return the heading that begins on `line`."""
        place = bisect_left(self._heading_lines, line)
        is_heading = place < len(self._heading_lines) and self._heading_lines[place] == line
        return self._paths[place + 1][-1] if is_heading else None

    def table_at(self, line: int) -> Table | None:
        """Return the table that `line` is a part of."""
        place = bisect_right(self._table_heads, line) - 1
        return self._tables[place] if place >= 0 and line < self._tables[place].end else None


def read_outline(text: str) -> Outline:
    r"""Read the outline of a text whose lines end in `\n`, as CommonMark reads it, and tables as GitHub does.

    Tables are looked for in paragraphs: the parser's own table rule makes a token of every cell, which takes
    gigabytes of memory for a page of some megabytes.
    """
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark")
    parser.core.ruler.enableOnly(["normalize", "block"])
    tokens = parser.parse(text)
    lines = text.split("\n")
    headings: list[Heading] = []
    tables: list[Table] = []
    for token, following in pairwise(tokens):
        if token.map is None:
            continue
        first, end = token.map
        if token.type == "heading_open":
            headings.append(Heading(first, end, int(token.tag[1:]), " ".join(following.content.split())))
        elif token.type == "paragraph_open":
            tables.extend(_tables(lines, first, end))
    return Outline(headings, tables, [token.map[0] for token in tokens if token.map and token.level == 0])


def _paths(headings: Sequence[Heading]) -> Iterator[tuple[Heading, ...]]:
    path: tuple[Heading, ...] = ()
    yield path
    for heading in headings:
        path = (*(outer for outer in path if outer.level < heading.level), heading)
        yield path


def _tables(lines: Sequence[str], first: int, end: int) -> Iterator[Table]:
    for line in range(first, end - 1):
        if "|" in lines[line] and "|" in lines[line + 1] and _DELIMITER_ROW.match(lines[line + 1]):
            yield Table(line, line + 2, end)
            return
