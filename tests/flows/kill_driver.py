"""Runs the program, and kills the process at a chosen call of a chosen function: for tests of interruption.

Usage: python kill_driver.py MODULE:NAME COUNT WORDS…  The process dies (SIGKILL) right after the COUNT-th call.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import Any


def _die_after(target: str, count: int) -> None:
    module_name, _, path = target.partition(":")
    holder: Any = importlib.import_module(module_name)
    *parents, name = path.split(".")
    for parent in parents:
        holder = getattr(holder, parent)
    original, calls = getattr(holder, name), 0

    def dying(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        result = original(*arguments, **named)
        calls += 1
        if calls == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(holder, name, dying)


if __name__ == "__main__":
    _die_after(sys.argv[1], int(sys.argv[2]))
    from steelyard.cli.app import run_program

    sys.exit(run_program(sys.argv[3:]))
