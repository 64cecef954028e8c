"""A Weaviate server of this machine, started for a project: embedded mode.

Belongs here: finding or fetching the program, starting it with an environment of its own, sharing it between
processes, ending it. Not here: talking to it (see `weaviate_connection`).

weaviate-client can start a server too, but takes the caller's environment with it, notices after 30 seconds that
the program has ended, and refuses to start beside a server that a killed process left behind. So only its download
is used. In the data folder lie `server.json` (the process, its ports and its key, readable by the owner alone),
`server.log` and two lock files: whoever uses the server holds `users.lock`, which the system lets go of however a
process ends. The last user ends the server; one that was left behind is found by the next, used, and then ended.

The server's HTTP side listens on loopback. Its gRPC and cluster ports listen on every interface, whatever it is told,
so they ask for a key and a password, drawn anew for every start.
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from steelyard.errors import ConfigError, ServiceError

_PROGRAM = "weaviate-server"
_LOOPBACK = "127.0.0.1"
_START_SECONDS = 120.0  # 3 to 8 on an idle machine; with a large log to read back, or others at work, much longer
_STOP_SECONDS = 60.0  # it writes what it holds in memory to the disk
_PAUSE_SECONDS = 0.1
_LOG_LINES = 5
# What a program needs to run at all, and Go's own limits; no setting of Weaviate comes from the caller's environment.
_INHERITED = ("PATH", "HOME", "TMPDIR", "LANG", "GOMAXPROCS", "GOMEMLIMIT", "GOGC")


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of one server; the ones for a cluster are needed by a single node as well."""

    http: int
    grpc: int
    raft: int
    raft_rpc: int
    gossip: int
    data: int


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server process; `created` tells it from a later process with the same number."""

    process_id: int
    created: float
    http_port: int
    grpc_port: int
    api_key: str


class HeldServer:
    """A server, and this process's word that it uses it; `child` is the server's process where it was started here."""

    def __init__(
        self, server: RunningServer, folder: Path, users: IO[str], child: subprocess.Popen[bytes] | None
    ) -> None:
        self.server = server
        self._folder = folder
        self._users = users
        self._child = child
        atexit.register(self.release)

    def release(self) -> None:
        """Stop using the server; the last user ends it. Doing so twice is no error."""
        if self._users.closed:
            return
        atexit.unregister(self.release)
        with _locked(self._folder):
            fcntl.flock(self._users, fcntl.LOCK_UN)
            try:
                fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass  # somebody else uses it
            else:
                _end(self.server)
                if self._child is not None:
                    self._child.wait()
                _record(self._folder).unlink(missing_ok=True)
            self._users.close()


def hold_server(folder: Path, *, program: Path | None, version: str) -> HeldServer:
    """Return the server whose data lie in `folder`, started unless it runs; `release` it after use.

    `program` is an executable, a folder that holds one or gets it, or None for the usual places (see
    `program_here`). Raises `ConfigError` for a program that cannot be run, `ServiceError` when it cannot be fetched
    or does not come up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    users = (folder / "users.lock").open("w")
    child = None
    try:
        with _locked(folder):
            server = running_server(folder)
            if server is not None and not _is_ready_within(server, _START_SECONDS):
                _end(server)  # it hangs: nobody can be using it
                server = None
            if server is None:
                server, child = _start_for(folder, find_program(program, version=version))
            fcntl.flock(users, fcntl.LOCK_SH)
    except BaseException:
        users.close()
        raise
    return HeldServer(server, folder, users, child)


def running_server(folder: Path) -> RunningServer | None:
    """Return the server that runs on a data folder, whoever started it; None when none does."""
    try:
        server = RunningServer(**json.loads(_record(folder).read_text(encoding="utf-8")))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):  # written in one step; else it is not ours
        return None
    return server if _process(server) is not None else None


def find_program(program: Path | None, *, version: str) -> Path:
    """Return the executable to start, fetching it where `program_here` finds none."""
    found = program_here(program, version=version)
    if found is not None:
        return found
    folder = program or _clients_folder()
    _download(folder, version)
    return _executable(_download_in(folder, version))


def program_here(program: Path | None, *, version: str) -> Path | None:
    """Return the executable that is on this machine, None when it would have to be fetched.

    A file is taken as it is. In a folder, `weaviate-server` is looked for, then the file that weaviate-client keeps
    its download in; without a folder, `weaviate-server` on PATH, then the client's own folder. Raises `ConfigError`
    for a file that cannot be executed.
    """
    if program is not None and not program.is_dir() and program.exists():
        return _executable(program)
    if program is None and (on_path := shutil.which(_PROGRAM)):
        return Path(on_path)
    folder = program or _clients_folder()
    candidates = (folder / _PROGRAM, _download_in(folder, version))
    return next((_executable(candidate) for candidate in candidates if candidate.exists()), None)


