"""`steelyard up`: the whole bench with one command, and nothing left behind when it ends.

Belongs here: which servers are started, with which settings, and waiting for the end. Not here: processes (see
`steelyard.servers`) and deployments (see `flows.deployments`).
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from steelyard.cli.options import DEFAULT_FILE, Overrides, Profile, ProjectArgument
from steelyard.cli.serve import DEFAULT_PORT, SECRET_VARIABLE
from steelyard.cli.streams import quieten_libraries
from steelyard.servers import Server, answers, start, stop, wait_until_it_answers

if TYPE_CHECKING:
    from flows.build import Job

EXAMPLES = """\b
Examples:
  steelyard up
  steelyard up mine/steelyard.yaml
  steelyard up --prefect-port 4300 --mlflow-port 5050

A Prefect or MLflow server that answers already (PREFECT_API_URL, mlflow.tracking_uri, or on these ports) is used and
left running. Ctrl-C stops what was started."""

_START_SECONDS = 300.0  # a first start makes databases, and a busy machine takes its time
_HOST = "127.0.0.1"
_WATCH_SECONDS = 1.0


class Ports(NamedTuple):
    """Where the three servers listen."""

    prefect: int
    mlflow: int
    assistant: int


def up(
    *,
    file: ProjectArgument = DEFAULT_FILE,
    prefect_port: Annotated[int, typer.Option(metavar="NUMBER", help="Of the Prefect server.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(metavar="NUMBER", help="Of the MLflow server.")] = 5000,
    port: Annotated[int, typer.Option(metavar="NUMBER", help="Of the assistant and the webhook.")] = DEFAULT_PORT,
    profile: Profile = None,
    overrides: Overrides = None,
) -> None:
    """Start Prefect, MLflow and the assistant on loopback, and serve the project's deployments until Ctrl-C."""
    quieten_libraries(is_verbose=False)
    with _until_told_to_stop() as is_stopped:
        from flows.build import load_job

        words = ["--profile", profile] if profile else []
        words += [word for override in overrides or () for word in ("--set", override)]
        job = load_job(file, profile=profile, overrides=overrides or ())
        servers: list[Server] = []
        try:
            for line in _start_all(job, Ports(prefect_port, mlflow_port, port), words, servers, is_stopped):
                typer.echo(line)
            _watch(servers, is_stopped)
        finally:
            stop(servers)
            typer.echo("stopped")


def _start_all(
    job: Job, ports: Ports, words: list[str], servers: list[Server], is_stopped: threading.Event
) -> Iterator[str]:
    """Start what is not there yet, and yield a line for each address; `servers` holds what was started."""
    logs, secret = job.workspace.root / "logs", _secrets(job.workspace.root / "webhook.json")
    prefect = _prefect(ports.prefect, logs, servers)
    mlflow = _mlflow(job, ports.mlflow, logs, servers, secret)
    environment = {"PREFECT_API_URL": f"{prefect}/api", SECRET_VARIABLE: secret["secret"]}
    file, assistant = str(job.loaded.file.resolve()), f"http://{_HOST}:{ports.assistant}"
    for server in servers:
        wait_until_it_answers(server, _HEALTH[server.name](ports), seconds=_START_SECONDS, is_stopped=is_stopped)
    if is_stopped.is_set():
        return
    command = [sys.executable, "-m", "steelyard.cli.app", "serve", file, "--port", str(ports.assistant), *words]
    serving = start("assistant", command, log=logs / "assistant.log", environment=environment)
    servers.append(serving)
    command = [sys.executable, "-m", "flows.deployments", file, *words]
    deployments = start("deployments", command, log=logs / "deployments.log", environment=environment)
    servers.append(deployments)
    wait_until_it_answers(serving, f"{assistant}/health", seconds=_START_SECONDS, is_stopped=is_stopped)
    last = f"{prefect}/api/deployments/name/backfill-partition/{job.project.name}"  # the last that is registered
    wait_until_it_answers(deployments, last, seconds=_START_SECONDS, is_stopped=is_stopped)
    hook = _webhook(job, mlflow, f"{assistant}/webhooks/mlflow", secret["secret"])
    yield f"Prefect    {prefect}"
    yield f"MLflow     {mlflow}"
    yield f"assistant  {assistant}/v1"
    yield hook
    yield "Ctrl-C stops what was started here."


