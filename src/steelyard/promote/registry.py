"""The model registry: a bundle becomes one version, once.

Belongs here: registering and finding versions. Not here: what a version holds (see `package`) and which
alias it deserves (see `aliases`).

`register` can be killed anywhere and called again: each step looks for what the one before it left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from steelyard.errors import ConfigError
from steelyard.promote.aliases import ROLLED_BACK_TAG, Alias, aliases_of, move_alias, strongest, version_record
from steelyard.promote.bundle import Bundle, bundle_fingerprint, check_bundle
from steelyard.promote.lookup import Found, find_in_sqlite
from steelyard.promote.package import write_model_folder
from steelyard.report import ModelVersion
from steelyard.tracking import Tracking, experiment_id, open_client, service_errors, sqlite_path

BUNDLE_TAG = "steelyard_bundle"
_MAX_DESCRIPTION_CHARACTERS = 5_000  # MLflow's column


def register(
    bundle: Bundle,
    *,
    tracking: Tracking,
    run_id: str,
    alias: Alias,
    model_code: Path,
    adapter_folder: Path | None = None,
    description: str = "",
    tags: Mapping[str, str] | None = None,
    input_example: str = "What is the latest release?",
) -> ModelVersion:
    """Register a bundle as a model version, give it the alias, and return it.

    The same bundle is registered once; a second call only sees to the alias. A version that was rolled back becomes
    `challenger` where it would become `champion`: a flow does not undo what a person did. `run_id` is the MLflow run
    of the evidence, `model_code` the Python file that MLflow runs to load the model. Raises `DataError` or
    `ConfigError` for a bundle that cannot be stored and `ServiceError` when MLflow fails.
    """
    check_bundle(bundle)
    client = open_client(tracking.uri)
    experiment = experiment_id(client, tracking)
    with service_errors(tracking.uri):
        version = _find(client, bundle.name, bundle_fingerprint(bundle))
        if version is None:
            model = _logged_model(client, experiment, bundle, run_id)
            if model.status != "READY":
                with TemporaryDirectory() as place:
                    write_model_folder(
                        Path(place) / "model",
                        bundle,
                        model_code=model_code,
                        adapter_folder=adapter_folder,
                        input_example=input_example,
                        model_id=model.model_id,
                        run_id=run_id,
                    )
                    client.log_model_artifacts(model.model_id, str(Path(place) / "model"))
                client.finalize_logged_model(model.model_id, "READY")
            version = _create_version(client, bundle, model=model, description=description, tags=tags or {})
        number = str(version.version)
        is_champion = aliases_of(client, bundle.name).get("champion") == number
        if ROLLED_BACK_TAG in version.tags and not is_champion:
            alias = "challenger"
        move_alias(client, bundle.name, alias, number)
    return version_record(bundle.name, number, alias)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a bundle stands in the registry: its version with its strongest alias and its tags, and who is champion."""

    version: ModelVersion | None
    tags: Mapping[str, str]
    champion: str | None


def find_standing(name: str, fingerprint: str, tracking_uri: str) -> Standing:
    """Return how a bundle stands.

    A SQLite store is read directly, in milliseconds: MLflow needs five seconds to start.
    """
    database = sqlite_path(tracking_uri)
    found = None
    if database is not None:
        found = find_in_sqlite(database, name=name, tag=BUNDLE_TAG, value=fingerprint)
    if found is None:
        client = open_client(tracking_uri)
        with service_errors(tracking_uri):
            one = _find(client, name, fingerprint)
            number = None if one is None else str(one.version)
            found = Found(number, {} if one is None else dict(one.tags), aliases_of(client, name))
    if found.version is None:
        return Standing(None, {}, found.aliases.get("champion"))
    held = [alias for alias, number in found.aliases.items() if number == found.version]
    return Standing(version_record(name, found.version, strongest(held)), found.tags, found.aliases.get("champion"))


def find_version(name: str, fingerprint: str, tracking_uri: str) -> ModelVersion | None:
    """Return the version that holds a bundle, or None; `alias` is its strongest one, or empty."""
    return find_standing(name, fingerprint, tracking_uri).version


def resolve_alias(name: str, alias: str, tracking_uri: str) -> ModelVersion:
    """Return the version that an alias stands for.

    Raises `ConfigError` when the model or the alias is not there.
    """
    client = open_client(tracking_uri)
    with service_errors(tracking_uri):
        version = aliases_of(client, name).get(alias)
    if version is None:
        raise ConfigError(f"model {name} has no {alias}", remedy=_how_to_promote(alias))
    return version_record(name, version, alias)


def _find(client: Any, name: str, fingerprint: str) -> Any:
    versions = client.search_model_versions(f"name = '{name}' and tags.{BUNDLE_TAG} = '{fingerprint}'")
    return min(versions, key=lambda version: int(version.version), default=None)


def _logged_model(client: Any, experiment: str, bundle: Bundle, run_id: str) -> Any:
    """Return the logged model that a killed run left for this bundle and run, or a new one."""
    fingerprint = bundle_fingerprint(bundle)
    left = client.search_logged_models([experiment], f"tags.{BUNDLE_TAG} = '{fingerprint}'")
    for model in left:
        if model.source_run_id == run_id and model.status in {"PENDING", "READY"}:
            return model
    return client.create_logged_model(
        experiment, name=bundle.name, source_run_id=run_id, tags={BUNDLE_TAG: fingerprint}, model_type=bundle.arm
    )


def _create_version(client: Any, bundle: Bundle, *, model: Any, description: str, tags: Mapping[str, str]) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(bundle.name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    digests = {f"digest_{part}": value for part, value in asdict(bundle.digests).items() if value is not None}
    return client.create_model_version(
        bundle.name,
        # Not models:/ID: the database store would look that up through MLflow's global tracking address.
        source=model.artifact_location,
        run_id=model.source_run_id,
        model_id=model.model_id,
        tags={**tags, **digests, "arm": bundle.arm, BUNDLE_TAG: bundle_fingerprint(bundle)},
        description=description[:_MAX_DESCRIPTION_CHARACTERS],
    )


def _how_to_promote(alias: str) -> str:
    if alias == "champion":
        return "run `steelyard run`; where promotion.review is required, approve the challenger after it"
    return "run `steelyard run`"
