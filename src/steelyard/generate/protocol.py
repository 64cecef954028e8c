"""What a generator is, and its identity.

Belongs here: the protocol and the fingerprint, both without heavy imports, so that planning and a run with nothing
to do cost nothing. Not here: implementations.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from typing import Protocol

from steelyard.fingerprint import digest
from steelyard.records import Completion, Decoding, Prompt

GENERATION_VERSION = 1  # raise it when rendering or decoding changes what comes out
_LIBRARIES = ("torch", "transformers", "tokenizers", "llguidance")


class Generator(Protocol):
    """Continues chats, greedily; the same batch gives the same completions."""

    @property
    def fingerprint(self) -> str:
        """The digest of everything but prompt and decoding that can change a completion."""

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Completion]:
        """Return one completion a prompt, in the prompts' order; one call is one batch.

        Raises `DataError` when a prompt leaves no room for the completion.
        """

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return how many tokens each prompt has as the model reads it."""


def generator_fingerprint(*, model_identity: str, adapter_fingerprint: str | None, dtype: str) -> str:
    """Return the fingerprint of a generator in this process, without loading anything.

    `model_identity` comes from `steelyard.models.source.identity`. A library's local version ("+cpu", "+cu130") is
    left out: it names a device.
    """
    versions = {name: importlib.metadata.version(name).partition("+")[0] for name in _LIBRARIES}
    return digest(
        {
            "model": model_identity,
            "adapter": adapter_fingerprint,
            "dtype": dtype,
            "libraries": versions,
            "generation": GENERATION_VERSION,
        }
    )
