"""How MLflow is reached: an explicit client, quiet, with its failures as our errors.

Belongs here: where things are tracked, the client, the experiment. Not here: what is written (see
`steelyard.promote` and `steelyard.tune`). MLflow's global state stays as it is: no tracking address, no active run.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steelyard.errors import ServiceError

_SQLITE = "sqlite:///"
# Read by MLflow itself; what the user has set stays. Links to runs would spoil the output of --json, and seven
# retries keep a user waiting for minutes when no server is there.
_MLFLOW_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}
_LOG_LEVELS = {
    "mlflow": logging.WARNING,
    "mlflow.utils.environment": logging.ERROR,  # warns that an environment made by uv holds no pip
    "alembic": logging.WARNING,
}


@dataclass(frozen=True, slots=True)
class Tracking:
    """A tracking server or database, and the experiment in it.

    `artifacts` is where a new experiment keeps its files: needed with a database, left to the server with a server.
    """

    uri: str
    experiment: str
    artifacts: Path | None = None


def sqlite_path(tracking_uri: str) -> Path | None:
    """Return the database file that a tracking address names, or None when it names something else."""
    if not tracking_uri.startswith(_SQLITE):
        return None
    return Path(tracking_uri.removeprefix(_SQLITE).partition("?")[0])


def open_client(tracking_uri: str) -> Any:
    """Return an `MlflowClient` for one address; a SQLite database is made on first use.

    Raises `ServiceError` when the store cannot be opened.
    """
    for name, value in _MLFLOW_DEFAULTS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    for name, level in _LOG_LEVELS.items():
        logging.getLogger(name).setLevel(level)
    database = sqlite_path(tracking_uri)
    with service_errors(tracking_uri):
        if database is not None and not database.exists():
            _make_database(database)
        return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


def _make_database(database: Path) -> None:
    """Let MLflow fill a file aside, then move it into place: a half-made database would never open again."""
    from mlflow import MlflowClient

    database.parent.mkdir(parents=True, exist_ok=True)
    for leftover in database.parent.glob(f".{database.name}.*"):
        leftover.unlink()
    aside = database.with_name(f".{database.name}.{uuid.uuid4().hex}")
    client = MlflowClient(tracking_uri=f"{_SQLITE}{aside}", registry_uri=f"{_SQLITE}{aside}")
    client.search_registered_models(max_results=1)  # opens the registry's tables too
    with aside.open("rb") as file:
        os.fsync(file.fileno())
    aside.replace(database)


@contextmanager
def service_errors(tracking_uri: str) -> Iterator[None]:
    """Turn a failure of MLflow, its database, its server or its disk into `ServiceError`."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        first = str(error).strip().partition("\n")[0]
        raise ServiceError(
            f"MLflow at {without_password(tracking_uri)}: {first[:500]}",
            remedy="check mlflow.tracking_uri, and that the server runs and its database and disk can be written",
        ) from error


def without_password(address: str) -> str:
    """Return an address with its user and password left out, fit for messages."""
    scheme, separator, rest = address.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else address


def experiment_id(client: Any, tracking: Tracking) -> str:
    """Return the id of the experiment, made when it is not there yet."""
    with service_errors(tracking.uri):
        found = client.get_experiment_by_name(tracking.experiment)
        if found is None:
            place = None if tracking.artifacts is None else tracking.artifacts.resolve().as_uri()
            return str(client.create_experiment(tracking.experiment, artifact_location=place))
    if found.lifecycle_stage != "active":
        raise ServiceError(
            f"MLflow experiment {tracking.experiment} was deleted",
            remedy=f"restore it: mlflow experiments restore --experiment-id {found.experiment_id}",
        )
    return str(found.experiment_id)
