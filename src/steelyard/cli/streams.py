"""What goes to stdout and what to stderr.

Belongs here: keeping stdout for the result alone, and how an error is told. Not here: what results look like.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

from steelyard.errors import SteelyardError

_WIDTH_WITHOUT_TERMINAL = 140  # a log or a file has no width of its own; tables then stay whole
_STDOUT, _STDERR = 1, 2

# Libraries that talk on their own account are quiet unless the user has said otherwise; none of them phones home.
_QUIET = {
    # only what Prefect shows on the console: a server, where one is set, gets its logs as ever
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_HANDLERS_DEBUG_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "TRANSFORMERS_VERBOSITY": "error",
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
_PRIVATE = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "GX_ANALYTICS_ENABLED": "false",
}


def quieten_libraries(*, is_verbose: bool) -> None:
    """Set what libraries read from the environment when they are imported; what the user has set stays."""
    for name, value in (_PRIVATE if is_verbose else _PRIVATE | _QUIET).items():
        os.environ.setdefault(name, value)
    if not is_verbose and not sys.warnoptions:
        warnings.simplefilter("ignore")  # they are about libraries' use of each other: nothing a user can act on


def silence_exit() -> None:
    """Let nobody write to stderr after the program's end has been told.

    DuckDB's bindings list objects that are alive when the interpreter goes down: dozens of lines about nothing that
    a user could do. Exit handlers run in reverse order, so this one, registered first, runs after all others.
    """
    atexit.register(_close_stderr)


def _close_stderr() -> None:
    sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, _STDERR)


@contextmanager
def reserved_stdout() -> Iterator[TextIO]:
    """Yield a stream to stdout while everything else printed there, also by child processes, goes to stderr."""
    sys.stdout.flush()
    kept = os.dup(_STDOUT)
    results = os.fdopen(os.dup(kept), "w", encoding="utf-8")
    os.dup2(_STDERR, _STDOUT)
    try:
        with redirect_stdout(sys.stderr):
            yield results
    finally:
        sys.stdout.flush()
        os.dup2(kept, _STDOUT)
        os.close(kept)
        results.close()


def print_json(value: Mapping[str, Any], stream: TextIO) -> None:
    """Print one JSON object and a line feed."""
    json.dump(value, stream, ensure_ascii=False, indent=2, allow_nan=False)
    stream.write("\n")
    stream.flush()


def console(stream: TextIO) -> Any:
    """Return a Rich console for a stream: as wide as the terminal, wide enough for a table without one."""
    from rich.console import Console

    width = None if stream.isatty() else _WIDTH_WITHOUT_TERMINAL
    return Console(file=stream, width=width, highlight=False, emoji=False, markup=False)


def tell_error(error: SteelyardError) -> None:
    """Print an error that a user can fix on stderr, without a traceback."""
    shown = console(sys.stderr)
    shown.print("error: ", style="bold red", end="", soft_wrap=True)
    shown.print(str(error), soft_wrap=True)


def error_record(kind: str, message: str, *, exit_code: int, remedy: str | None = None) -> dict[str, Any]:
    """Return an error as the JSON object that `--json` prints."""
    return {"error": {"type": kind, "message": message, "remedy": remedy, "exit_code": exit_code}}
