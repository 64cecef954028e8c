import dataclasses
import json

import pytest

from steelyard.errors import ConfigError, DataError
from steelyard.promote.bundle import (
    Bundle,
    IndexReference,
    PinnedModel,
    PromptSettings,
    RetrievalSettings,
    TaskOutput,
    bundle_fingerprint,
    bundle_from_json,
    bundle_to_json,
)
from steelyard.records import Decoding, Message
from steelyard.report import Digests


def a_bundle(**changes) -> Bundle:
    """Return a bundle of the arm that retrieves, with changes."""
    bundle = Bundle(
        name="lifecycle",
        arm="rag",
        base_model=PinnedModel("path:/models/small", None, "path:0123", "float32"),
        prompt=PromptSettings("Answer.", (Message("user", "Q?"), Message("assistant", "A."))),
        decoding=Decoding(max_new_tokens=8),
        output=TaskOutput("json", citation_field="source"),
        digests=Digests(warehouse="w", index="i", answers="a", adapter=None),
        embedder=PinnedModel("hash:64", None, "hash:64#version=1", "float32"),
        retrieval=RetrievalSettings(top_k=2, alpha=0.5),
        index=IndexReference("weaviate", {"host": "127.0.0.1", "api_key_env": "KEY"}, "Passages_1", 2),
        steelyard_version="0.1.0",
    )
    return dataclasses.replace(bundle, **changes)


def test_bundle_json_round_trip_gives_the_same_bundle():
    """What is written with a model version is what is read when it is served."""
    assert bundle_from_json(bundle_to_json(a_bundle())) == a_bundle()


@pytest.mark.parametrize(
    "changes",
    [
        {"index": IndexReference("weaviate", {"host": "db.example"}, "Passages_1", 2)},
        {"index": IndexReference("weaviate", {"host": "127.0.0.1"}, "Passages_2", 9)},
        {"base_model": PinnedModel("path:/elsewhere/small", None, "path:0123", "float32")},
        {"steelyard_version": "0.2.0"},
    ],
)
def test_bundle_fingerprint_place_changes_identity_stays(changes):
    """Hosts, paths, collection names and snapshot numbers are no part of what is promoted."""
    assert bundle_fingerprint(a_bundle(**changes)) == bundle_fingerprint(a_bundle())


@pytest.mark.parametrize(
    "changes",
    [
        {"arm": "hybrid", "digests": Digests("w", "i", "a", "ad")},
        {"base_model": PinnedModel("path:/models/small", None, "path:4567", "float32")},
        {"embedder": PinnedModel("hash:64", None, "hash:64#version=2", "float32")},
        {"prompt": PromptSettings("Answer briefly.", ())},
        {"decoding": Decoding(max_new_tokens=9)},
        {"output": TaskOutput("text")},
        {"base_model": PinnedModel("path:/models/small", None, "path:0123", "bfloat16")},
        {"embedder": PinnedModel("hash:64", None, "hash:64#version=1", "bfloat16")},
        {"retrieval": RetrievalSettings(top_k=3, alpha=0.5)},
        {"index": IndexReference("lancedb", {"path": "/x"}, "Passages_1", 2)},
        {"digests": Digests("w2", "i", "a", None)},
        {"digests": Digests("w", "i", "a2", None)},
    ],
)
def test_bundle_fingerprint_content_changes_identity_changes(changes):
    """Whatever can change an answer or its evidence makes another bundle."""
    assert bundle_fingerprint(a_bundle(**changes)) != bundle_fingerprint(a_bundle())


@pytest.mark.parametrize(
    "settings",
    [
        {"host": "127.0.0.1", "api_key": "s3cret"},
        {"auth": {"Password": "s3cret"}},
        {"headers": [{"access_token": "s3cret"}]},
        {"url": "https://me:s3cret@db.example/x"},
    ],
)
def test_bundle_secret_in_index_settings_refused_without_showing_it(settings):
    """A secret never gets into a stored model, nor into the message that says so."""
    with pytest.raises(ConfigError) as caught:
        bundle_to_json(a_bundle(index=IndexReference("weaviate", settings, "Passages_1", 2)))
    assert "index.settings" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_bundle_named_environment_variable_accepted():
    """A key may be named by its environment variable, and an unset key may be null."""
    settings = {"api_key": None, "api_key_env": "WEAVIATE_API_KEY"}
    text = bundle_to_json(a_bundle(index=IndexReference("weaviate", settings, "Passages_1", 2)))
    assert json.loads(text)["index"]["settings"] == settings


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"index": None}, "index"),
        ({"embedder": None, "retrieval": None}, "embedder, retrieval"),
        ({"arm": "tuned"}, "digests.adapter"),
    ],
)
def test_bundle_part_missing_names_it(changes, missing):
    """An arm without a part that it needs is refused before it is stored."""
    with pytest.raises(DataError, match=missing):
        bundle_to_json(a_bundle(**changes))


def test_bundle_from_json_wrong_fields_names_each():
    """A bundle of another version says which fields do not fit, and what to do."""
    record = json.loads(bundle_to_json(a_bundle()))
    record["decoding"] = {"max_new_tokens": "many"}
    record["novelty"] = 1
    with pytest.raises(DataError, match=r"decoding\.max_new_tokens.*novelty.*\n.*To fix"):
        bundle_from_json(json.dumps(record))
