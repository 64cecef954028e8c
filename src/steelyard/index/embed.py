"""Texts become vectors.

Belongs here: the `Embedder` protocol, the sentence-transformers embedder and the hash embedder that stands in for it.
Not here: where a model's folder comes from, batching over a corpus (see `sync`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

from steelyard.errors import ConfigError, ServiceError
from steelyard.fingerprint import digest
from steelyard.index.terms import TERMS_VERSION, terms

# Raised by one whenever the same texts would give other vectors.
_CODE_VERSION = 1

EmbeddingDtype = Literal["float32", "bfloat16"]


class Embedder(Protocol):
    """Makes vectors that are compared by their dot product; queries and passages go the same way."""

    @property
    def fingerprint(self) -> str:
        """The digest of all that decides a vector, known without loading anything."""

    @property
    def dimensions(self) -> int:
        """The length of a vector, known without loading a model where its files tell."""

    def embed(self, texts: Sequence[str]) -> Any:
        """Return float32 [len(texts), dimensions], rows of length 1, in the order given.

        One call is one batch: rounding depends on what shares a batch, so the caller decides what does.
        """


def sentence_transformer_fingerprint(*, identity: str, dtype: EmbeddingDtype) -> str:
    """Return the fingerprint of a `SentenceTransformerEmbedder`; `identity` names the model's exact files."""
    return digest(["sentence-transformers", _CODE_VERSION, identity, dtype])


def hash_fingerprint(*, dimensions: int) -> str:
    """Return the fingerprint of a `HashEmbedder`."""
    return digest(["hash", _CODE_VERSION, TERMS_VERSION, dimensions])


class SentenceTransformerEmbedder:
    """A sentence-transformers model in a folder, loaded when the first text comes.

    `dtype` "bfloat16" computes in bfloat16 where that is exact enough (autocast); about three times faster on CPUs
    with such instructions. Vectors are float32 either way. Raises `ServiceError` when the folder holds no such model.
    """

    def __init__(self, folder: Path, *, identity: str, dtype: EmbeddingDtype, device: str) -> None:
        self._folder = folder
        self._identity = identity
        self._dtype = dtype
        self._device = device

    @property
    def fingerprint(self) -> str:
        """The digest of the model's identity and its precision."""
        return sentence_transformer_fingerprint(identity=self._identity, dtype=self._dtype)

    @cached_property
    def dimensions(self) -> int:
        """The length of a vector, read from the model's own description."""
        return _described_dimensions(self._folder) or int(self._model.get_embedding_dimension())

    @cached_property
    def _model(self) -> Any:
        from sentence_transformers import SentenceTransformer

        try:
            model = SentenceTransformer(str(self._folder), device=self._device, local_files_only=True)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise ServiceError(
                f"the embedding model in {self._folder} cannot be loaded: {error}",
                remedy="remove this folder so that it is fetched again, or name another model",
            ) from error
        return model.eval()

    def embed(self, texts: Sequence[str]) -> Any:
        """Return the vectors of one batch of texts."""
        import numpy as np

        if not texts:
            return np.zeros((0, self.dimensions), dtype=np.float32)
        with self._precision():
            vectors = self._model.encode(
                list(texts), batch_size=len(texts), convert_to_numpy=True, show_progress_bar=False
            )
        return _normalised(vectors)

    def _precision(self) -> Any:
        if self._dtype == "float32":
            return nullcontext()
        import torch

        return torch.autocast(self._device.partition(":")[0], dtype=torch.bfloat16)


class HashEmbedder:
    """Hashed counts of terms: no model, no weights, the same everywhere.

    For trials and tests: texts that share words are near each other, meaning plays no part.
    """

    def __init__(self, dimensions: int) -> None:
        if dimensions < 1:
            raise ConfigError(f"a vector cannot have {dimensions} dimensions", remedy="choose at least 1, usually 256")
        self._dimensions = dimensions

    @property
    def fingerprint(self) -> str:
        """The digest of the number of dimensions."""
        return hash_fingerprint(dimensions=self._dimensions)

    @property
    def dimensions(self) -> int:
        """The length of a vector."""
        return self._dimensions

    def embed(self, texts: Sequence[str]) -> Any:
        """Return the vectors of one batch of texts."""
        import numpy as np

        if not texts:
            return np.zeros((0, self._dimensions), dtype=np.float32)
        return _normalised(self._vectorizer.transform(texts).toarray())

    @cached_property
    def _vectorizer(self) -> Any:
        from sklearn.feature_extraction.text import HashingVectorizer  # type: ignore[import-untyped]

        return HashingVectorizer(n_features=self._dimensions, analyzer=terms)


def _normalised(vectors: Any) -> Any:
    """Return float32 rows of length 1; a text in which nothing was found gets the first unit vector."""
    import numpy as np

    array = np.asarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(array, axis=1, keepdims=True)
    array = np.where(lengths > 0, array / np.where(lengths > 0, lengths, 1), 0).astype(np.float32)
    array[lengths.ravel() == 0, 0] = 1
    return array


def _described_dimensions(folder: Path) -> int | None:
    """Return the vector length that a pooling-only model's files state, or None when it takes a loaded model."""
    modules = folder / "modules.json"
    if not modules.is_file():
        return None
    described = json.loads(modules.read_text(encoding="utf-8"))
    kinds = [str(module["type"]).rpartition(".")[2] for module in described]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        return None
    pooling = json.loads((folder / described[1]["path"] / "config.json").read_text(encoding="utf-8"))
    stated = pooling.get("word_embedding_dimension") or pooling.get("embedding_dimension")
    return int(stated) if stated else None
