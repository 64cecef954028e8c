"""Files of a source: which there are, what identifies them, and their lines in bounded memory.

Belongs here: listing, digests and bounded reading. Not here: what the bytes mean.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from steelyard.errors import ConfigError
from steelyard.fingerprint import sha256_file

_GLOB_CHARACTERS = frozenset("*?[")
_SKIP_BYTES = 1 << 16  # how much of an over-long line is read, and forgotten, at a time


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file; `name` is its path below the source's folder, the part that may enter ids and digests."""

    path: Path
    name: str


def list_files(path: Path, suffixes: Sequence[str], *, subject: str) -> list[SourceFile]:
    """Return the files at a folder, file or glob pattern in the order of their names.

    A folder gives its files with one of `suffixes`, hidden ones left out. Raises `ConfigError` when there is no such
    path.
    """
    if path.is_dir():
        return _files_below(path, suffixes)
    if path.exists():
        return [SourceFile(path, path.name)]
    if _GLOB_CHARACTERS & set(str(path)):
        return _files_matching(path)
    raise ConfigError(
        f"{subject}: there is no file or folder {path}",
        remedy="correct the path in the project file (paths are relative to it), or create what it names",
    )


def _files_below(folder: Path, suffixes: Sequence[str]) -> list[SourceFile]:
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(root, name)
            if not name.startswith(".") and path.suffix.lower() in suffixes and path.is_file():
                found.append(SourceFile(path, path.relative_to(folder).as_posix()))
    return sorted(found, key=lambda file: file.name)


def _files_matching(pattern: Path) -> list[SourceFile]:
    fixed = 0
    while fixed < len(pattern.parts) and not _GLOB_CHARACTERS & set(pattern.parts[fixed]):
        fixed += 1
    base = Path(*pattern.parts[:fixed])
    found = {path for path in base.glob(str(Path(*pattern.parts[fixed:]))) if path.is_file()}
    return [SourceFile(path, path.relative_to(base).as_posix()) for path in sorted(found)]


def identify_files(files: Sequence[SourceFile]) -> list[tuple[str, str]]:
    """Return (name, SHA-256) of each file; a file that cannot be read has its error's name instead."""
    return [(file.name, _sha256_or_error(file.path)) for file in files]


def _sha256_or_error(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        return type(error).__name__  # reading refuses the file later, with its reason


def read_lines(path: Path, *, max_bytes: int) -> Iterator[tuple[int, bytes | None]]:
    """Yield (line number from 1, line with its end); None stands for a line of more than `max_bytes` bytes."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(max_bytes + 1):
            number += 1
            if len(line) <= max_bytes or line.endswith(b"\n"):
                yield number, line
                continue
            while (rest := file.readline(_SKIP_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield number, None