def _clients_folder() -> Path:
    return Path.home() / ".cache" / "weaviate-embedded"


def _download_in(folder: Path, version: str) -> Path:
    """Return the file that weaviate-client unpacks a release to."""
    tag = f"v{version}"
    return folder / f"weaviate-{tag}-{hashlib.sha256(tag.encode()).hexdigest()}"


def _executable(program: Path) -> Path:
    if not (program.is_file() and os.access(program, os.X_OK)):
        raise ConfigError(
            f"{program} cannot be executed",
            remedy=f"chmod +x {program}, or set index.store.program to Weaviate's server program",
        )
    return program


def _download(folder: Path, version: str) -> None:
    """Let weaviate-client fetch the server's release into a folder."""
    import tarfile
    import zipfile

    from weaviate.embedded import EmbeddedOptions, EmbeddedV4
    from weaviate.exceptions import WeaviateBaseError

    try:
        options = EmbeddedOptions(persistence_data_path=str(folder), binary_path=str(folder), version=version)
        EmbeddedV4(options).ensure_weaviate_binary_exists()
    except (OSError, WeaviateBaseError, tarfile.TarError, zipfile.BadZipFile, KeyError) as error:
        raise ServiceError(
            f"Weaviate {version} cannot be fetched into {folder}: {error}",
            remedy=f"put a {_PROGRAM} on PATH or name it as index.store.program (with Go: go install "
            f"github.com/weaviate/weaviate/cmd/weaviate-server@v{version}), or use a server: docs/how-to/weaviate.md",
        ) from error


def _start_for(folder: Path, program: Path) -> tuple[RunningServer, subprocess.Popen[bytes]]:
    import psutil

    key, log = secrets.token_urlsafe(24), folder / "server.log"
    ports = free_ports()
    process = start_program(program, folder=folder / "data", ports=ports, log=log, api_key=key)
    server = RunningServer(process.pid, psutil.Process(process.pid).create_time(), ports.http, ports.grpc, key)
    _write_record(folder, server)  # before it is ready: whoever is killed meanwhile leaves a server that is found
    try:
        wait_until_ready(process, ports, log=log)
    except BaseException:
        _end(server)
        process.wait()
        _record(folder).unlink(missing_ok=True)
        raise
    return server, process


