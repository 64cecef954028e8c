import json

import numpy as np
import pytest

from steelyard.errors import ConfigError
from steelyard.index.embed import (
    HashEmbedder,
    SentenceTransformerEmbedder,
    hash_fingerprint,
    sentence_transformer_fingerprint,
)


def test_hash_embedder_nearness_follows_shared_words():
    """A text is nearer to one that shares its words than to one that shares none."""
    question, near, far = HashEmbedder(256).embed(
        ["When does Node.js 22 end?", "Node.js 22 ends in 2027", "Cheese is made of milk"]
    )

    assert question @ near > question @ far


def test_hash_embedder_vector_does_not_depend_on_its_batch():
    """One text alone and among others gives the same vector, bit by bit."""
    embedder = HashEmbedder(64)

    assert np.array_equal(embedder.embed(["alpha", "beta 2", ""])[1], embedder.embed(["beta 2"])[0])


def test_hash_embedder_text_without_words_has_a_vector():
    """Punctuation alone gives a vector of length 1 like any other text."""
    assert np.linalg.norm(HashEmbedder(16).embed(["..."])[0]) == pytest.approx(1)


def test_hash_embedder_without_dimensions_is_refused():
    """A vector has at least one number."""
    with pytest.raises(ConfigError, match="0 dimensions"):
        HashEmbedder(0)


def test_embedder_fingerprint_tells_what_changes_vectors_apart():
    """Another model, another precision, another size: another fingerprint."""
    fingerprints = {
        sentence_transformer_fingerprint(identity="a", dtype="float32"),
        sentence_transformer_fingerprint(identity="b", dtype="float32"),
        sentence_transformer_fingerprint(identity="a", dtype="bfloat16"),
        hash_fingerprint(dimensions=64),
        hash_fingerprint(dimensions=65),
    }

    assert len(fingerprints) == 5


def test_embedder_fingerprint_ignores_folder_and_device(tmp_path):
    """Where a model lies and what it runs on change no vector that matters."""
    one = SentenceTransformerEmbedder(tmp_path / "a", identity="m", dtype="float32", device="cpu")
    other = SentenceTransformerEmbedder(tmp_path / "b", identity="m", dtype="float32", device="cuda")

    assert one.fingerprint == other.fingerprint == sentence_transformer_fingerprint(identity="m", dtype="float32")


def test_embedder_dimensions_are_read_from_the_models_description(tmp_path):
    """The vector length of a pooling model is known without loading it."""
    pooling = tmp_path / "1_Pooling"
    pooling.mkdir()
    kinds = ["Transformer", "Pooling", "Normalize"]
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": f"{n}_{kind}"} for n, kind in enumerate(kinds)]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (pooling / "config.json").write_text(json.dumps({"word_embedding_dimension": 384}))

    embedder = SentenceTransformerEmbedder(tmp_path, identity="m", dtype="float32", device="cpu")

    assert embedder.dimensions == 384
