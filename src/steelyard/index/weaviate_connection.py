"""Reaching a Weaviate server: where it is, whether it answers, what its errors mean.

Belongs here: `Place`, `connect`, and translating what the client raises. Not here: collections (see
`weaviate_store`), starting a server (see `weaviate_server`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from steelyard.errors import ConfigError, ServiceError

Mode = Literal["local", "custom", "cloud", "embedded"]

MINIMUM_VERSION = (1, 32)  # the first with aliases
_LOOPBACK = "127.0.0.1"
_TLS_PORT = 443
_TIMEOUT_SECONDS = 10.0  # for each of the two first contacts
_SERVING = b"\x08\x01"  # grpc.health.v1.HealthCheckResponse with status SERVING, as it comes over the wire
_OK, _REFUSED = 200, (401, 403)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a project's passages lie: a server, and the namespace that begins the names of its collections.

    `local` is plain HTTP and gRPC on one host, `custom` names both hosts and TLS, `cloud` takes the cluster's address
    as `host`. With `embedded` a server of this machine is started, of `version`, its data in `folder`; `program` is
    its executable or a folder that holds or gets it, None for the usual places.
    """

    mode: Mode
    namespace: str
    host: str = _LOOPBACK
    http_port: int = 8080
    grpc_host: str | None = None
    grpc_port: int = 50051
    is_secure: bool = False
    version: str = ""
    folder: str | None = None
    program: str | None = None


class Endpoints(NamedTuple):
    """The two addresses of a server."""

    http_host: str
    http_port: int
    grpc_host: str
    grpc_port: int
    is_secure: bool

    @property
    def http_url(self) -> str:
        """The address of its HTTP side."""
        return f"{'https' if self.is_secure else 'http'}://{self.http_host}:{self.http_port}"

    @property
    def shown(self) -> str:
        """How messages name the server."""
        return f"Weaviate at {self.http_host}:{self.http_port}"


class Connection:
    """A client that is connected, and what it takes to let go of it."""

    def __init__(self, client: Any, *, version: str, endpoints: Endpoints, release: Callable[[], None]) -> None:
        self.client = client
        self.version = version
        self.endpoints = endpoints
        self._release = release

    def close(self) -> None:
        """Close the client, and the server if it was started for it; closing twice is no error."""
        self.client.close()
        self._release()


def connect(place: Place, *, api_key: str | None) -> Connection:
    """Return a connection to the server of a place; whoever asked for it closes it.

    HTTP, key, version and gRPC are checked in this order, so that a message names the one that failed. Raises
    `ServiceError` when the server cannot be reached or started, refuses the key or is too old, and `ConfigError`
    when a cloud's key is missing.
    """
    if place.mode == "cloud" and api_key is None:
        raise ConfigError("Weaviate Cloud needs an API key", remedy="set api_key: ${WEAVIATE_API_KEY}")
    if place.mode != "embedded":
        return _connected(endpoints_of(place), api_key, release=lambda: None)
    from steelyard.index.weaviate_server import hold_server

    assert place.folder is not None, "embedded mode has a folder"
    program = None if place.program is None else Path(place.program)
    held = hold_server(Path(place.folder), program=program, version=place.version)
    server = held.server
    try:
        there = Endpoints(_LOOPBACK, server.http_port, _LOOPBACK, server.grpc_port, False)
        return _connected(there, server.api_key, release=held.release)
    except BaseException:
        held.release()
        raise


def endpoints_of(place: Place) -> Endpoints:
    """Return the addresses of a server that was not started here."""
    host = place.host.removeprefix("https://").rstrip("/")
    if place.mode == "cloud":
        return Endpoints(host, _TLS_PORT, f"grpc-{host}", _TLS_PORT, True)
    return Endpoints(host, place.http_port, place.grpc_host or host, place.grpc_port, place.is_secure)


def _connected(endpoints: Endpoints, api_key: str | None, *, release: Callable[[], None]) -> Connection:
    import weaviate
    from weaviate.classes.init import Auth

    version = _check_http(endpoints, api_key)
    _check_grpc(endpoints)
    with translated(endpoints.shown, "reached"):
        client = weaviate.connect_to_custom(
            http_host=endpoints.http_host,
            http_port=endpoints.http_port,
            http_secure=endpoints.is_secure,
            grpc_host=endpoints.grpc_host,
            grpc_port=endpoints.grpc_port,
            grpc_secure=endpoints.is_secure,
            auth_credentials=None if api_key is None else Auth.api_key(api_key),
            skip_init_checks=True,  # they are made here, and would ask PyPI for the client's newest version as well
        )
    return Connection(client, version=version, endpoints=endpoints, release=release)


