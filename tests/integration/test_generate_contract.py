"""What every generator promises, asked of each."""

from __future__ import annotations

import pytest
import torch

from steelyard.generate.canned import CannedGenerator, echo_generator
from steelyard.generate.local import LocalGenerator
from steelyard.models.tiny import build_tiny
from steelyard.records import Decoding, Message, Prompt

PROMPTS = [
    Prompt((Message("system", "Be brief."), Message("user", text)), shared=1)
    for text in ("one", "two words", "three words here", "a question of seven words in all")
]
ANSWER = Decoding(max_new_tokens=5)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Keep small products on one core: threads that wait for one another cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make the small random model."""
    folder = tmp_path_factory.mktemp("tiny")
    build_tiny(folder)
    return folder


@pytest.fixture(params=["local", "echo", "scripted"])
def make(request, folder):
    """Return what makes a fresh generator of each kind."""
    return {
        "local": lambda: LocalGenerator(folder, model_identity="random:tiny", dtype="float32", device="cpu"),
        "echo": echo_generator,
        "scripted": lambda: CannedGenerator(lambda prompt: prompt.messages[-1].content.upper() * 3, name="shout"),
    }[request.param]


def test_generator_returns_one_completion_a_prompt_in_order(make):
    """Each prompt's completion does not depend on where it stands in the batch."""
    forward, backward = make().generate(PROMPTS, ANSWER), make().generate(PROMPTS[::-1], ANSWER)
    assert len(forward) == len(PROMPTS)
    assert [c.text for c in forward] == [c.text for c in backward][::-1]


def test_generator_same_batch_twice_gives_the_same(make):
    """Nothing is left over from one call to the next, nor differs between two generators."""
    one, other = make(), make()
    first, second, third = one.generate(PROMPTS, ANSWER), one.generate(PROMPTS, ANSWER), other.generate(PROMPTS, ANSWER)
    assert [c.text for c in first] == [c.text for c in second] == [c.text for c in third]
    assert one.fingerprint == other.fingerprint


def test_generator_completion_counts_are_true(make):
    """Prompt tokens are those that `count_tokens` tells; completions keep to the limit; times are not negative."""
    generator = make()
    completions = generator.generate(PROMPTS, ANSWER)
    assert [c.prompt_tokens for c in completions] == generator.count_tokens(PROMPTS)
    assert all(0 <= c.completion_tokens <= ANSWER.max_new_tokens for c in completions)
    assert all(c.seconds >= 0 for c in completions)


def test_generator_longer_limit_only_continues(make):
    """The limit cuts an answer and does not change it."""
    generator = make()
    short = generator.generate(PROMPTS, Decoding(max_new_tokens=1))
    long = generator.generate(PROMPTS, ANSWER)
    assert all(b.text.startswith(a.text) for a, b in zip(short, long, strict=True) if a.text.isascii())


def test_generator_empty_batch_returns_nothing(make):
    """No prompts, no completions."""
    assert make().generate([], ANSWER) == []
    assert make().count_tokens([]) == []
