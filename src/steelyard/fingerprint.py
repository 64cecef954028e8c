"""Identity: one digest for one set of inputs.

Belongs here: canonical digests of values and files. Not here: what a stage puts into its fingerprint; only what
can change the stage's result may (never paths, devices, hosts, dates).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_DIGEST_CHARACTERS = 32  # 128 bits: collisions are out of reach, and names stay readable


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"a fingerprint cannot hold {type(value).__name__}: pass plain values or records")


def canonical_json(value: Any) -> str:
    """Return `value` as JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain)


def digest(value: Any) -> str:
    """Return the digest (32 hexadecimal characters of SHA-256) of a value made of plain values and records.

    Raises `TypeError` when the value holds something else, so that nothing enters an identity by accident.
    """
    return digest_text(canonical_json(value))


def digest_text(text: str) -> str:
    """Return the digest of a text's UTF-8 bytes."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_CHARACTERS]


def digest_lines(lines: Iterable[str]) -> str:
    """Return the digest of many texts in the order given, in constant memory."""
    running = hashlib.sha256()
    for line in lines:
        encoded = line.encode("utf-8", "surrogatepass")
        running.update(len(encoded).to_bytes(8, "big"))
        running.update(encoded)
    return running.hexdigest()[:_DIGEST_CHARACTERS]


def sha256_file(path: Path) -> str:
    """Return the full SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
