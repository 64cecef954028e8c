"""Ctrl-C ends the program, whatever hangs."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from steelyard.cli.interruption import prompt_interruption

HANGING = """
import subprocess, sys
from steelyard.cli.interruption import prompt_interruption
with prompt_interruption(grace_seconds={grace}):
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], **quiet)
    while True:
        try:
            print(child.pid, flush=True)
            while True:
                pass
        except KeyboardInterrupt:
            pass
"""


def hanging(grace: float) -> subprocess.Popen[str]:
    """Start a program that answers Ctrl-C by going on, with a child of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", HANGING.format(grace=grace)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def assert_ended(program: subprocess.Popen[str], child: int) -> None:
    """Check exit code, message, and that the child ended with it."""
    import psutil

    out, err = program.communicate(timeout=60)
    assert program.returncode == 130, (out, err)
    assert err == "interrupted; run again to resume\n"
    if psutil.pid_exists(child):
        psutil.Process(child).wait(timeout=60)


def test_interruption_ends_work_that_goes_on_after_the_grace():
    """Work that does not stop by itself is stopped, and so is what it started."""
    program = hanging(grace=0.05)
    child = int(program.stdout.readline())
    program.send_signal(signal.SIGINT)
    assert_ended(program, child)


def test_second_interruption_ends_at_once():
    """Who presses Ctrl-C twice does not wait for the grace."""
    program = hanging(grace=3_600)
    child = int(program.stdout.readline())
    program.send_signal(signal.SIGINT)
    assert int(program.stdout.readline()) == child
    program.send_signal(signal.SIGINT)
    assert_ended(program, child)


def test_interruption_gives_the_old_handler_back():
    """After the work Ctrl-C means what it meant before."""
    before = signal.getsignal(signal.SIGINT)
    with prompt_interruption():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_interruption_in_another_thread_is_left_alone():
    """Signals belong to the main thread; elsewhere nothing is changed and nothing fails."""
    before, errors = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        try:
            with prompt_interruption():
                assert signal.getsignal(signal.SIGINT) is before
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert errors == []


def test_error_that_followed_an_interruption_counts_as_one(monkeypatch, tmp_path, capfd):
    """Ctrl-C also stops the server that Prefect would tell about it: that is no bug."""
    from steelyard.cli.app import run_program

    def fail(*args: object, **options: object) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise ConnectionError("refused")  # noqa: B904 - as libraries do

    monkeypatch.setattr("steelyard.scaffold.scaffold", fail)
    assert run_program(["init", str(tmp_path / "new")]) == 130
    assert capfd.readouterr().err == "interrupted; run again to resume\n"


@pytest.mark.parametrize("words", [["init"], ["init", "--help"]])
def test_program_restores_the_handler_it_found(words, capfd):
    """Running commands in a process of somebody else's leaves its signals alone."""
    from steelyard.cli.app import run_program

    before = signal.getsignal(signal.SIGINT)
    run_program(words)
    assert signal.getsignal(signal.SIGINT) is before
