"""What this machine has and lacks: each check is a value with its remedy.

Belongs here: looking, without changing or fetching anything and without importing a heavy library. Not here: choosing
what to look at (see `steelyard.cli.doctor`).
"""

from __future__ import annotations

import dataclasses
import http.client
import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from steelyard.errors import SteelyardError

if TYPE_CHECKING:
    from steelyard.index.weaviate_connection import Place
    from steelyard.index.weaviate_state import ServerDescription

Status = Literal["ok", "warning", "failed"]

LIBRARIES = (
    "prefect", "dlt", "duckdb", "great-expectations", "lancedb", "weaviate-client", "sentence-transformers",
    "torch", "transformers", "peft", "llguidance", "mlflow",
)  # fmt: skip

_GIGABYTE = 1e9
_LEAST_DISK_GIGABYTES = 1.0  # the default checkpoint, unpacked and converted, is 0.6; a checkpoint of training 0.1
_GOOD_DISK_GIGABYTES = 5.0
_GOOD_MEMORY_GIGABYTES = 4.0  # training the default checkpoint takes about 3
_TIMEOUT_SECONDS = 3.0
_OK = 200


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: `failed` means that a run would fail, `warning` that it may."""

    name: str
    status: Status
    message: str
    remedy: str | None = None


def versions() -> dict[str, str]:
    """Return the versions of Python, of Steelyard and of the libraries that its results rest on."""
    found = {"python": platform.python_version()}
    for name in ("steelyard", *LIBRARIES):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def check_python() -> Check:
    """Check the interpreter against what the package asks for."""
    from packaging.specifiers import SpecifierSet

    wanted = importlib.metadata.metadata("steelyard")["Requires-Python"] or ""
    here = platform.python_version()
    if SpecifierSet(wanted).contains(here, prereleases=True):
        return Check("python", "ok", f"Python {here} on {platform.system()} {platform.machine()}")
    return Check("python", "failed", f"Python {here}; {wanted} is needed", "use another Python: make PYTHON=python3.12")


def check_libraries() -> Check:
    """Check that every dependency is installed in a version that the package allows."""
    from packaging.requirements import Requirement

    wrong, count = [], 0
    for text in importlib.metadata.requires("steelyard") or ():
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        count += 1
        try:
            seen = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is not installed")
            continue
        if not requirement.specifier.contains(seen, prereleases=True):
            wrong.append(f"{requirement.name} is {seen}, {requirement.specifier} is needed")
    if wrong:
        return Check("libraries", "failed", "; ".join(wrong), "install again: make install")
    return Check("libraries", "ok", f"{count} dependencies are there in versions that fit")


def check_disk(name: str, folder: Path) -> Check:
    """Check that `folder`, which need not be there yet, can be written and its disk has room."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free / _GIGABYTE
    message = f"{folder}: {free:,.1f} GB free"
    if not os.access(existing, os.W_OK):
        return Check(name, "failed", f"{folder}: {existing} cannot be written", f"make {existing} writable")
    if free < _LEAST_DISK_GIGABYTES:
        return Check(name, "failed", message, f"free {_LEAST_DISK_GIGABYTES:.0f} GB or more")
    if free < _GOOD_DISK_GIGABYTES:
        return Check(name, "warning", message, f"{_GOOD_DISK_GIGABYTES:.0f} GB are comfortable")
    return Check(name, "ok", message)


def check_memory() -> Check:
    """Check the memory that is free now."""
    import psutil

    memory = psutil.virtual_memory()
    free, total = memory.available / _GIGABYTE, memory.total / _GIGABYTE
    message = f"{free:,.1f} of {total:,.1f} GB available, {os.cpu_count()} CPUs"
    if free < _GOOD_MEMORY_GIGABYTES:
        return Check("memory", "warning", message, "close other programs, or lower tune.batch_size")
    return Check("memory", "ok", message)


def check_precision(requested: Literal["auto", "float32", "bfloat16", "float16"]) -> Check:
    """Tell the number format that models would run in here, and why."""
    from steelyard.models.precision import choose_precision

    chosen = choose_precision(requested)
    return Check("precision", "ok", f"{chosen.dtype} on {chosen.device}: {chosen.reason}")


def check_port(name: str, port: int, *, health: str, expected: bytes, option: str) -> Check:
    """Check a port of this machine: free, the expected server, or taken by something else."""
    try:
        status, body = _get(f"http://127.0.0.1:{port}{health}")
    except ConnectionError:
        return Check(name, "ok", f"port {port} is free: no server runs, and none is needed")
    except (OSError, http.client.HTTPException):
        status, body = 0, b""
    if status == _OK and body.strip() == expected:
        return Check(name, "ok", f"a server runs on port {port}")
    return Check(name, "warning", f"port {port} is taken by another program", f"start the server with {option}")


def check_prefect_api(url: str) -> Check:
    """Check the Prefect server that PREFECT_API_URL names."""
    return _check_address(
        "prefect api", f"{url.rstrip('/')}/health", url, "start it, or unset PREFECT_API_URL to run without a server"
    )


