"""The Prefect server of a run: the one that is set, or a temporary one that lives as long as the run.

Belongs here: settings of the temporary server, and ending one that a killed run left behind. Not here: flows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_LOGGING_LEVEL,
    PREFECT_LOGGING_TO_API_ENABLED,
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE,
    PREFECT_SERVER_ANALYTICS_ENABLED,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    temporary_settings,
)

# A server that lives for one run tells nobody about itself.
_TEMPORARY = {
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: True,
    PREFECT_SERVER_ANALYTICS_ENABLED: False,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 180,  # a busy machine takes longer than the usual 20 s
    PREFECT_LOGGING_TO_API_ENABLED: False,  # its logs would go with it
    PREFECT_LOGGING_LEVEL: "WARNING",  # the run tells its progress itself
}
_OWNER = "STEELYARD_SERVER_OF"  # in the server's environment: the process that it works for


@contextmanager
def server_at_hand() -> Iterator[None]:
    """Use the server that PREFECT_API_URL names, or one that Prefect starts and stops with this process."""
    if PREFECT_API_URL.value():
        yield
        return
    _stop_orphans()
    os.environ[_OWNER] = str(os.getpid())
    with temporary_settings(updates=_TEMPORARY):
        yield


def _stop_orphans() -> None:
    """End temporary servers whose process was killed: Prefect stops its server at exit, which kill -9 skips."""
    import psutil

    for process in psutil.process_iter():
        try:
            owner = process.environ().get(_OWNER)
            is_server = any("prefect.server" in word for word in process.cmdline())
        except (psutil.Error, OSError):
            continue
        if owner is not None and is_server and not psutil.pid_exists(int(owner)):
            process.terminate()
