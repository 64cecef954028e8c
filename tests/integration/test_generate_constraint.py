"""Constrained decoding with a small random model, which would never write JSON by itself."""

from __future__ import annotations

import json
import re

import jsonschema
import numpy as np
import pytest
import torch

from steelyard.errors import ConfigError
from steelyard.generate.constraint import check_constraint
from steelyard.generate.local import LocalGenerator
from steelyard.models.tiny import build_tiny
from steelyard.records import Constraint, Decoding, Message, Prompt

PROMPTS = [Prompt((Message("user", question),)) for question in ("Hi", "When does Ubuntu 22.04 end?", "Übung №7?")]
SCHEMA = {
    "type": "object",
    "required": ["product", "eol"],
    "additionalProperties": False,
    "properties": {
        "product": {"enum": ["foo", "foobar", "quux"]},
        "eol": {"type": ["string", "null"], "maxLength": 6},
    },
}
JSON = Decoding(max_new_tokens=80, constraint=Constraint("json_schema", json.dumps(SCHEMA)))
PATTERN = r"(yes|no), since \d{4}"
REGEX = Decoding(max_new_tokens=40, constraint=Constraint("regex", PATTERN))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Make the small random model, on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tiny")
    build_tiny(folder)
    yield LocalGenerator(folder, model_identity="random:tiny", dtype="float32", device="cpu")
    torch.set_num_threads(before)


def texts(completions):
    """Return what was written."""
    return [completion.text for completion in completions]


def test_generate_without_constraint_writes_no_json(model):
    """The random model needs the constraint: otherwise the next tests would show nothing."""
    for text in texts(model.generate(PROMPTS, Decoding(max_new_tokens=80))):
        with pytest.raises(ValueError, match="Expecting"):
            json.loads(text)


def test_generate_json_schema_is_kept_by_every_answer(model):
    """Whatever the model would rather say, its answer fits the schema and ends."""
    for completion in model.generate(PROMPTS, JSON):
        jsonschema.validate(json.loads(completion.text), SCHEMA)
        assert completion.completion_tokens < JSON.max_new_tokens


def test_generate_regular_expression_is_matched_from_start_to_end(model):
    """A text answer has the agreed form."""
    for text in texts(model.generate(PROMPTS, REGEX)):
        assert re.fullmatch(PATTERN, text)


def test_generate_constrained_batch_answers_as_one_by_one(model):
    """Rows that finish early do not disturb the others' place in the schema."""
    assert texts(model.generate(PROMPTS, JSON)) == [model.generate([prompt], JSON)[0].text for prompt in PROMPTS]


def test_generate_constrained_through_transformers_answers_the_same(model):
    """The own loop and `model.generate` follow a constraint alike."""
    expected = texts(model.generate(PROMPTS, JSON))
    attention = model._loaded.model.config._attn_implementation
    model._loaded.model.set_attn_implementation("sdpa")
    try:
        assert texts(model.generate(PROMPTS, JSON)) == expected
    finally:
        model._loaded.model.set_attn_implementation(attention)


def test_choose_takes_the_likeliest_of_the_allowed_tokens(model):
    """The shortcut for tokens that are allowed anyway gives what masking every other token gives."""
    constrainer, chance = model._constrainer, torch.Generator().manual_seed(0)
    width = model._loaded.model.get_output_embeddings().weight.shape[0]
    short, masked = constrainer.matchers(JSON.constraint, 1), constrainer.matchers(JSON.constraint, 1)._matchers[0]
    for _ in range(20):
        logits = torch.randn(1, width, generator=chance)
        bits = np.unpackbits(np.frombuffer(masked.compute_bitmask(), dtype=np.uint8), bitorder="little")[:width]
        expected = int(logits[0].masked_fill(torch.from_numpy(bits) == 0, float("-inf")).argmax())
        assert int(short.choose(logits, [0])[0]) == expected
        masked.consume_token(expected)
        if masked.is_stopped():
            break


@pytest.mark.parametrize(
    ("constraint", "name"),
    [
        (Constraint("regex", "(("), "task.output.pattern"),
        (Constraint("json_schema", '{"type": "object", "properties": {"a": {"type": "nothing"}}}'), "json_schema"),
    ],
)
def test_check_constraint_that_cannot_be_followed_is_named(constraint, name):
    """A schema or an expression that nothing can follow is refused before any model is loaded."""
    with pytest.raises(ConfigError, match=name):
        check_constraint(constraint)
