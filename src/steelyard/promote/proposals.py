"""A version put up for review, and what the review left on it: tags that a person reads and sets in the MLflow UI.

Belongs here: the tags' names, writing and reading them, and when a winner is to be proposed. Not here: what follows
from a reviewer's tag (see `steelyard.review`), and aliases (see `aliases`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from steelyard.errors import ConfigError
from steelyard.promote.aliases import ROLLED_BACK_TAG, aliases_of
from steelyard.promote.evidence import DOSSIER_FOLDER
from steelyard.promote.registry import Standing
from steelyard.tracking import open_client, service_errors

REVIEW_TAG = "review"
BY_TAG = "review.by"
COMMENT_TAG = "review.comment"
OUTCOME_TAG = "review.outcome"
VERDICT_TAG = "verdict"
EVIDENCE_TAG = "evidence"
EVIDENCE_RUN_TAG = "evidence_run"
COMPARED_TAG = "compared_with"
ANCHOR_TAG = "audit"
_OF_AN_EARLIER_REVIEW = (BY_TAG, COMMENT_TAG, OUTCOME_TAG)
_MAX_TAG_CHARACTERS = 5_000  # MLflow's column
_MAX_DESCRIPTION_CHARACTERS = 5_000  # MLflow's column

NextStep = Literal["nothing", "champion", "challenger"]


@dataclass(frozen=True, slots=True)
class ReviewedVersion:
    """A version with the tag `review`, its tags, its aliases, and the run that holds its evidence."""

    name: str
    version: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...]
    evidence_run: str
    source: str
    description: str


def next_step(standing: Standing, *, evidence_run: str, compared_with: str, is_reviewed: bool) -> NextStep:
    """Return which alias a winner is to be given, "nothing" when it stands as it should.

    A rolled-back version is a person's affair also where no review is asked for. On the same evidence, against the
    same champion, a version is put up once.
    """
    version, tags = standing.version, standing.tags
    if version is None:
        return "challenger" if is_reviewed else "champion"
    if version.alias == "champion":
        return "nothing"
    if not is_reviewed and ROLLED_BACK_TAG not in tags:
        return "champion"
    is_proposed = tags.get(EVIDENCE_RUN_TAG) == evidence_run and tags.get(COMPARED_TAG) == compared_with
    was_put_up = version.alias == "challenger" or tags.get(REVIEW_TAG) in {"rejected", "refused"}
    return "nothing" if is_proposed and was_put_up else "challenger"


def propose(name: str, version: str, tracking_uri: str, *, summary: str, tags: Mapping[str, str]) -> None:
    """Put a version up for review, or up again: what an earlier review left is taken off, the last tag is set last.

    `summary` becomes the version's description, with a link to the run of the evidence.
    """
    client = open_client(tracking_uri)
    with service_errors(tracking_uri):
        link = _link_to_evidence(client, tags[EVIDENCE_RUN_TAG])
        text = f"{link}\n\n{summary}"
        client.update_model_version(name, version, description=text[:_MAX_DESCRIPTION_CHARACTERS])
        held = client.get_model_version(name, version).tags
        for tag in _OF_AN_EARLIER_REVIEW:
            if tag in held:
                client.delete_model_version_tag(name, version, tag)
        for tag, value in tags.items():
            client.set_model_version_tag(name, version, tag, value[:_MAX_TAG_CHARACTERS])


def _link_to_evidence(client: Any, run_id: str) -> str:
    """Return Markdown that leads to the run's files within MLflow's own pages."""
    experiment = client.get_run(run_id).info.experiment_id
    run = f"#/experiments/{experiment}/runs/{run_id}"
    return (
        f"Evidence: [report]({run}/artifacts/{DOSSIER_FOLDER}/report.html), [run]({run}), [files]({run}/artifacts). "
        f"To answer, set the tag `{REVIEW_TAG}` to `approved` or `rejected`, `{BY_TAG}` to your name and, if you "
        f"like, `{COMMENT_TAG}`."
    )


def set_tags(name: str, version: str, tracking_uri: str, *, tags: Mapping[str, str]) -> None:
    """Set tags of a version in their order."""
    client = open_client(tracking_uri)
    with service_errors(tracking_uri):
        for tag, value in tags.items():
            client.set_model_version_tag(name, version, tag, value[:_MAX_TAG_CHARACTERS])


def drop_challenger(name: str, version: str, tracking_uri: str) -> None:
    """Take the alias `challenger` off a version; nothing happens when another version has it."""
    client = open_client(tracking_uri)
    with service_errors(tracking_uri):
        if aliases_of(client, name).get("challenger") == version:
            client.delete_registered_model_alias(name, "challenger")


def read_proposals(name: str, tracking_uri: str) -> list[ReviewedVersion]:
    """Return the versions of a model that carry the tag `review`, oldest first; none for an unknown model."""
    client = open_client(tracking_uri)
    with service_errors(tracking_uri):
        aliases = aliases_of(client, name)
        versions = client.search_model_versions(f"name = '{name}'")
    reviewed = [_reviewed(name, version, aliases) for version in versions if REVIEW_TAG in version.tags]
    return sorted(reviewed, key=lambda one: int(one.version))


def read_proposal(name: str, version: str, tracking_uri: str) -> ReviewedVersion:
    """Return one version; raises `ConfigError` when it is not there or was never put up for review."""
    found = {one.version: one for one in read_proposals(name, tracking_uri)}
    if version not in found:
        known = ", ".join(found) or "none"
        raise ConfigError(
            f"model {name} has no version {version} with a review; there are: {known}",
            remedy="steelyard review list",
        )
    return found[version]


def champion_of(name: str, tracking_uri: str) -> str | None:
    """Return the version that is champion, None when there is none."""
    client = open_client(tracking_uri)
    with service_errors(tracking_uri):
        return aliases_of(client, name).get("champion")


def read_anchor(name: str, tracking_uri: str) -> str:
    """Return what the registry keeps of the audit record: number and hash of its newest entry, or an empty text."""
    client = open_client(tracking_uri)
    with service_errors(tracking_uri), _or_no_model():
        return str(client.get_registered_model(name).tags.get(ANCHOR_TAG, ""))
    return ""


def write_anchor(name: str, tracking_uri: str, *, anchor: str) -> None:
    """Keep number and hash of the audit record's newest entry as a tag of the registered model, if it is there."""
    client = open_client(tracking_uri)
    with service_errors(tracking_uri), _or_no_model():
        client.set_registered_model_tag(name, ANCHOR_TAG, anchor)


@contextmanager
def _or_no_model() -> Iterator[None]:
    """Let a registered model that is not there pass."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise


def _reviewed(name: str, version: Any, aliases: Mapping[str, str]) -> ReviewedVersion:
    number = str(version.version)
    return ReviewedVersion(
        name=name,
        version=number,
        tags=dict(version.tags),
        aliases=tuple(alias for alias, held in aliases.items() if held == number),
        evidence_run=str(version.tags.get(EVIDENCE_RUN_TAG, version.run_id or "")),
        source=str(version.source),
        description=version.description or "",
    )
