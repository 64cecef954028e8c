"""The errors a user can meet, each with the exit code that the command line ends with.

Belongs here: the hierarchy and how one error reads. Not here: the checks that raise them.

Every message answers four questions: what is wrong (subject and what was seen), where (file, line, field),
what was expected, and what to do about it.
"""

from __future__ import annotations


class SteelyardError(Exception):
    """Raised when a user can fix the cause; shown without a traceback.

    The first line of the message says what was seen and where; `remedy` says what to do.
    """

    exit_code = 1

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy

    def __str__(self) -> str:
        message = super().__str__()
        return message if self.remedy is None else f"{message}\n  To fix: {self.remedy}"


class ConfigError(SteelyardError):
    """Raised when the project file, a profile, `--set` or the command's own words are wrong."""

    exit_code = 2


class DataError(SteelyardError):
    """Raised when documents, pairs or cases are refused."""

    exit_code = 3


class ServiceError(SteelyardError):
    """Raised when something outside fails: a package index, a store, a tracking server, a disk."""

    exit_code = 4


class BusyError(ServiceError):
    """Raised when another run is at work on the same project."""


class GateError(SteelyardError):
    """Raised when the gate could not run; never used for a verdict."""

    exit_code = 5
