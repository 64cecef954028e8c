"""What is promoted as one thing: the arm with everything that its answers depend on.

Belongs here: the record, its identity, its JSON form and the rule that it holds no secret. Not here: opening what
it names (see `steelyard.serving`) and the model registry (see `registry`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from steelyard.errors import ConfigError, DataError
from steelyard.fingerprint import digest
from steelyard.records import RETRIEVING_ARMS, TUNED_ARMS, Arm, Decoding, Message
from steelyard.report import Digests

BUNDLE_FORMAT = 1  # raised when the same fields come to mean something else; part of the identity

_SECRET_KEY = re.compile(r"(?i)(^|_)(api_?key|key|password|passwd|secret|token|credentials?)$")
_USER_IN_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s@]+@", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PinnedModel:
    """A model by name (`hf:`, `path:`, `pypi:`, `random:`, `hash:`) and by what the name stood for.

    `sha256` is the pinned digest of the package, `identity` names the content that was resolved (a `path:` may stand
    for something else tomorrow, an identity never does), `dtype` is the precision that it ran in, in torch's name.
    """

    source: str
    sha256: str | None
    identity: str
    dtype: str


@dataclass(frozen=True, slots=True)
class PromptSettings:
    """What stands in a prompt beside the question and the passages."""

    instructions: str
    examples: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class RetrievalSettings:
    """How many passages a prompt holds, and the weight of the vector score in the search."""

    top_k: int
    alpha: float


@dataclass(frozen=True, slots=True)
class IndexReference:
    """Where the passages are: a store, how to connect to it, and the collection.

    `settings` are plain values; a key is named by the environment variable that holds it (`api_key_env`), never
    given. `evaluated_snapshot` is the state of the documents that the evidence was gathered on; what is served
    follows the published one.
    """

    store: str
    settings: Mapping[str, Any]
    collection: str
    evaluated_snapshot: int


@dataclass(frozen=True, slots=True)
class TaskOutput:
    """What an answer looks like, and the JSON field that names its source."""

    format: Literal["text", "json"]
    citation_field: str | None = None


@dataclass(frozen=True, slots=True)
class Bundle:
    """One arm, complete: what a registered model version holds.

    `embedder`, `retrieval` and `index` are None where the arm does not retrieve, `digests.adapter` where it is not
    tuned. The adapter's files travel beside the bundle.
    """

    name: str
    arm: Arm
    base_model: PinnedModel
    prompt: PromptSettings
    decoding: Decoding
    output: TaskOutput
    digests: Digests
    embedder: PinnedModel | None = None
    retrieval: RetrievalSettings | None = None
    index: IndexReference | None = None
    steelyard_version: str = ""

    @property
    def has_adapter(self) -> bool:
        """Whether the arm needs a trained adapter."""
        return self.arm in TUNED_ARMS


def bundle_fingerprint(bundle: Bundle) -> str:
    """Return the identity of a bundle: of what its answers and its evidence depend on.

    Left out: connection settings, collection name and snapshot number (where the passages are, not which: that is
    `digests.index`), model names (a model's identity says which it is) and Steelyard's version (a version that
    answers differently changes `digests.answers`).
    """
    return digest(
        {
            "format": BUNDLE_FORMAT,
            "name": bundle.name,
            "arm": bundle.arm,
            "base_model": [bundle.base_model.identity, bundle.base_model.dtype],
            "prompt": bundle.prompt,
            "decoding": bundle.decoding,
            "output": bundle.output,
            "digests": bundle.digests,
            "embedder": None if bundle.embedder is None else [bundle.embedder.identity, bundle.embedder.dtype],
            "retrieval": bundle.retrieval,
            "store": None if bundle.index is None else bundle.index.store,
        }
    )


def answering_fingerprint(bundle: Bundle) -> str:
    """Return the identity of how a bundle answers from what is published now, whatever it was measured on.

    Two bundles with the same one give the same answers. Only the adapter's digest counts: the others say which data
    and answers an evaluation saw.
    """
    return digest(
        {
            "arm": bundle.arm,
            "base_model": [bundle.base_model.identity, bundle.base_model.dtype],
            "adapter": bundle.digests.adapter if bundle.has_adapter else None,
            "prompt": bundle.prompt,
            "decoding": bundle.decoding,
            "output": bundle.output,
            "embedder": None if bundle.embedder is None else [bundle.embedder.identity, bundle.embedder.dtype],
            "retrieval": bundle.retrieval,
            "index": None if bundle.index is None else [bundle.index.store, bundle.index.collection],
        }
    )


def check_bundle(bundle: Bundle) -> None:
    """Raise when a bundle could not be served or must not be stored.

    Raises `DataError` when a part that the arm needs is missing and `ConfigError` when a setting holds a secret.
    """
    if bundle.arm in RETRIEVING_ARMS:
        parts = {"embedder": bundle.embedder, "retrieval": bundle.retrieval, "index": bundle.index}
        missing = [part for part, value in parts.items() if value is None]
        if missing:
            raise DataError(f"bundle {bundle.name}: arm {bundle.arm} retrieves, but has no {', '.join(missing)}")
    if bundle.has_adapter and bundle.digests.adapter is None:
        raise DataError(f"bundle {bundle.name}: arm {bundle.arm} is tuned, but digests.adapter is missing")
    if bundle.index is not None:
        _refuse_secrets(bundle.index.settings, where=f"bundle {bundle.name}: index.settings")


def _refuse_secrets(value: Any, *, where: str) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if _SECRET_KEY.search(str(key)) and item is not None:
                raise ConfigError(
                    f"{where}.{key}: a secret would be stored with the model",
                    remedy=f"name the environment variable that holds it, as {key}_env",
                )
            _refuse_secrets(item, where=f"{where}.{key}")
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            _refuse_secrets(item, where=f"{where}[{number}]")
    elif isinstance(value, str) and _USER_IN_ADDRESS.search(value):
        raise ConfigError(
            f"{where}: the address holds a user name or a password",
            remedy="give the address without them, and the key through an environment variable",
        )


def bundle_to_json(bundle: Bundle) -> str:
    """Return a checked bundle as indented JSON; see `check_bundle` for what is raised."""
    check_bundle(bundle)
    text: bytes = _adapter().dump_json(bundle, indent=2)
    return text.decode() + "\n"


def bundle_from_json(text: str) -> Bundle:
    """Return the bundle written by `bundle_to_json`.

    Raises `DataError` naming every field that does not fit.
    """
    from pydantic import ValidationError

    try:
        bundle: Bundle = _adapter().validate_json(text, extra="forbid")
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'document'}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        )
        raise DataError(
            f"bundle.json does not fit this version of Steelyard: {faults}",
            remedy="install the version that the model's requirements.txt names, or promote the arm again",
        ) from None
    check_bundle(bundle)
    return bundle


def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Bundle)