def _check_http(endpoints: Endpoints, api_key: str | None) -> str:
    """Return the server's version; refuse one that does not answer, does not know the key, or is too old."""
    import httpx

    headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    with translated(endpoints.shown, "reached"):
        answer = httpx.get(f"{endpoints.http_url}/v1/meta", headers=headers, timeout=_TIMEOUT_SECONDS)
    if answer.status_code in _REFUSED:
        raise ServiceError(
            f"{endpoints.shown} refuses {'access without a key' if api_key is None else 'the key'}: HTTP status "
            f"{answer.status_code}",
            remedy="set index.store.api_key to ${NAME} and the environment variable NAME to a key of that server",
        )
    try:
        version = str(answer.json()["version"])
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError):
        raise ServiceError(
            f"what answers at {endpoints.http_url} is not Weaviate: HTTP status {answer.status_code} for /v1/meta",
            remedy="correct index.store: host and http_port",
        ) from None
    check_version(version, endpoints.shown)
    return version


def check_version(version: str, shown: str) -> None:
    """Refuse a server that lacks what is used, naming the version that has it."""
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < MINIMUM_VERSION:
        needed = ".".join(map(str, MINIMUM_VERSION))
        raise ServiceError(
            f"{shown} is version {version}, and {needed} or later is needed",
            remedy=f"upgrade the server; {needed} is the first version with collection aliases",
        )


def _check_grpc(endpoints: Endpoints) -> None:
    """Ask gRPC's own health service: searches and batches go that way, and fail late and oddly without it."""
    import grpc  # type: ignore[import-untyped]

    address = f"{endpoints.grpc_host}:{endpoints.grpc_port}"
    if endpoints.is_secure:
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials())
    else:
        channel = grpc.insecure_channel(address)
    try:
        health = channel.unary_unary("/grpc.health.v1.Health/Check")  # without serialisers, bytes go in and out
        said = health(b"", timeout=_TIMEOUT_SECONDS)
    except grpc.RpcError as error:
        reason = f"{error.code().name}: {error.details()}" if isinstance(error, grpc.Call) else str(error)
        said, problem = b"", reason
    else:
        problem = "it says that it does not serve"
    finally:
        channel.close()
    if said != _SERVING:
        raise ServiceError(
            f"{endpoints.shown} answers on HTTP, but gRPC at {address} cannot be reached: {problem}",
            remedy="correct index.store.grpc_port (Weaviate's own default is 50051) and open that port too",
        )


@contextmanager
def translated(where: str, done: str) -> Iterator[None]:
    """Translate what the client and its transports raise; `where` cannot be `done`, the message says."""
    import grpc
    import httpx
    from weaviate.exceptions import UnexpectedStatusCodeError, WeaviateBaseError

    try:
        yield
    except (WeaviateBaseError, httpx.HTTPError, grpc.RpcError, OSError) as error:
        is_refused = _is_refusal(error)
        remedy = "check that the server runs, its host and ports, and its log"
        if is_refused:
            remedy = "check the API key and its rights on that server"
        elif isinstance(error, UnexpectedStatusCodeError):
            remedy = "the message above is the server's; its log may say more"
        said = str(error) or type(error).__name__
        raise ServiceError(
            f"{where} {'refuses the key' if is_refused else f'cannot be {done}'}: {said}", remedy=remedy
        ) from error


def is_passing(error: ServiceError) -> bool:
    """Return whether trying again can help: a refused key stays refused."""
    return not _is_refusal(error.__cause__)


def _is_refusal(error: BaseException | None) -> bool:
    from weaviate.exceptions import (
        AuthenticationFailedError,
        InsufficientPermissionsError,
        UnexpectedStatusCodeError,
    )

    if isinstance(error, UnexpectedStatusCodeError):
        return error.status_code in _REFUSED or isinstance(error, InsufficientPermissionsError)
    return isinstance(error, AuthenticationFailedError)
