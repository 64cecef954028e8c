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