def check_tracking(uri: str) -> Check:
    """Check the MLflow server or database that runs and models are tracked in."""
    from steelyard.tracking import sqlite_path, without_password

    database = sqlite_path(uri)
    shown = without_password(uri)
    if database is not None:
        state = "is there" if database.is_file() else "is made by the first run"
        return Check("mlflow", "ok", f"{shown} {state}")
    if urlsplit(uri).scheme in {"http", "https"}:
        return _check_address("mlflow", f"{uri.rstrip('/')}/health", shown, "start it, or correct mlflow.tracking_uri")
    return Check("mlflow", "ok", f"{shown}: not looked at")


def check_lancedb(folder: Path) -> Check:
    """Check the folder of the in-process store."""
    if folder.is_dir() and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return Check("store", "failed", f"LanceDB in {folder} cannot be read and written", f"make {folder} writable")
    return Check(
        "store", "ok", f"LanceDB in {folder} " + ("is there" if folder.is_dir() else "is made by the first run")
    )


def check_weaviate(place: Place, *, api_key: str | None) -> Check:
    """Check that a Weaviate server can be used, and tell what it holds for this project; nothing is made or changed.

    A server that a run starts itself is not started for this.
    """
    from steelyard.index.weaviate_server import program_here, running_server

    if place.mode != "embedded":
        return _describe_weaviate(place, api_key)
    folder = Path(place.folder or "")
    server = running_server(folder)
    if server is not None:
        local = dataclasses.replace(place, mode="local", http_port=server.http_port, grpc_port=server.grpc_port)
        return _describe_weaviate(local, server.api_key)
    program = program_here(None if place.program is None else Path(place.program), version=place.version)
    start = f"Weaviate {place.version} is fetched and" if program is None else f"{program} is"
    return Check("store", "ok", f"{start} started by the next run, with its data in {folder}")


def _describe_weaviate(place: Place, api_key: str | None) -> Check:
    from steelyard.index.weaviate_connection import connect
    from steelyard.index.weaviate_state import State

    try:
        connection = connect(place, api_key=api_key)
        try:
            told = State(connection, place.namespace).describe()
        finally:
            connection.close()
    except SteelyardError as error:
        way_out = "`index: {store: {type: lancedb}}` needs no server"
        return Check("store", "failed", str(error.args[0]), f"{error.remedy}; {way_out}" if error.remedy else way_out)
    return Check("store", "ok", f"Weaviate {told.version} at {connection.endpoints.http_url}: {_in_words(told, place)}")


def _in_words(told: ServerDescription, place: Place) -> str:
    """Return nodes, memory, counts, alias and published snapshot as one line."""
    from steelyard.index.weaviate_server import memory_bytes

    is_here = place.host in {"127.0.0.1", "localhost"}
    memory = memory_bytes(place.http_port) if is_here and place.mode != "cloud" else None
    counts = ", ".join(f"{name} {count} objects" for name, count in told.objects.items()) or "no passages yet"
    alias, target = told.alias
    published = told.published
    parts = [
        "nodes " + ", ".join(told.nodes),
        "memory " + ("not told by the server" if memory is None else f"{memory / 1e6:,.0f} MB"),
        counts,
        f"alias {alias} -> {target or 'nothing yet'}",
    ]
    parts.append(
        "published " + (f"snapshot {published.snapshot} of {published.collection}" if published else "nothing")
    )
    return "; ".join(parts)


def check_model(name: str, source: str, *, sha256: str | None, cache: Path) -> Check:
    """Check whether a model is in the cache; nothing is fetched."""
    if source.startswith("hash:"):
        return Check(name, "ok", f"{source} needs no weights")
    from steelyard.models.source import find_cached, parse_source

    try:
        found = find_cached(parse_source(source), sha256=sha256, cache=cache)
    except SteelyardError as error:
        return Check(name, "failed", str(error.args[0]), error.remedy)
    return Check(name, "ok", f"{source} is " + ("fetched by the first run" if found is None else "in the cache"))


def worst(checks: Sequence[Check]) -> Status:
    """Return the worst status of all checks."""
    order: tuple[Status, ...] = ("ok", "warning", "failed")
    return max((check.status for check in checks), key=order.index, default="ok")


def safely(name: str, look: Callable[[], Check]) -> Check:
    """Return the check, or say that it could not be made: one broken check must not hide the others."""
    try:
        return look()
    except SteelyardError as error:
        return Check(name, "failed", f"could not be checked: {error.args[0]}", error.remedy)
    except (OSError, ImportError) as error:  # of which `PackageNotFoundError` is one
        return Check(name, "failed", f"could not be checked: {error}", "install again: make install")


def _check_address(name: str, url: str, shown: str, remedy: str) -> Check:
    try:
        status, _ = _get(url)
    except (OSError, http.client.HTTPException) as error:
        return Check(name, "failed", f"{shown} cannot be reached: {_why(error)}", remedy)
    if status == _OK:
        return Check(name, "ok", f"{shown} answers")
    return Check(name, "failed", f"{shown} answers with HTTP status {status}", remedy)


def _get(url: str) -> tuple[int, bytes]:
    """Return status and first bytes of what an address answers; raise `OSError` when nobody does."""
    parts = urlsplit(url)
    if parts.hostname is None:
        raise OSError(f"{url} names no host")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", parts.path or "/", headers={"User-Agent": f"steelyard-doctor ({sys.platform})"})
        response = connection.getresponse()
        return response.status, response.read(1_000)
    finally:
        connection.close()


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {_TIMEOUT_SECONDS:.0f} seconds"
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__
