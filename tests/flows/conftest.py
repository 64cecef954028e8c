"""One Prefect server for all flow tests, and copies of the lifecycle project to run."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from projects import ROOT, Project

_SERVER_SECONDS = 180


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory):
    """Start a Prefect server on loopback and stop it at the end; yield its API's address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tmp_path_factory.mktemp("prefect")
    log = (home / "server.log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"],
        env={**os.environ, "PREFECT_HOME": str(home)},
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    address = f"http://127.0.0.1:{port}/api"
    try:
        _wait_for(process, address, home / "server.log")
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_for(process: subprocess.Popen[Any], address: str, log: Path) -> None:
    deadline = time.monotonic() + _SERVER_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(f"{address}/health", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    pytest.fail(f"the Prefect server did not start: {log.read_text()}")


@pytest.fixture(scope="session")
def make_project(prefect_server, tmp_path_factory):
    """Return a function that copies the lifecycle project to a fresh folder."""

    def make(name: str = "smoke.yaml") -> Project:
        folder = tmp_path_factory.mktemp("project") / "lifecycle"
        shutil.copytree(ROOT / "configs/lifecycle", folder, ignore=shutil.ignore_patterns(".steelyard"))
        cache = os.environ.get("STEELYARD_CACHE")
        environment = {**os.environ, "PREFECT_API_URL": prefect_server}
        return Project(folder / name, environment | ({"STEELYARD_CACHE": cache} if cache else {}))

    return make


@pytest.fixture(scope="session")
def undisturbed(make_project):
    """Return a project that was run once without disturbance, and the report of that run."""
    project = make_project()
    return project, project.run()
