"""A registered version opened as every user of it opens it: through MLflow's pyfunc.

Belongs here: loading, and MLflow's failures as our errors. Not here: what is asked (see `steelyard.cli.ask`,
`flows.stages.smoke` and `chat`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from steelyard.errors import DataError, ServiceError, SteelyardError

Served = Callable[[Sequence[str]], list[Mapping[str, Any]]]

_GONE = "RESOURCE_DOES_NOT_EXIST"


def load_served(
    name: str, version: str, tracking_uri: str, *, cache: Path, index_settings: Mapping[str, Any] | None
) -> Served:
    """Return what answers questions as the version does; `index_settings` say where the index lies here.

    Loading and asking raise `DataError` when the version's files are gone or are not the ones promoted, and
    `ServiceError` when MLflow, the index or a model cannot be reached.
    """
    import mlflow

    subject = f"model {name} version {version}"
    settings: dict[str, Any] = {"cache": str(cache)}
    if index_settings is not None:
        settings["index_settings"] = dict(index_settings)
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_registry_uri(tracking_uri)
    with _our_errors(subject):
        model = mlflow.pyfunc.load_model(f"models:/{name}/{version}", model_config=settings)

    def answer(questions: Sequence[str]) -> list[Mapping[str, Any]]:
        with _our_errors(subject):
            return list(model.predict(list(questions)))

    return answer


def read_model_file(source: str, path: str, tracking_uri: str) -> str:
    """Return a text file of a version's folder; raises `DataError` when it is not there."""
    from tempfile import TemporaryDirectory

    from mlflow.artifacts import download_artifacts

    with TemporaryDirectory() as place, _our_errors(f"model folder {source}"):
        address = f"{source.rstrip('/')}/{path}"
        found = download_artifacts(artifact_uri=address, dst_path=place, tracking_uri=tracking_uri)
        return Path(found).read_text(encoding="utf-8")


@contextmanager
def _our_errors(subject: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except SteelyardError:
        raise
    except MlflowException as error:
        if isinstance(error.__cause__, SteelyardError):
            raise error.__cause__ from error
        if error.error_code == _GONE or isinstance(error.__cause__, FileNotFoundError):
            raise _gone(subject, error) from error
        raise ServiceError(
            f"{subject} cannot be opened: {str(error).partition(chr(10))[0]}",
            remedy="see that its files and its tracking server are there; `steelyard doctor` looks at both",
        ) from error
    except FileNotFoundError as error:
        raise _gone(subject, error) from error


def _gone(subject: str, error: Exception) -> DataError:
    return DataError(
        f"{subject}: files of it are gone ({str(error).partition(chr(10))[0]})",
        remedy="restore them from a backup, or run `steelyard run` to register it again",
    )
