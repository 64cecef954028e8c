"""A new project from the templates that ship with the package.

Belongs here: writing the files, never over one that is there. Not here: what they say (see `templates/project`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from steelyard.errors import ConfigError, ServiceError

_NAME_PLACEHOLDER = "{{ name }}"
_SCHEMA_FILE = "steelyard.schema.json"
_RENAMED = {"gitignore": ".gitignore"}  # under its own name, packaging tools would obey it


@dataclass(frozen=True, slots=True)
class Scaffold:
    """What was made: the project's name, the files written and those that were there already, relative to it."""

    name: str
    written: tuple[str, ...]
    kept: tuple[str, ...]


def scaffold(folder: Path, *, is_forced: bool = False) -> Scaffold:
    """Make a project in `folder`, named after it.

    Raises `ConfigError` when the folder holds files and `is_forced` is not set, or when it is a file; `ServiceError`
    when it cannot be written. A file that is there is left as it is.
    """
    _check_folder(folder, is_forced=is_forced)
    name = project_name(folder)
    written: list[str] = []
    kept: list[str] = []
    try:
        for relative, text in _project_files(name):
            path = folder / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            is_new = _write_new(path, text)
            (written if is_new else kept).append(relative)
    except OSError as error:
        raise ServiceError(
            f"{error.filename or folder} cannot be written: {error.strerror}", remedy="choose another folder"
        ) from error
    return Scaffold(name, tuple(written), tuple(kept))


def project_name(folder: Path) -> str:
    """Return the folder's name as a project may be called: lower case letters, digits and dashes."""
    name = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-")
    return name if re.match("[a-z]", name) else f"project-{name}".rstrip("-")


def _check_folder(folder: Path, *, is_forced: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file", remedy="name a folder that is empty or not there yet")
    if not is_forced and folder.is_dir() and (found := next(folder.iterdir(), None)) is not None:
        raise ConfigError(
            f"{folder} is not empty: it holds {found.name}",
            remedy="name another folder, or add --force to write only what is missing",
        )


def _project_files(name: str) -> Iterator[tuple[str, str]]:
    """Yield relative paths and texts; the schema makes editors complete and check the YAML without a network."""
    from steelyard.config.schema import project_schema_text

    for relative, template in _templates(files("steelyard") / "templates" / "project", ""):
        yield relative, template.read_text(encoding="utf-8").replace(_NAME_PLACEHOLDER, name)
    yield _SCHEMA_FILE, project_schema_text()


def _templates(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        name = prefix + _RENAMED.get(item.name, item.name)
        if item.is_dir():
            yield from _templates(item, f"{name}/")
        else:
            yield name, item


def _write_new(path: Path, text: str) -> bool:
    """Write a file unless it is there; return whether it was written."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True
