"""Whether the index still holds what a version was evaluated on.

Belongs here: one question to the store that a bundle names. Not here: searching it (see `opening`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steelyard.promote.bundle import Bundle
from steelyard.review.decision import SnapshotState
from steelyard.serving.opening import stored_snapshots


def snapshot_state(bundle: Bundle, *, index_settings: Mapping[str, Any] | None) -> SnapshotState:
    """Return whether the snapshot of a bundle's evidence is there, with the same passages.

    Raises `ServiceError` when the store cannot be reached.
    """
    if bundle.index is None or bundle.embedder is None:
        return "not needed"
    settings = {**bundle.index.settings, **(index_settings or {})}
    sealed, _ = stored_snapshots(bundle.index.store, settings, collection=bundle.index.collection)
    found = sealed.get(bundle.index.evaluated_snapshot)
    if found is None:
        return "missing"
    return "there" if found == bundle.digests.index else "changed"
