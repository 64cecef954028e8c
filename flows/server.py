"""The Prefect server of a run: the one that is set, or a temporary one that lives as long as the run.

Belongs here: settings of the temporary server. Not here: flows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_LOGGING_LEVEL,
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE,
    PREFECT_SERVER_ANALYTICS_ENABLED,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    temporary_settings,
)

# A server that lives for one run schedules, triggers and cleans nothing, and tells nobody.
_TEMPORARY = {
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: True,
    PREFECT_SERVER_ANALYTICS_ENABLED: False,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 180,  # a busy machine takes longer than the usual 20 s
    PREFECT_LOGGING_LEVEL: "WARNING",  # the run tells its progress itself
}


@contextmanager
def server_at_hand() -> Iterator[None]:
    """Use the server that PREFECT_API_URL names, or one that Prefect starts and stops with this process."""
    if PREFECT_API_URL.value():
        yield
        return
    with temporary_settings(updates=_TEMPORARY):
        yield
