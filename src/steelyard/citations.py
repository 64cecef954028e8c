"""Which passages an answer cites.

Belongs here: reading citations out of answers. Not here: whether they are right (see `steelyard.evaluate`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from steelyard.records import Hit

_BRACKETED = re.compile(r"\[([^\[\]\s][^\[\]]*)\]")


def parse_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object that `text` is, surrounding space aside; None when it is anything else."""
    try:
        value = json.loads(text.strip())
    except (json.JSONDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def cited_documents(text: str, *, citation_field: str | None) -> tuple[str, ...]:
    """Return the document ids that an answer cites: the JSON field's value, or what stands in [brackets]."""
    if citation_field is None:
        return tuple(dict.fromkeys(match.strip() for match in _BRACKETED.findall(text)))
    value = (parse_object(text) or {}).get(citation_field)
    values = value if isinstance(value, list) else [value]
    return tuple(item for item in values if isinstance(item, str) and item)


def without_citations(text: str) -> str:
    """Return a text answer without what stands in [brackets]."""
    return _BRACKETED.sub(" ", text)


def cited_passages(text: str, hits: Sequence[Hit], *, citation_field: str | None) -> list[Hit]:
    """Return the retrieved passages of the documents that an answer cites, best first."""
    cited = set(cited_documents(text, citation_field=citation_field))
    return [hit for hit in hits if hit.passage.document_id in cited]
