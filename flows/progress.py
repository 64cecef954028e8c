"""Progress for runs that Prefect started: lines in the run's own log.

Belongs here: the listener. Not here: terminals (see `steelyard.cli.progress`).
"""

from __future__ import annotations

import time

from prefect.logging import get_run_logger

_SECONDS_BETWEEN_LINES = 10.0


class RunLog:
    """Writes to the log of the flow or task run at hand, at most one line a task every ten seconds."""

    def __init__(self) -> None:
        self._told: dict[str, float] = {}

    def update(self, task: str, done: float, total: float | None, unit: str) -> None:
        """Log how far a task is."""
        now = time.monotonic()
        is_done = total is not None and done >= total
        if is_done or now - self._told.get(task, 0.0) >= _SECONDS_BETWEEN_LINES:
            self._told[task] = now
            amount = f"{done:,.0f}" if total is None else f"{done:,.0f} of {total:,.0f}"
            get_run_logger().info("%s: %s %s", task, amount, unit)

    def note(self, message: str) -> None:
        """Log one line."""
        get_run_logger().info(message)
