"""What every command that works has around it: a quiet environment, stdout kept for the result, progress on stderr.

Belongs here: opening and closing these. Not here: a command's own work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

from steelyard.cli.interruption import prompt_interruption
from steelyard.cli.progress import terminal_progress
from steelyard.cli.streams import console, print_json, quieten_libraries, reserved_stdout
from steelyard.progress import Progress


@dataclass(frozen=True, slots=True)
class Session:
    """A command's listener, and the stream that takes its result."""

    progress: Progress
    results: TextIO
    _open_progress: ExitStack

    def end_progress(self) -> None:
        """Take the bars away before the result is printed."""
        self._open_progress.close()

    def print_json(self, value: Mapping[str, Any]) -> None:
        """Print the result as one JSON object on stdout."""
        print_json(value, self.results)

    @property
    def console(self) -> Any:
        """Rich console on stdout."""
        return console(self.results)


@contextmanager
def open_session(*, is_verbose: bool = False) -> Iterator[Session]:
    """Yield a session; call its `end_progress` before printing a result in its console."""
    quieten_libraries(is_verbose=is_verbose)
    with prompt_interruption(), reserved_stdout() as results, ExitStack() as open_progress:
        progress = open_progress.enter_context(terminal_progress())
        yield Session(progress, results, open_progress)
