"""Streams and progress: stdout holds the result alone."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest

from steelyard.cli.progress import Lines, amount, terminal_progress
from steelyard.cli.session import open_session
from steelyard.cli.streams import print_json, quieten_libraries


def test_session_keeps_stdout_for_the_result(capfd):
    """What libraries and child processes print goes to stderr; the result alone goes to stdout."""
    with open_session() as session:
        print("from a library")  # noqa: T201 - what libraries do
        os.write(1, b"from C\n")
        subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
        session.print_json({"a": "ü"})
    print("later")  # noqa: T201
    told = capfd.readouterr()
    result, _, rest = told.out.rpartition("}\n")
    assert json.loads(result + "}") == {"a": "ü"}
    assert rest == "later\n"
    for line in ("from a library", "from C", "from a child"):
        assert line in told.err


def test_session_gives_stdout_back_after_an_error(capfd):
    """Also when the work fails, for the error's own JSON object."""
    with pytest.raises(ZeroDivisionError), open_session():
        raise ZeroDivisionError
    print("here")  # noqa: T201
    assert capfd.readouterr().out == "here\n"


def test_print_json_refuses_what_is_no_json():
    """NaN is not JSON: readers would fail, so the writer does."""
    with pytest.raises(ValueError, match="JSON"):
        print_json({"a": float("nan")}, io.StringIO())


def test_quieten_libraries_leaves_what_the_user_has_set(monkeypatch):
    """The user's own settings win; verbose leaves the logs as they are."""
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "DEBUG")
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    quieten_libraries(is_verbose=True)
    assert "TQDM_DISABLE" not in os.environ
    quieten_libraries(is_verbose=False)
    assert os.environ["TQDM_DISABLE"] == "1"
    assert os.environ["PREFECT_LOGGING_LEVEL"] == "DEBUG"


class _Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_lines_tell_the_first_the_last_and_now_and_then():
    """A log gets a line when a task begins, when it ends, and one in a while."""
    stream, clock = io.StringIO(), _Clock()
    lines = Lines(stream, now=clock)
    for done, seconds in ((0, 0.0), (10, 5.0), (20, 16.0), (30, 17.0), (40, 18.0)):
        clock.seconds = seconds
        lines.update("embed", done, 40, "passages")
    assert stream.getvalue().splitlines() == [
        "embed: 0 of 40 passages",
        "embed: 20 of 40 passages",
        "embed: 40 of 40 passages",
    ]


def test_lines_say_nothing_about_no_work():
    """A task of nothing is not worth a line."""
    stream = io.StringIO()
    Lines(stream).update("embed", 0, 0, "passages")
    assert stream.getvalue() == ""


def test_progress_without_terminal_prints_plain_lines():
    """No control characters end up in a log."""
    stream = io.StringIO()
    with terminal_progress(stream) as progress:
        progress.note("fetching a model")
        progress.update("download", 0, None, "bytes")
        progress.update("download", 5_000_000, 5_000_000, "bytes")
    assert stream.getvalue() == "fetching a model\ndownload: 0.0 MB\ndownload: 5.0 of 5.0 MB\n"


class _Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal_draws_bars(monkeypatch):
    """On a terminal a task has a bar with its name and amount; it is finished when the work is."""
    monkeypatch.setenv("TERM", "xterm")
    stream = _Terminal()
    with terminal_progress(stream) as progress:
        progress.update("embed", 0, 3, "passages")
        progress.update("embed", 3, 3, "passages")
        progress.update("embed", 1, 2, "passages")
        progress.note("[red]as it is[/red]")
    shown = stream.getvalue()
    assert "embed" in shown
    assert "3 of 3 passages" in shown
    assert "1 of 2 passages" in shown
    assert "[red]as it is[/red]" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((1_234, 20_000, "tokens"), "1,234 of 20,000 tokens"),
        ((7, None, "rows"), "7 rows"),
        ((1_500_000, 3_000_000, "bytes"), "1.5 of 3.0 MB"),
    ],
)
def test_amount_in_words(arguments, words):
    """Counts are grouped, bytes are megabytes, an unknown total is left out."""
    assert amount(*arguments) == words
