"""The current champion: which version it is, the bundle that it holds, and its adapter.

Belongs here: reading them. Not here: who becomes champion (see `aliases`) and asking it (see `steelyard.serving`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from steelyard.errors import DataError
from steelyard.promote.aliases import aliases_of
from steelyard.promote.bundle import Bundle, bundle_from_json
from steelyard.promote.lookup import alias_in_sqlite
from steelyard.promote.package import ADAPTER_ARTIFACT
from steelyard.promote.registry import BUNDLE_TAG
from steelyard.tracking import open_client, service_errors, sqlite_path

_ALIAS = "champion"
_BUNDLE_FILE = "artifacts/bundle.json"


@dataclass(frozen=True, slots=True)
class Champion:
    """A version with the fingerprint of its bundle, and where its files are."""

    name: str
    version: str
    fingerprint: str
    source: str


def find_champion(name: str, tracking_uri: str) -> Champion | None:
    """Return the champion, or None where there is none, or one that Steelyard did not register.

    A SQLite store is read directly, in milliseconds: MLflow needs five seconds to start.
    """
    database = sqlite_path(tracking_uri)
    held = None if database is None else alias_in_sqlite(database, name=name, alias=_ALIAS, tag=BUNDLE_TAG)
    if held is not None:
        return Champion(name, held[0].version, held[0].tag, held[0].source) if held and held[0].tag else None
    client = open_client(tracking_uri)
    with service_errors(tracking_uri):
        number = aliases_of(client, name).get(_ALIAS)
        found = None if number is None else client.get_model_version(name, number)
    if found is None or BUNDLE_TAG not in found.tags:
        return None
    return Champion(name, str(found.version), found.tags[BUNDLE_TAG], found.source)


def read_bundle(champion: Champion, tracking_uri: str) -> Bundle:
    """Return the champion's bundle; raises `DataError` when its file is gone or does not fit."""
    found = _local(champion, _BUNDLE_FILE, tracking_uri, place=None)
    return bundle_from_json(found.read_text(encoding="utf-8"))


def fetch_adapter(champion: Champion, tracking_uri: str, *, place: Path) -> Path:
    """Return the folder of the champion's adapter, copied below `place` when it is not on this machine.

    Raises `DataError` when it is gone.
    """
    return _local(champion, f"artifacts/{ADAPTER_ARTIFACT}", tracking_uri, place=place)


def _local(champion: Champion, path: str, tracking_uri: str, *, place: Path | None) -> Path:
    from urllib.parse import unquote, urlparse

    address = urlparse(champion.source)
    subject = f"model {champion.name} version {champion.version}"
    if address.scheme in {"", "file"}:
        found = Path(unquote(address.path)) / path
        if not found.exists():
            raise _gone(subject, str(found))
        return found
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        target = None if place is None else str(place)
        uri = f"{champion.source.rstrip('/')}/{path}"
        return Path(download_artifacts(artifact_uri=uri, dst_path=target, tracking_uri=tracking_uri))
    except (MlflowException, OSError) as error:
        raise _gone(subject, f"{path}: {str(error).partition(chr(10))[0]}") from error


def _gone(subject: str, what: str) -> DataError:
    return DataError(
        f"{subject}: files of it are gone ({what})",
        remedy="restore them from a backup, or give the alias champion to another version",
    )
