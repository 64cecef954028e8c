"""A Weaviate server for tests: WEAVIATE_URL's, or one that is started here and ended after the last test."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from steelyard.index.protocol import Index
from steelyard.index.weaviate_connection import Place, connect
from steelyard.index.weaviate_server import Ports, free_ports, start_program, wait_until_ready

NONE = "no Weaviate: set WEAVIATE_URL, or put weaviate-server on PATH (`make weaviate-server` builds it where Go is)"
OpenIndex = Callable[..., Index]


@dataclass
class LiveServer:
    """A server process on its own folder; it can be killed, and started again on the same data."""

    program: Path
    folder: Path
    ports: Ports
    process: subprocess.Popen | None = None

    @property
    def place(self) -> Place:
        """Where the server is; with a namespace of its own in every call."""
        return Place("local", f"T{uuid.uuid4().hex[:8]}", http_port=self.ports.http, grpc_port=self.ports.grpc)

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = self.folder / "server.log"
        self.process = start_program(self.program, folder=self.folder / "data", ports=self.ports, log=log, api_key=None)
        wait_until_ready(self.process, self.ports, log=log)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it gently."""
        self.process.terminate()
        self.process.wait(timeout=60)


def find_weaviate() -> Path | None:
    """Return the server program that is on PATH or where `go install` puts it."""
    if program := shutil.which("weaviate-server"):
        return Path(program)
    if go := shutil.which("go"):
        folder = subprocess.run([go, "env", "GOPATH"], capture_output=True, text=True, check=True).stdout.strip()
        program = Path(folder) / "bin" / "weaviate-server"
        return program if program.is_file() else None
    return None


@pytest.fixture(scope="session")
def weaviate_program() -> Path:
    """Return the server program; skip without one, fail where WEAVIATE_REQUIRED says that there must be one."""
    program = find_weaviate()
    if program is None:
        (pytest.fail if os.environ.get("WEAVIATE_REQUIRED") else pytest.skip)(NONE)
    return program


@pytest.fixture(scope="session")
def start_weaviate(weaviate_program, tmp_path_factory) -> Iterator[Callable[[], LiveServer]]:
    """Return what starts a server for a test that does harm to it."""
    started = []

    def start() -> LiveServer:
        server = LiveServer(weaviate_program, tmp_path_factory.mktemp("weaviate"), free_ports())
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture(scope="session")
def weaviate_place(request) -> Place:
    """Return where the shared server is."""
    if url := os.environ.get("WEAVIATE_URL"):
        parts = urlsplit(url)
        grpc = int(os.environ.get("WEAVIATE_GRPC_PORT", "50051"))
        return Place("local", "Unused", host=parts.hostname or "127.0.0.1", http_port=parts.port or 80, grpc_port=grpc)
    return request.getfixturevalue("start_weaviate")().place


@pytest.fixture
def open_weaviate(weaviate_place) -> Iterator[OpenIndex]:
    """Return what opens an index in the shared server; what a test made is removed after it."""
    from steelyard.index.weaviate_state import State
    from steelyard.index.weaviate_store import WeaviateIndex

    namespace, opened = f"T{uuid.uuid4().hex[:8]}", []

    def open_(collection: str, dimensions: int = 4) -> WeaviateIndex:
        connection = connect(weaviate_place, api_key=os.environ.get("WEAVIATE_API_KEY"))
        opened.append(WeaviateIndex(connection, namespace=namespace, collection=collection, dimensions=dimensions))
        return opened[-1]

    yield open_
    if opened:
        connection = connect(weaviate_place, api_key=os.environ.get("WEAVIATE_API_KEY"))
        connection.client.alias.delete(alias_name=State(connection, namespace).alias)
        names = [name for name in connection.client.collections.list_all() if name.startswith(namespace)]
        connection.client.collections.delete(names)
        connection.close()
    for index in opened:
        index.close()
