"""Quarantine for rows that a later stage refuses.

Belongs here: the one way in for stages that do not load. Not here: the rules that refuse.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipelines.load import Loader
from pipelines.warehouse import Warehouse
from steelyard.records import Refusal


def append_refusals(warehouse: Path, refusals: Sequence[Refusal], *, origin: str = "validate") -> None:
    """Keep the rows that `origin` refused beside those refused at ingest; doing it again replaces its own rows."""
    if sorted(Warehouse(warehouse).refusals(origin), key=repr) != sorted(refusals, key=repr):
        Loader(warehouse).replace_refusals({origin: refusals})
