"""Every test is hermetic: telemetry off, no model hub, homes in temporary folders."""

from __future__ import annotations

import os
import tempfile

import pytest
from weaviate_fixtures import (  # noqa: F401 - fixtures are found by their names here
    open_weaviate,
    start_weaviate,
    weaviate_place,
    weaviate_program,
)

_HOME = tempfile.mkdtemp(prefix="steelyard-tests-")
os.environ |= {
    "DO_NOT_TRACK": "1",
    "PREFECT_HOME": f"{_HOME}/prefect",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "GX_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "COLUMNS": "120",
    "OMP_NUM_THREADS": "1",  # small models: threads that wait for one another cost more than they save
}
os.environ.pop("STEELYARD_HOME", None)

_TIERS = ("unit", "integration", "flows")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse tests outside the tiers, so that nobody pays for a slow test without knowing."""
    for item in items:
        parts = item.path.parts
        if item.path.name != "test_layout.py" and not any(tier in parts for tier in _TIERS):
            raise pytest.UsageError(f"{item.path}: tests live in tests/unit, tests/integration or tests/flows")


@pytest.fixture(autouse=True)
def _same_environment():
    """Restore the environment after every test."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
