"""A quick look into MLflow's own SQLite file, for runs that have nothing to do.

Belongs here: one read-only query. Not here: any writing; and no answer is made up: when the file does not look as
expected, the caller asks MLflow. (MLflow has no public way to read its store without loading all of MLflow.)
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

_QUERY = """
SELECT versions.version, aliases.alias
FROM model_version_tags AS tags
JOIN model_versions AS versions
  ON versions.workspace = tags.workspace AND versions.name = tags.name AND versions.version = tags.version
LEFT JOIN registered_model_aliases AS aliases
  ON aliases.workspace = tags.workspace AND aliases.name = tags.name AND aliases.version = tags.version
WHERE tags.workspace = 'default' AND tags.name = ? AND tags."key" = ? AND tags.value = ?
  AND versions.current_stage != 'Deleted_Internal'
ORDER BY versions.version, aliases.alias
"""


class FoundVersion(NamedTuple):
    """A version of a model and the aliases on it."""

    version: str
    aliases: list[str]


def find_in_sqlite(database: Path, *, name: str, tag: str, value: str) -> list[FoundVersion] | None:
    """Return the versions of a model with a tag of this value, oldest first; None when the file cannot tell."""
    if not database.is_file():
        return None
    address = f"{database.resolve().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=10)) as connection:
            rows = connection.execute(_QUERY, (name, tag, value)).fetchall()
    except sqlite3.Error:
        return None
    aliases: dict[str, list[str]] = {}
    for version, alias in rows:
        aliases.setdefault(str(version), []).extend([alias] if alias else [])
    return [FoundVersion(version, found) for version, found in aliases.items()]
