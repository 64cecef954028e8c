"""A quick look into MLflow's own SQLite file, for runs that have nothing to do.

Belongs here: read-only queries. Not here: any writing; and no answer is made up: when the file does not look as
expected, the caller asks MLflow. (MLflow has no public way to read its store without loading all of MLflow.)
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

_VERSION = """
SELECT versions.version
FROM model_version_tags AS tags
JOIN model_versions AS versions
  ON versions.workspace = tags.workspace AND versions.name = tags.name AND versions.version = tags.version
WHERE tags.workspace = 'default' AND tags.name = ? AND tags."key" = ? AND tags.value = ?
  AND versions.current_stage != 'Deleted_Internal'
ORDER BY versions.version LIMIT 1
"""
_ALIASES = """
SELECT alias, version FROM registered_model_aliases WHERE workspace = 'default' AND name = ? ORDER BY alias
"""
_TAGS = """
SELECT "key", value FROM model_version_tags WHERE workspace = 'default' AND name = ? AND version = ?
"""
_WITH_ALIAS = """
SELECT versions.version, versions.source, tags.value
FROM registered_model_aliases AS aliases
JOIN model_versions AS versions
  ON versions.workspace = aliases.workspace AND versions.name = aliases.name AND versions.version = aliases.version
LEFT JOIN model_version_tags AS tags
  ON tags.workspace = versions.workspace AND tags.name = versions.name AND tags.version = versions.version
  AND tags."key" = ?
WHERE aliases.workspace = 'default' AND aliases.name = ? AND aliases.alias = ?
"""


class Held(NamedTuple):
    """The version that has an alias: where its files are, and the value of one of its tags."""

    version: str
    source: str
    tag: str | None


def alias_in_sqlite(database: Path, *, name: str, alias: str, tag: str) -> list[Held] | None:
    """Return the version of a model that has an alias, an empty list without one; None when the file cannot tell."""
    if not database.is_file():
        return []
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
            rows = connection.execute(_WITH_ALIAS, (tag, name, alias)).fetchall()
    except sqlite3.Error:
        return None
    return [Held(str(version), str(source), value) for version, source, value in rows]


class Found(NamedTuple):
    """The oldest version of a model with a tag, its tags, and the model's aliases; None and empty without one."""

    version: str | None
    tags: dict[str, str]
    aliases: dict[str, str]


def find_in_sqlite(database: Path, *, name: str, tag: str, value: str) -> Found | None:
    """Return what a SQLite store says of a model and a tag's value; None when the file cannot tell."""
    if not database.is_file():
        return None
    address = f"{database.resolve().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=10)) as connection:
            version = connection.execute(_VERSION, (name, tag, value)).fetchone()
            aliases = connection.execute(_ALIASES, (name,)).fetchall()
            tags = [] if version is None else connection.execute(_TAGS, (name, version[0])).fetchall()
    except sqlite3.Error:
        return None
    return Found(
        version=None if version is None else str(version[0]),
        tags=dict(tags),
        aliases={alias: str(number) for alias, number in aliases},
    )