def start_program(
    program: Path, *, folder: Path, ports: Ports, log: Path, api_key: str | None
) -> subprocess.Popen[bytes]:
    """Start a server with its data in `folder`; without a key, whoever reaches its ports may use it."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(program), "--host", _LOOPBACK, "--port", str(ports.http), "--scheme", "http"]
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    with log.open("wb") as out:
        try:
            return subprocess.Popen(  # noqa: S603 - a program that the user has named or installed
                command,
                env=environment | _settings(folder, ports, api_key),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us: we end it after the last write
            )
        except OSError as error:
            raise ConfigError(
                f"{program} cannot be started: {error}",
                remedy="set index.store.program to Weaviate's server program for this machine",
            ) from error


def _settings(folder: Path, ports: Ports, api_key: str | None) -> dict[str, str]:
    """Return Weaviate's environment: one node, on this machine, that tells nobody and makes no schema by itself."""
    access = {"AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "true"}
    if api_key is not None:
        access = {
            "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "false",
            "AUTHENTICATION_APIKEY_ENABLED": "true",
            "AUTHENTICATION_APIKEY_ALLOWED_KEYS": api_key,
            "AUTHENTICATION_APIKEY_USERS": "steelyard",
        }
    return access | {
        "PERSISTENCE_DATA_PATH": str(folder),
        "GRPC_PORT": str(ports.grpc),
        "CLUSTER_HOSTNAME": "node1",  # else the machine's name: data could not be moved, nor the machine renamed
        "CLUSTER_ADVERTISE_ADDR": _LOOPBACK,
        "CLUSTER_BIND_ADDR": _LOOPBACK,
        "CLUSTER_GOSSIP_BIND_PORT": str(ports.gossip),
        "CLUSTER_DATA_BIND_PORT": str(ports.data),
        "CLUSTER_BASIC_AUTH_USERNAME": "steelyard",
        "CLUSTER_BASIC_AUTH_PASSWORD": secrets.token_urlsafe(24),
        "RAFT_PORT": str(ports.raft),
        "RAFT_INTERNAL_RPC_PORT": str(ports.raft_rpc),
        "RAFT_BOOTSTRAP_EXPECT": "1",
        "RAFT_JOIN": f"node1:{ports.raft}",
        "DISK_USE_READONLY_PERCENTAGE": "100",  # a laptop's disk is often nine tenths full, which is Weaviate's limit
        "GO_PROFILING_DISABLE": "true",
        "PROMETHEUS_MONITORING_ENABLED": "false",
        "DISABLE_TELEMETRY": "true",
        "AUTOSCHEMA_ENABLED": "false",
    }


def free_ports() -> Ports:
    """Return ports that nobody listens on; gossip and data are neighbours, as Weaviate's cluster wants them."""
    while True:
        with _probes(6) as numbers:
            http, grpc, raft, raft_rpc, gossip, _ = numbers
        with socket.socket() as neighbour:
            try:
                neighbour.bind((_LOOPBACK, gossip + 1))
            except OSError:
                continue
        ports = Ports(http, grpc, raft, raft_rpc, gossip, gossip + 1)
        if len(set(asdict(ports).values())) == len(asdict(ports)):
            return ports


@contextmanager
def _probes(count: int) -> Iterator[list[int]]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for probe in sockets:
            probe.bind((_LOOPBACK, 0))
        yield [int(probe.getsockname()[1]) for probe in sockets]
    finally:
        for probe in sockets:
            probe.close()


def wait_until_ready(process: subprocess.Popen[bytes], ports: Ports, *, log: Path) -> None:
    """Return when the server answers; raise `ServiceError` as soon as it has ended, or when it takes too long."""
    give_up = time.monotonic() + _START_SECONDS
    while not _is_ready(ports.http, ports.grpc):
        if process.poll() is not None:
            raise ServiceError(
                f"Weaviate's server ended with code {process.returncode} while it started; it said last: {_tail(log)}",
                remedy=f"read {log}; a program for another system ends at once",
            )
        if time.monotonic() > give_up:
            raise ServiceError(
                f"Weaviate's server was not ready after {_START_SECONDS:.0f} seconds; it said last: {_tail(log)}",
                remedy=f"read {log}, and look at the load of this machine",
            )
        time.sleep(_PAUSE_SECONDS)


def _is_ready(http_port: int, grpc_port: int) -> bool:
    import httpx

    try:
        answer = httpx.get(f"http://{_LOOPBACK}:{http_port}/v1/.well-known/ready", timeout=5, trust_env=False)
        socket.create_connection((_LOOPBACK, grpc_port), timeout=5).close()
    except (httpx.HTTPError, OSError):
        return False
    return answer.is_success


def _is_ready_within(server: RunningServer, seconds: float) -> bool:
    give_up = time.monotonic() + seconds
    while not _is_ready(server.http_port, server.grpc_port):
        if _process(server) is None or time.monotonic() > give_up:
            return False
        time.sleep(_PAUSE_SECONDS)
    return True


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return " | ".join(lines[-_LOG_LINES:]) or "nothing"


def _process(server: RunningServer) -> Any:
    """Return the server's process, None when it has ended."""
    import psutil

    try:
        process = psutil.Process(server.process_id)
        is_it = process.create_time() == server.created and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if is_it else None


def _end(server: RunningServer) -> None:
    """End a server and wait for it: gently, then by force."""
    import psutil

    for ask in (psutil.Process.terminate, psutil.Process.kill):
        process = _process(server)
        if process is None:
            return
        with suppress(psutil.NoSuchProcess):
            ask(process)
        give_up = time.monotonic() + _STOP_SECONDS
        # Not `process.wait`: the process that started the server may not have taken note of its end yet.
        while _process(server) is not None and time.monotonic() < give_up:
            time.sleep(_PAUSE_SECONDS)


def memory_bytes(http_port: int) -> int | None:
    """Return the memory of the Weaviate server of this machine that listens on a port; None when none can be seen."""
    import psutil

    try:
        owners = {one.pid for one in psutil.net_connections("tcp") if one.laddr and one.laddr.port == http_port}
        processes = [psutil.Process(number) for number in owners if number is not None]
        sizes = [int(one.memory_info().rss) for one in processes if "weaviate" in one.name()]
    except psutil.Error:
        return None  # another user's, or gone meanwhile
    return max(sizes, default=None)


def _record(folder: Path) -> Path:
    return folder / "server.json"


def _write_record(folder: Path, server: RunningServer) -> None:
    """Replace the record in one step; it holds a key, so nobody else may read it."""
    aside = _record(folder).with_suffix(".part")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        json.dump(asdict(server), out)
    aside.replace(_record(folder))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock under which a server is looked for, started and ended."""
    with (folder / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
