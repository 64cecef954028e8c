"""Servers started beside us and stopped with us: none is left behind.

Belongs here: starting a program in a process group of its own, waiting until it answers, stopping it with all that it
started. Not here: which servers (see `steelyard.cli.up`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steelyard.errors import ServiceError

_OK = 200
_PAUSE_SECONDS = 0.2
_GRACE_SECONDS = 10.0  # a server that is asked to stop gets this long
_SHOWN_CHARACTERS = 2_000  # of a log, when a server does not start


@dataclass(frozen=True, slots=True)
class Server:
    """A program that was started: its name for messages, its process, the file that it writes to."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path


def start(name: str, command: Sequence[str], *, log: Path, environment: Mapping[str, str]) -> Server:
    """Start a program in a group of its own, so that Ctrl-C reaches us alone; its output goes to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        process = subprocess.Popen(  # noqa: S603 - the command is ours
            list(command), env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=file,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    return Server(name, process, log)


def answers(address: str) -> bool:
    """Tell whether a health address answers with 200."""
    try:
        with urllib.request.urlopen(address, timeout=5) as response:  # noqa: S310 - an address of ours
            return bool(response.status == _OK)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def wait_until_it_answers(server: Server, address: str, *, seconds: float, is_stopped: Any = None) -> None:
    """Wait for a server's health address.

    Raises `ServiceError` when it ends or does not answer in time; returns early when `is_stopped` is set.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if is_stopped is not None and is_stopped.is_set():
            return
        if server.process.poll() is not None:
            raise _did_not_start(server, f"ended with code {server.process.returncode}")
        if answers(address):
            return
        time.sleep(_PAUSE_SECONDS)
    raise _did_not_start(server, f"did not answer within {seconds:.0f} s")


def stop(servers: Sequence[Server]) -> None:
    """Ask servers to stop, the last one first, and end what is left of them and of what they started."""
    import psutil

    for server in reversed(servers):
        family = _family(server)
        with contextlib.suppress(psutil.Error):
            psutil.Process(server.process.pid).send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(family, timeout=_GRACE_SECONDS)
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(alive, timeout=_GRACE_SECONDS)
        server.process.wait()


def _family(server: Server) -> list[Any]:
    """Return a server's process and all that it started, also in groups of their own."""
    import psutil

    try:
        parent = psutil.Process(server.process.pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return []


def _did_not_start(server: Server, what: str) -> ServiceError:
    text = server.log.read_text(encoding="utf-8", errors="replace")[-_SHOWN_CHARACTERS:].strip()
    return ServiceError(
        f"{server.name} {what}; the end of {server.log}:\n{text}", remedy="see that log, or try another port"
    )
