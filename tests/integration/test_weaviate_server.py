"""Embedded mode: a server that is started for a project, shared, found again, and ended; this file is also a user."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from steelyard.errors import ConfigError, ServiceError
from steelyard.index.weaviate_connection import Place, connect
from steelyard.index.weaviate_server import find_program, free_ports, hold_server, running_server
from steelyard.index.weaviate_store import WeaviateIndex
from steelyard.records import Passage

UNIT = [1.0, 0.0]


def place(folder: Path, program: Path) -> Place:
    """Return an embedded server's place."""
    return Place("embedded", "Mine", version="1.39.0", folder=str(folder), program=str(program))


def open_index(folder: Path, program: Path) -> WeaviateIndex:
    """Return an index in the folder's server."""
    connection = connect(place(folder, program), api_key=None)
    return WeaviateIndex(connection, namespace="Mine", collection="Passages_a", dimensions=2)


def a_program(folder: Path, text: str) -> Path:
    """Return an executable script in the place of the server."""
    program = folder / "weaviate-server"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return program


def test_embedded_server_left_by_a_killed_process_is_used_again_and_then_ended(weaviate_program, tmp_path, monkeypatch):
    """Killed with SIGKILL, a user leaves its server behind; the next one finds it, with all data, and ends it."""
    for name, value in {"GRPC_PORT": "1", "PERSISTENCE_DATA_PATH": "/nowhere", "AUTOSCHEMA_ENABLED": "true"}.items():
        monkeypatch.setenv(name, value)
    killed = subprocess.run([sys.executable, __file__, str(tmp_path), str(weaviate_program)], check=False, timeout=240)
    assert killed.returncode == -signal.SIGKILL
    left = running_server(tmp_path)
    assert left is not None
    assert not Path("/nowhere").exists()

    index, second = open_index(tmp_path, weaviate_program), open_index(tmp_path, weaviate_program)
    assert index.ids_in(1) == ["written before the kill"]
    assert running_server(tmp_path) == left
    index.close()
    assert second.count(1) == 1  # the first of two users does not take the server from the other
    second.close()
    assert running_server(tmp_path) is None
    assert not is_running(left.process_id)

    with connect_again(tmp_path, weaviate_program) as server:
        assert stat_mode(tmp_path / "server.json") == 0o600
        check_that_strangers_are_refused(server)
        third = open_index(tmp_path, weaviate_program)
        assert third.ids_in(1) == ["written before the kill"]
        psutil.Process(server.process_id).kill()
        with pytest.raises(ServiceError, match="collection Passages_a in Weaviate cannot be"):
            third.count(1)
        third.close()


class connect_again:  # noqa: N801 - reads as the statement that it is used in
    """Hold the server for a block."""

    def __init__(self, folder: Path, program: Path) -> None:
        self._folder, self._program = folder, program

    def __enter__(self):
        self._held = hold_server(self._folder, program=self._program, version="1.39.0")
        return self._held.server

    def __exit__(self, *error) -> None:
        self._held.release()


def is_running(process_id: int) -> bool:
    """Return whether a process runs; one that has ended may still wait for its parent to notice."""
    try:
        return psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def stat_mode(file: Path) -> int:
    """Return a file's permissions."""
    return file.stat().st_mode & 0o777


def check_that_strangers_are_refused(server) -> None:
    """HTTP listens on loopback alone; gRPC cannot be told to, and asks for the key."""
    without = Place("local", "Mine", http_port=server.http_port, grpc_port=server.grpc_port)
    with pytest.raises(ServiceError, match="refuses access without a key"):
        connect(without, api_key=None)
    with pytest.raises(ServiceError, match="refuses the key"):
        connect(without, api_key="wrong")
    listening = [
        one.laddr for one in psutil.Process(server.process_id).net_connections("tcp") if one.status == "LISTEN"
    ]
    assert {address.ip for address in listening if address.port == server.http_port} == {"127.0.0.1"}


def test_embedded_server_that_ends_at_once_is_told_with_its_last_words(tmp_path):
    """The start does not wait for a program that has ended; nothing is left behind."""
    program = a_program(tmp_path, "echo 'cannot read this disk'; exit 3")

    with pytest.raises(ServiceError, match=r"ended with code 3 while it started; it said last: cannot read this disk"):
        hold_server(tmp_path / "data", program=program, version="1.39.0")
    assert running_server(tmp_path / "data") is None


def test_embedded_program_is_looked_for_where_it_may_be(tmp_path, monkeypatch):
    """A file as it is, weaviate-server in a folder or on PATH, or the client's own download; nothing is fetched."""
    program = a_program(tmp_path, "exit 0")
    kept = (
        tmp_path / "cache" / "weaviate-v1.39.0-f5768c3a2fc3a38d93873cb4d5531e2d0438633c412a0a4d3503fd6205bb676e"
    )  # the name that the client's download gets
    assert find_program(program, version="1.39.0") == program
    assert find_program(tmp_path, version="1.39.0") == program
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program(None, version="1.39.0") == program
    kept.parent.mkdir()
    program.rename(kept)
    assert find_program(kept.parent, version="1.39.0") == kept
    kept.chmod(0o644)
    with pytest.raises(ConfigError, match="cannot be executed"):
        find_program(kept.parent, version="1.39.0")


def test_embedded_program_that_cannot_be_fetched_says_what_else_can_be_done(tmp_path, monkeypatch):
    """Without a way to the release the message names the folder, PATH, Go and the how-to page."""
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{free_ports().http}")

    with pytest.raises(ServiceError, match=r"1\.39\.0 cannot be fetched into (.|\n)*go install(.|\n)*weaviate\.md"):
        find_program(tmp_path, version="1.39.0")


def test_embedded_record_of_another_process_is_not_mistaken_for_the_server(tmp_path):
    """A process number that was given to another program since is not waited for, used or ended."""
    record = {"process_id": os.getpid(), "created": 1.0, "http_port": 1, "grpc_port": 2, "api_key": "k"}
    (tmp_path / "server.json").write_text(json.dumps(record))

    assert running_server(tmp_path) is None


def test_free_ports_are_free_and_differ():
    """Six ports, gossip and data neighbours as the cluster wants them."""
    ports = free_ports()

    numbers = [ports.http, ports.grpc, ports.raft, ports.raft_rpc, ports.gossip, ports.data]
    assert len(set(numbers)) == 6
    assert ports.data == ports.gossip + 1
    for number in numbers:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", number))


if __name__ == "__main__":
    written = open_index(Path(sys.argv[1]), Path(sys.argv[2]))
    written.write([Passage("written before the kill", "d", 0, "", "", "text", "", 1)], [UNIT])
    os.kill(os.getpid(), signal.SIGKILL)
