"""The generator in this process on small random models, in float32, where equal work gives equal answers."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, MistralConfig, Qwen3Config

from steelyard.errors import DataError
from steelyard.generate.decoding import decode_on_cpu, decode_with_transformers, fits_cpu_loop, prefill_shared
from steelyard.generate.local import LocalGenerator
from steelyard.generate.rendering import render
from steelyard.models.attention import register_attention
from steelyard.models.checkpoint import load_causal_lm, load_tokenizer
from steelyard.models.tiny import build_tiny
from steelyard.records import Decoding, Message, Prompt

INSTRUCTIONS = Message("system", "Answer with one JSON object that has the keys product, cycle, latest, eol, source.")
EXAMPLE = (Message("user", "When does Foo 1 end?"), Message("assistant", '{"product": "foo", "eol": "2024-01-01"}'))
QUESTIONS = (
    "Hi",
    "When does Ubuntu 22.04 end?",
    "What is the latest release of PostgreSQL 16? " * 4,
    "Wann endet Übung №7?",
)
PROMPTS = [Prompt((INSTRUCTIONS, *EXAMPLE, Message("user", question)), shared=3) for question in QUESTIONS]
ANSWER = Decoding(max_new_tokens=24)


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


def generator(folder, **changes):
    """Return a generator on the small model."""
    settings = {"model_identity": "random:tiny", "dtype": "float32", "device": "cpu"} | changes
    return LocalGenerator(folder, **settings)


def texts(completions):
    """Return what was written."""
    return [completion.text for completion in completions]


def test_generate_prompts_that_differ_get_different_answers(folder):
    """The random model reads its prompt: otherwise the comparisons below would show nothing."""
    assert len(set(texts(generator(folder).generate(PROMPTS, ANSWER)))) == len(PROMPTS)


def test_generate_with_and_without_prefix_reuse_answers_the_same(folder):
    """What prompts share is read once, and nothing else changes."""
    reusing, plain = generator(folder), generator(folder, is_prefix_shared=False)
    first, second = reusing.generate(PROMPTS, ANSWER), reusing.generate(PROMPTS, ANSWER)
    expected = plain.generate(PROMPTS, ANSWER)
    assert texts(first) == texts(second) == texts(expected)
    assert [c.prompt_tokens for c in first] == [c.prompt_tokens for c in expected] == plain.count_tokens(PROMPTS)
    assert len(reusing._prefixes[render(load_tokenizer(folder), PROMPTS[0]).tokens[: _shared(folder)]].layers) == 2


def _shared(folder):
    return render(load_tokenizer(folder), PROMPTS[0]).shared


def test_generate_batch_answers_as_one_by_one(folder):
    """Rows of different lengths do not disturb one another."""
    model = generator(folder)
    together = model.generate(PROMPTS, ANSWER)
    alone = [model.generate([prompt], ANSWER)[0] for prompt in PROMPTS]
    assert texts(together) == texts(alone)
    assert [c.completion_tokens for c in together] == [c.completion_tokens for c in alone]


def test_generate_order_of_prompts_is_the_order_of_answers(folder):
    """The same batch in another order gives the same answers in that order."""
    model = generator(folder)
    assert texts(model.generate(PROMPTS[::-1], ANSWER)) == texts(model.generate(PROMPTS, ANSWER))[::-1]


def test_generate_prompts_with_different_shared_messages_share_nothing(folder):
    """A batch that mixes beginnings is still answered rightly."""
    other = Prompt(
        (Message("system", "Another beginning, long enough to be worth sharing."), PROMPTS[0].messages[-1]), 1
    )
    model = generator(folder)
    mixed = model.generate([PROMPTS[1], other], ANSWER)
    assert texts(mixed) == texts([model.generate([prompt], ANSWER)[0] for prompt in (PROMPTS[1], other)])


def test_generate_answer_longer_than_the_first_room_goes_on(folder):
    """Keys and values get more room when an answer is long."""
    model, plain = generator(folder), generator(folder)
    plain._loaded.model.set_attn_implementation("sdpa")
    long = Decoding(max_new_tokens=150)
    assert texts(model.generate(PROMPTS[:2], long)) == texts(plain.generate(PROMPTS[:2], long))


def test_generate_prompt_beyond_the_context_names_tokens_and_limit(folder):
    """A prompt that leaves no room is refused, with the numbers."""
    prompt = Prompt((Message("user", "x" * 5000),))
    with pytest.raises(DataError, match=r"\d+ tokens; with 24 new ones it exceeds the model's 4096"):
        generator(folder).generate([prompt], ANSWER)


def test_generate_no_prompts_returns_nothing(folder):
    """An empty batch is no error and loads nothing."""
    assert generator(folder / "absent").generate([], ANSWER) == []


def test_generate_folder_without_a_model_is_explained(tmp_path):
    """A folder that holds no model is named."""
    with pytest.raises(DataError, match="cannot be loaded"):
        generator(tmp_path).generate(PROMPTS, ANSWER)


def test_render_without_a_chat_template_uses_the_plain_form(folder):
    """A model without a chat template can be asked too, and shares its beginning."""
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = None
    rendered = render(tokenizer, PROMPTS[0])
    assert tokenizer.decode(rendered.tokens).endswith("User: Hi\n\nAssistant:")
    assert tokenizer.decode(rendered.tokens[: rendered.shared]).endswith('"2024-01-01"}\n\n')


def test_render_template_that_looks_ahead_shares_nothing(folder):
    """Shared messages that are rendered differently on their own are not taken for a prefix."""
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = "{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    assert render(tokenizer, PROMPTS[0]).shared == 0


ROWS = [[7, 8, 9], [5, 6, 7, 8, 9, 10, 11], [20], [30, 31, 32, 33]]
SHARED = [3, 4] * 20


@pytest.fixture(
    params=[
        None,
        Qwen3Config(num_key_value_heads=2, num_attention_heads=4, head_dim=8),
        MistralConfig(num_key_value_heads=2, num_attention_heads=4, head_dim=8, sliding_window=None),
    ],
    ids=["llama", "qwen3", "mistral"],
)
def model(request, folder):
    """Return a small random model of each family."""
    if request.param is None:
        return load_causal_lm(folder, dtype="float32", device="cpu").model
    torch.manual_seed(3)
    config = request.param
    config.update({"vocab_size": 100, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2})
    config.update({"initializer_range": 0.3, "eos_token_id": None, "pad_token_id": 0})
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


@pytest.mark.parametrize("is_shared", [True, False])
def test_decode_on_cpu_rows_that_end_early_agree_with_transformers(model, is_shared):
    """Rows stop at stop tokens at different times, are let go, and every row is what `model.generate` writes."""
    assert fits_cpu_loop(model)
    rows = ROWS if is_shared else [SHARED + row for row in ROWS]
    model.set_attn_implementation("sdpa")
    shared = prefill_shared(model, SHARED) if is_shared else None
    free = decode_with_transformers(model, rows, shared, shared_ids=SHARED, max_new_tokens=30, stop=frozenset())
    stop = frozenset({free[0][4], free[1][9], free[2][1]})
    expected = decode_with_transformers(model, rows, shared, shared_ids=SHARED, max_new_tokens=30, stop=stop)
    model.set_attn_implementation(register_attention())
    ours = decode_on_cpu(model, rows, shared, max_new_tokens=30, stop=stop)
    assert ours == expected
    assert len({len(row) for row in ours}) > 1
    assert all(row[-1] in stop or len(row) == 30 for row in ours)


def test_fits_cpu_loop_sliding_window_is_left_to_transformers():
    """A model that forgets what lies outside its window does not share a prefix, and is decoded by transformers."""
    config = MistralConfig(
        vocab_size=100,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        head_dim=8,
        num_key_value_heads=2,
        sliding_window=16,
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    assert not fits_cpu_loop(model)
    assert prefill_shared(model, SHARED) is None
