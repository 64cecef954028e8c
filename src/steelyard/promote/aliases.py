"""Which version is champion, challenger or previous, and moving them.

Belongs here: aliases of registered models, and the way back. Not here: making versions (see `registry`) and whether
one deserves its alias (the gate, and a person).

Every function can be killed anywhere and called again: each step looks for what the one before it left.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from steelyard.errors import ConfigError
from steelyard.report import ModelVersion
from steelyard.tracking import open_client, service_errors

Alias = Literal["champion", "challenger"]

ROLLED_BACK_TAG = "steelyard_rolled_back"
_PREVIOUS = "previous"
_REPLACED = "replaced"  # there only while a roll-back is under way


def make_champion(name: str, version: str, tracking_uri: str) -> ModelVersion:
    """Move `champion` to a version, as a person decided, and keep `previous` on the one it leaves.

    Raises `ServiceError` when there is no such version.
    """
    client = open_client(tracking_uri)
    with service_errors(tracking_uri):
        _forgive(client, name, version)
        move_alias(client, name, "champion", version)
    return version_record(name, version, "champion")


def rollback_target(name: str, tracking_uri: str) -> str:
    """Return the version that `rollback` would make champion; raises `ConfigError` when there is none."""
    client = open_client(tracking_uri)
    with service_errors(tracking_uri):
        return _swap(client, name)[1]


def rollback(name: str, tracking_uri: str) -> ModelVersion:
    """Swap `champion` and `previous` and return the new champion; a second call swaps back.

    The version that is left is marked, so that no flow makes it champion again without a person (see `register`).
    Raises `ConfigError` when there is nothing to go back to.
    """
    client = open_client(tracking_uri)
    with service_errors(tracking_uri):
        leaving, target = _swap(client, name)
        client.set_registered_model_alias(name, _REPLACED, leaving)
        client.set_model_version_tag(name, leaving, ROLLED_BACK_TAG, "true")
        client.set_registered_model_alias(name, "champion", target)
        client.set_registered_model_alias(name, _PREVIOUS, leaving)
        _forgive(client, name, target)
        client.delete_registered_model_alias(name, _REPLACED)
    return version_record(name, target, "champion")


def _swap(client: Any, name: str) -> tuple[str, str]:
    """Return the version that a roll-back leaves and the one that it goes to, also when it was begun already."""
    aliases = aliases_of(client, name)
    leaving = aliases.get(_REPLACED, aliases.get("champion"))
    target = aliases.get(_PREVIOUS)
    if _REPLACED in aliases and target == leaving:  # cut off when all but the last step was done
        target = aliases.get("champion")
    if leaving is None or target is None or target == leaving:
        raise ConfigError(
            f"model {name} has no previous champion to roll back to",
            remedy="choose a version in the MLflow UI and give it the alias champion",
        )
    return leaving, target


def _forgive(client: Any, name: str, version: str) -> None:
    if ROLLED_BACK_TAG in client.get_model_version(name, version).tags:
        client.delete_model_version_tag(name, version, ROLLED_BACK_TAG)


def move_alias(client: Any, name: str, alias: Alias, version: str) -> None:
    """Give a version an alias; a champion leaves `previous` behind and is no challenger any more."""
    aliases = aliases_of(client, name)
    if alias == "champion":
        leaving = aliases.get("champion")
        if leaving is not None and leaving != version:
            client.set_registered_model_alias(name, _PREVIOUS, leaving)
        if aliases.get("challenger") == version:
            client.delete_registered_model_alias(name, "challenger")
        if _REPLACED in aliases:  # a roll-back that was cut off is overtaken by this move
            client.delete_registered_model_alias(name, _REPLACED)
    if aliases.get(alias) != version:
        client.set_registered_model_alias(name, alias, version)


def aliases_of(client: Any, name: str) -> dict[str, str]:
    """Return a model's aliases with their versions; none for a model that is not there."""
    from mlflow.exceptions import MlflowException

    try:
        model = client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}
    return {alias: str(version) for alias, version in model.aliases.items()}


def strongest(aliases: Iterable[str]) -> str:
    """Return the alias that says most about a version, or an empty text when it has none of ours."""
    held = set(aliases)
    return next((alias for alias in ("champion", "challenger", _PREVIOUS) if alias in held), "")


def version_record(name: str, version: str, alias: str) -> ModelVersion:
    """Return the record of a version, with the address that `mlflow.pyfunc.load_model` takes."""
    uri = f"models:/{name}@{alias}" if alias else f"models:/{name}/{version}"
    return ModelVersion(name=name, version=version, alias=alias, uri=uri)
