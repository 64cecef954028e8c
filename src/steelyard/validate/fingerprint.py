"""The identity of a validation.

Belongs here: what can change its result. Not here: the rules.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import asdict

from steelyard.fingerprint import canonical_json, digest, digest_lines
from steelyard.records import Case, Pair
from steelyard.validate.rules import ValidationRules

_CODE_VERSION = 1  # raised when the same rows and rules give another result


def validation_fingerprint(
    *, documents_digest: str, pairs: Sequence[Pair], cases: Sequence[Case], rules: ValidationRules
) -> str:
    """Return the fingerprint of a validation; `documents_digest` is that of the snapshot."""
    return digest(
        {
            "code": [_CODE_VERSION, importlib.metadata.version("great-expectations")],
            "documents": documents_digest,
            "pairs": digest_lines(map(canonical_json, pairs)),
            "cases": digest_lines(map(canonical_json, cases)),
            "rules": asdict(rules),
        }
    )
