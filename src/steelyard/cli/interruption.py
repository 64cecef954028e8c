"""Ctrl-C: work gets a moment to put things away, then the process ends, whatever hangs.

Belongs here: that moment and that end. Not here: resuming, which every stage sees to itself. Prefect answers Ctrl-C by
telling its server, and its temporary server, which gets the same Ctrl-C, is gone by then: it tries for minutes.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 128 + signal.SIGINT
_GRACE_SECONDS = 3.0


@contextmanager
def prompt_interruption(*, grace_seconds: float = _GRACE_SECONDS) -> Iterator[None]:
    """End the process soon after Ctrl-C, and at once on the second; outside the main thread change nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    was_interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal was_interrupted
        if was_interrupted:
            end_now()
        was_interrupted = True
        timer = threading.Timer(grace_seconds, end_now)
        timer.daemon = True
        timer.start()
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def tell_interruption() -> None:
    """Say what to do next, and show the cursor that a progress bar may have hidden."""
    if sys.stderr.isatty():
        sys.stderr.write("\x1b[?25h")
    sys.stderr.write("interrupted; run again to resume\n")
    sys.stderr.flush()


def end_now() -> None:
    """End this process and the ones it started, as a kill would; what is stored is safe against that."""
    import psutil

    tell_interruption()
    for child in psutil.Process().children(recursive=True):
        child.terminate()
    os._exit(EXIT_CODE)
