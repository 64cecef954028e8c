"""How long work tells what it is doing, without knowing who listens.

Belongs here: the protocol and the silent listener. Not here: terminals (see `steelyard.cli`).
"""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told about long work; `total` is None while unknown, `unit` is a plural noun ("passages", "bytes")."""

    def update(self, task: str, done: float, total: float | None, unit: str) -> None:
        """Report that `done` of `total` units of `task` are finished; `done == total` ends the task."""

    def note(self, message: str) -> None:
        """Report one event worth a line."""


class Silent:
    """A listener that ignores everything: the default of library calls."""

    def update(self, task: str, done: float, total: float | None, unit: str) -> None:
        """Ignore the report."""

    def note(self, message: str) -> None:
        """Ignore the message."""
