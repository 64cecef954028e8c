"""The CPU attention function against transformers' own, on random models of several families."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config
from transformers.cache_utils import DynamicCache

from steelyard.generate.decoding import prefill_shared
from steelyard.models.attention import ATTENTION_NAME, register_attention

VOCABULARY = 100
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
}
CONFIGS = {
    "llama": LlamaConfig(**SIZES),
    "mistral": MistralConfig(**SIZES, sliding_window=None),
    "qwen2": Qwen2Config(**SIZES),
    "qwen3": Qwen3Config(**SIZES),
}
# longer than one block of queries
PROMPT_TOKENS = 300


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Keep small products on one core: threads that wait for one another cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=sorted(CONFIGS))
def model(request):
    """Make a random model with grouped heads."""
    torch.manual_seed(1)
    register_attention()
    return AutoModelForCausalLM.from_config(CONFIGS[request.param], dtype=torch.float32).eval()


@pytest.fixture
def ids():
    """Return two rows of random tokens."""
    return torch.randint(0, VOCABULARY, (2, PROMPT_TOKENS), generator=torch.Generator().manual_seed(2))


def logits(model, attention, **inputs):
    """Run the model with the named attention."""
    model.set_attn_implementation(attention)
    with torch.inference_mode():
        return model(**inputs).logits


@pytest.mark.parametrize("theirs", ["eager", "sdpa"])
def test_attention_whole_prompt_agrees_with_transformers(model, ids, theirs):
    """Blocks of queries give what the whole matrix gives."""
    ours = logits(model, ATTENTION_NAME, input_ids=ids)
    torch.testing.assert_close(ours, logits(model, theirs, input_ids=ids), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("theirs", ["eager", "sdpa"])
def test_attention_padded_prompt_and_steps_agree_with_transformers(model, ids, theirs):
    """A left-padded batch, then one-token steps on its cache: the same logits wherever there is a token."""
    is_token = torch.ones_like(ids)
    is_token[1, :37] = 0
    seen = {}
    for attention in (ATTENTION_NAME, theirs):
        cache, mask = DynamicCache(config=model.config), is_token
        steps = [logits(model, attention, input_ids=ids, attention_mask=mask, past_key_values=cache)[:, -1]]
        for token in (5, 6, 7):
            mask = torch.cat([mask, torch.ones((2, 1), dtype=mask.dtype)], dim=1)
            one = torch.full((2, 1), token)
            position = mask.sum(1, keepdim=True) - 1
            steps.append(
                logits(
                    model,
                    attention,
                    input_ids=one,
                    attention_mask=mask,
                    position_ids=position,
                    past_key_values=cache,
                )[:, -1]
            )
        seen[attention] = torch.stack(steps)
    torch.testing.assert_close(seen[ATTENTION_NAME], seen[theirs], rtol=1e-4, atol=1e-4)


def test_attention_shared_prefix_agrees_with_the_whole_sequence(model, ids):
    """Prompt and steps on top of a shared prefix: the same logits as reading everything at once."""
    prefix, own = ids[:1, :200], ids[:, 200:]
    whole = torch.cat([prefix.expand(2, -1), own], dim=1)
    expected = logits(model, "sdpa", input_ids=whole)[:, 200:]
    model.set_attn_implementation(ATTENTION_NAME)
    shared = prefill_shared(model, prefix[0].tolist())
    cache = DynamicCache(config=model.config)
    positions = torch.arange(200, PROMPT_TOKENS - 1)[None]
    read = logits(
        model,
        ATTENTION_NAME,
        input_ids=own[:, :-1],
        position_ids=positions,
        past_key_values=cache,
        shared_prefix=shared,
    )
    step = logits(
        model,
        ATTENTION_NAME,
        input_ids=own[:, -1:],
        position_ids=torch.tensor([[PROMPT_TOKENS - 1]]),
        past_key_values=cache,
        shared_prefix=shared,
    )
    torch.testing.assert_close(torch.cat([read, step], dim=1), expected, rtol=1e-4, atol=1e-4)
    assert shared.layers_seen == {0, 1}


def test_attention_bfloat16_is_no_further_from_float32_than_transformers(model, ids):
    """Rounding in bfloat16 is of the same size as with PyTorch's fused attention."""
    exact = logits(model, "sdpa", input_ids=ids)
    model.to(torch.bfloat16)
    ours = (logits(model, ATTENTION_NAME, input_ids=ids).float() - exact).square().mean().sqrt()
    theirs = (logits(model, "sdpa", input_ids=ids).float() - exact).square().mean().sqrt()
    assert ours < 1.5 * theirs


def test_attention_shared_prefix_with_padding_is_refused(model, ids):
    """What the function cannot do it does not do wrongly."""
    model.set_attn_implementation(ATTENTION_NAME)
    shared = prefill_shared(model, ids[0, :50].tolist())
    mask = torch.ones_like(ids)
    mask[0, :10] = 0
    with pytest.raises(ValueError, match="unpadded"):
        logits(model, ATTENTION_NAME, input_ids=ids, attention_mask=mask, shared_prefix=shared)
