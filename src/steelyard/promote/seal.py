"""The digest of an evidence as MLflow holds it, so that an edit after it was proposed is seen.

Belongs here: reading a run back, and its digest. Not here: writing it (see `evidence`).
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from steelyard.fingerprint import digest, sha256_file
from steelyard.promote.evidence import EVIDENCE_TAG
from steelyard.tracking import open_client, service_errors

REVIEWS_FOLDER = "reviews"  # what reviews leave on the run is no part of what they are about
_TAGS = (EVIDENCE_TAG, "promoted")
_TAG_PREFIXES = ("digest_", "verdict_")


def evidence_digest(run_id: str, tracking_uri: str) -> str | None:
    """Return the digest of a run's parameters, metrics, verdict tags and files; None when the run is gone."""
    client = open_client(tracking_uri)
    with service_errors(tracking_uri):
        run = _run(client, run_id)
        if run is None:
            return None
        with TemporaryDirectory() as place:
            return digest(
                {
                    "parameters": dict(run.data.params),
                    "metrics": {name: repr(value) for name, value in run.data.metrics.items()},
                    "tags": {name: value for name, value in run.data.tags.items() if _is_evidence(name)},
                    "files": _file_digests(client, run_id, Path(place)),
                }
            )


def read_text(run_id: str, path: str, tracking_uri: str) -> str | None:
    """Return a text file of a run, None when it is not there."""
    from mlflow.exceptions import MlflowException

    client = open_client(tracking_uri)
    with service_errors(tracking_uri), TemporaryDirectory() as place:
        folder, _, _ = path.rpartition("/")
        try:
            if path not in {item.path for item in client.list_artifacts(run_id, folder or None)}:
                return None
            return Path(client.download_artifacts(run_id, path, place)).read_text(encoding="utf-8")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None


def write_text(run_id: str, path: str, text: str, tracking_uri: str) -> None:
    """Put a text file into a run."""
    client = open_client(tracking_uri)
    with service_errors(tracking_uri):
        client.log_text(run_id, text, path)


def _run(client: Any, run_id: str) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return run if run.info.lifecycle_stage == "active" else None


def _is_evidence(tag: str) -> bool:
    return tag in _TAGS or tag.startswith(_TAG_PREFIXES)


def _file_digests(client: Any, run_id: str, place: Path) -> dict[str, str]:
    for item in client.list_artifacts(run_id):
        if item.path != REVIEWS_FOLDER:
            client.download_artifacts(run_id, item.path, str(place))
    files = sorted(path for path in place.rglob("*") if path.is_file())
    return {path.relative_to(place).as_posix(): sha256_file(path) for path in files}
