"""Progress on stderr: bars on a terminal, now and then a line elsewhere.

Belongs here: two listeners that fit `steelyard.progress.Progress`. Not here: who reports.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from steelyard.progress import Progress

_SECONDS_BETWEEN_LINES = 15.0  # a log stays readable, and nobody wonders whether it hangs


@contextmanager
def terminal_progress(stream: TextIO | None = None) -> Iterator[Progress]:
    """Yield a listener that shows work on stderr, and take its bars away at the end."""
    stream = sys.stderr if stream is None else stream
    if not stream.isatty():
        yield Lines(stream)
        return
    bars = Bars(stream)
    try:
        yield bars
    finally:
        bars.close()


class Lines:
    """Plain lines: the first and the last report of a task, and one in `_SECONDS_BETWEEN_LINES` between them."""

    def __init__(self, stream: TextIO, *, now: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._now = now
        self._told: dict[str, float] = {}

    def update(self, task: str, done: float, total: float | None, unit: str) -> None:
        """Print the report unless the task was heard of a moment ago."""
        is_last = total is not None and done >= total
        if is_last and task not in self._told and done == 0:
            return  # nothing to do is not worth a line
        told = self._told.get(task)
        if told is not None and not is_last and self._now() - told < _SECONDS_BETWEEN_LINES:
            return
        self._told[task] = self._now()
        if is_last:
            del self._told[task]
        self._print(f"{task}: {amount(done, total, unit)}")

    def note(self, message: str) -> None:
        """Print the message."""
        self._print(message)

    def _print(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


class Bars:
    """Rich's progress bars, shown from the first report on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}

    def update(self, task: str, done: float, total: float | None, unit: str) -> None:
        """Move the task's bar."""
        bars = self._shown()
        if task not in self._tasks:
            self._tasks[task] = bars.add_task(task, total=total, amount="")
        bars.update(self._tasks[task], completed=done, total=total, amount=amount(done, total, unit))
        if total is not None and done >= total:
            bars.stop_task(self._tasks.pop(task))

    def note(self, message: str) -> None:
        """Print the message above the bars."""
        self._shown().console.print(message)

    def close(self) -> None:
        """Stop drawing; the finished bars stay."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def _shown(self) -> Any:
        if self._bars is None:
            self._bars = _rich_progress(self._stream)
            self._bars.start()
        return self._bars


def _rich_progress(stream: TextIO) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    return Progress(
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[amount]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(file=stream, highlight=False, emoji=False, markup=False),
    )


def amount(done: float, total: float | None, unit: str) -> str:
    """Return "12 of 340 passages", or for bytes "1.2 of 5.0 MB"."""
    if unit == "bytes":
        mega = 1e6
        return f"{done / mega:,.1f} MB" if total is None else f"{done / mega:,.1f} of {total / mega:,.1f} MB"
    return f"{done:,.0f} {unit}" if total is None else f"{done:,.0f} of {total:,.0f} {unit}"
