"""Splitting a document into passages along its structure.

Belongs here: where a passage begins and ends, what stands above it, and its content key. Not here: embedding,
storing, snapshots.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

from steelyard.errors import ConfigError
from steelyard.fingerprint import digest
from steelyard.index.outline import Heading, Outline, read_outline
from steelyard.records import Document

if TYPE_CHECKING:
    from semantic_text_splitter import MarkdownSplitter

# Raised by one whenever the same document and settings would give other passages than before.
_CODE_VERSION = 1

# The splitter's time grows with the square of the text (1 MB 1 s, 10 MB 116 s), so a long document is handed over in
# stretches that end where a block ends. Not a knob: most documents are shorter and never cut this way.
_STRETCH_CHARACTERS = 100_000


@dataclass(frozen=True, slots=True)
class Draft:
    """A passage before it belongs to a snapshot.

    `content_key` covers the document's id, the heading path, the text, and which one it is among identical passages
    of the document: it stays while the content stays.
    """

    content_key: str
    document_id: str
    ordinal: int
    title: str
    heading_path: str
    text: str
    uri: str


class _Chunk(NamedTuple):
    first_line: int
    text: str


def splitter_fingerprint(*, max_characters: int, min_characters: int, overlap: int) -> str:
    """Return the digest of all that decides which passages a document gives."""
    library = version("semantic-text-splitter")
    return digest(["split", _CODE_VERSION, library, max_characters, min_characters, overlap])


def split_document(document: Document, *, max_characters: int, min_characters: int, overlap: int) -> tuple[Draft, ...]:
    """Split a Markdown or plain-text document into passages, in reading order.

    A passage holds up to `max_characters` of the document and is complete once it holds `min_characters`;
    neighbours share up to `overlap` characters. Its text begins with the title and the headings above it, and with
    the header row when it starts in the middle of a table: these come on top of `max_characters`. A document without
    text gives no passages. Raises `ConfigError` when the three numbers cannot go together.
    """
    _check_sizes(max_characters, min_characters, overlap)
    from semantic_text_splitter import MarkdownSplitter

    splitter = MarkdownSplitter((min_characters, max_characters), overlap=overlap)
    text = document.text.replace("\r\n", "\n").replace("\r", "\n")
    outline, lines = read_outline(text), text.split("\n")
    rendered = (
        _render(chunk, document.title, outline, lines)
        for chunk in _with_content(_chunks(splitter, text, outline), outline, lines)
    )
    return tuple(_drafts(document, rendered))


def _check_sizes(max_characters: int, min_characters: int, overlap: int) -> None:
    if not 0 < min_characters <= max_characters or not 0 <= overlap < min_characters:
        raise ConfigError(
            f"passages cannot have min_characters {min_characters}, max_characters {max_characters} and "
            f"overlap {overlap}",
            remedy="choose 0 < min_characters <= max_characters and 0 <= overlap < min_characters",
        )


def _drafts(document: Document, rendered: Iterable[tuple[str, str]]) -> Iterator[Draft]:
    seen: Counter[tuple[str, str]] = Counter()
    for ordinal, (heading_path, text) in enumerate(rendered):
        key = digest([document.id, heading_path, text, seen[heading_path, text]])
        seen[heading_path, text] += 1
        yield Draft(key, document.id, ordinal, document.title, heading_path, text, document.uri)


def _chunks(splitter: MarkdownSplitter, text: str, outline: Outline) -> Iterator[_Chunk]:
    line, counted_to = 0, 0
    for start, stretch in _stretches(text, outline):
        for offset, chunk in splitter.chunk_indices(stretch):
            begin = start + offset
            line += text.count("\n", counted_to, begin)
            counted_to = begin
            yield _Chunk(line, chunk)


def _stretches(text: str, outline: Outline) -> Iterator[tuple[int, str]]:
    """Cut a long text where a block begins, else where a line ends, else anywhere."""
    if len(text) <= _STRETCH_CHARACTERS:
        yield 0, text
        return
    blocks = _offsets(text, outline.block_starts)
    start = 0
    while len(text) - start > _STRETCH_CHARACTERS:
        limit = start + _STRETCH_CHARACTERS
        block = blocks[bisect_right(blocks, limit) - 1]
        cut = block if block > start else text.rfind("\n", start, limit) + 1 or limit
        yield start, text[start:cut]
        start = cut
    yield start, text[start:]


def _offsets(text: str, lines: Sequence[int]) -> list[int]:
    """Return the offset at which each line begins; `lines` ascend."""
    offsets, offset, at_line = [0], 0, 0
    for line in lines:
        for _ in range(line - at_line):
            offset = text.index("\n", offset) + 1
        at_line = line
        offsets.append(offset)
    return offsets


def _with_content(chunks: Iterable[_Chunk], outline: Outline, lines: Sequence[str]) -> Iterator[_Chunk]:
    """Leave out chunks that only announce the next one: their headings and table header stand in it anyway."""
    waiting: _Chunk | None = None
    for chunk in chunks:
        if waiting is not None and not _is_announcement(waiting, chunk, outline, lines):
            yield waiting
        waiting = chunk
    if waiting is not None:
        yield waiting


def _is_announcement(chunk: _Chunk, following: _Chunk, outline: Outline, lines: Sequence[str]) -> bool:
    announced = {line for heading in outline.above(following.first_line) for line in range(*heading[:2])}
    table = outline.table_at(following.first_line)
    if table is not None:
        announced.update(range(table.head, min(table.body, following.first_line)))
    covered = range(chunk.first_line, chunk.first_line + chunk.text.count("\n") + 1)
    return all(line in announced or not lines[line].strip() for line in covered)


def _render(chunk: _Chunk, title: str, outline: Outline, lines: Sequence[str]) -> tuple[str, str]:
    """Return a chunk's heading path and its text, with what a reader needs to understand it put before it."""
    leading = _leading_headings(chunk.first_line, outline, lines)
    path = outline.above(leading[-1].end if leading else chunk.first_line)
    heading_path = [heading.title for heading in path if heading.title not in ("", title)]
    outer = [h.title for h in path if h.line < chunk.first_line and h.title not in ("", title)]
    is_titled = any(heading.title == title for heading in leading)
    prefix = " > ".join([*([title] if title and not is_titled else []), *outer])
    parts = [prefix] if prefix else []
    table = outline.table_at(chunk.first_line)
    if table is not None:
        parts.extend(lines[table.head : min(table.body, chunk.first_line)])
    return " > ".join(heading_path), "\n".join([*parts, chunk.text])


def _leading_headings(line: int, outline: Outline, lines: Sequence[str]) -> list[Heading]:
    """Return the headings with which a text that starts at `line` begins."""
    leading: list[Heading] = []
    while line < len(lines):
        heading = outline.heading_at(line)
        if heading is not None:
            leading.append(heading)
        elif lines[line].strip():
            break
        line = line + 1 if heading is None else heading.end
    return leading