_HEALTH: dict[str, Any] = {
    "Prefect": lambda ports: f"http://{_HOST}:{ports.prefect}/api/health",
    "MLflow": lambda ports: f"http://{_HOST}:{ports.mlflow}/health",
}


def _prefect(port: int, logs: Path, servers: list[Server]) -> str:
    named = os.environ.get("PREFECT_API_URL", "").rstrip("/")
    if named and answers(f"{named}/health"):
        return named.removesuffix("/api")
    address = f"http://{_HOST}:{port}"
    if not answers(f"{address}/api/health"):
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", _HOST, "--port", str(port)]
        environment = {"PREFECT_API_URL": f"{address}/api", "PREFECT_UI_API_URL": f"{address}/api"}
        servers.append(start("Prefect", command, log=logs / "prefect.log", environment=environment))
    return address


def _mlflow(job: Job, port: int, logs: Path, servers: list[Server], secret: dict[str, str]) -> str:
    if job.tracking_uri.startswith(("http:", "https:")):
        return job.tracking_uri
    address = f"http://{_HOST}:{port}"
    if not answers(f"{address}/health"):
        from steelyard.tracking import open_client

        open_client(job.tracking_uri)  # a database that is made here is whole, or not there
        command = [
            sys.executable, "-m", "mlflow", "server", "--host", _HOST, "--port", str(port), "--workers", "1",
            "--artifacts-destination", str(job.workspace.mlflow_artifacts),
        ]  # fmt: skip
        environment = {
            "MLFLOW_BACKEND_STORE_URI": job.tracking_uri,  # may hold a password: not for the command line
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",  # to us, on loopback
            "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
            "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": secret["key"],
        }
        servers.append(start("MLflow", command, log=logs / "mlflow.log", environment=environment))
    return address


def _secrets(file: Path) -> dict[str, str]:
    """Return the webhook's secret and the key that MLflow stores it under; made once, readable by the owner alone."""
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        made = {
            "key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "secret": secrets.token_urlsafe(32),
        }
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as opened:
            json.dump(made, opened)
    found: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _webhook(job: Job, mlflow: str, address: str, secret: str) -> str:
    """Register our receiver, and return a line that says whether approvals start the review at once."""
    from mlflow.exceptions import MlflowException

    from steelyard.tracking import open_client

    every = job.project.schedules.review
    poll = f"every {every.interval_minutes:g} min" if every.interval_minutes else f"by cron {every.cron}"
    try:
        client = open_client(mlflow)
        name = f"steelyard-{job.project.name}"
        for hook in client.list_webhooks(max_results=100):
            if hook.name == name:
                client.delete_webhook(hook.webhook_id)  # its secret cannot be read back
        client.create_webhook(name, address, events=["model_version_tag.set"], secret=secret)
    except MlflowException as error:
        return f"reviews    {poll} (MLflow takes no webhook: {str(error).splitlines()[0]})"
    return f"reviews    as soon as they are answered, and {poll}"


def _watch(servers: list[Server], is_stopped: threading.Event) -> None:
    from steelyard.errors import ServiceError

    while not is_stopped.wait(_WATCH_SECONDS):
        for server in servers:
            if server.process.poll() is not None:
                raise ServiceError(
                    f"{server.name} ended with code {server.process.returncode}", remedy=f"see {server.log}"
                )


@contextmanager
def _until_told_to_stop() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C and SIGTERM set; work at hand is not torn apart by an exception."""
    is_stopped = threading.Event()

    def tell(number: int, frame: FrameType | None) -> None:
        is_stopped.set()

    before = {number: signal.signal(number, tell) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield is_stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
