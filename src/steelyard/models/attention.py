"""Attention that is fast on CPUs: plain matrix products in cache-sized blocks.

Belongs here: the function that transformers calls in each layer, and its registration. Not here: the decoding loop
that uses it (see `steelyard.generate.decoding`).

PyTorch's fused CPU attention takes two thirds of a one-token step and half of a prompt's time in bfloat16; grouped
matrix products take a fraction of that (`bench/generation_speed.py`). Keys and values that all rows of a batch share
are kept once and multiplied with all rows' queries together (Juravsky et al. 2024, "Hydragen", section 3).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

ATTENTION_NAME = "steelyard_cpu"
# What other models' attention may ask for and this one does not do; the fused kernel's function answers for it.
_UNSUPPORTED = ("position_bias", "softcap", "s_aux")
_BLOCK_QUERIES = 128  # a block's scores stay in the CPU's cache; 64 to 256 are equally fast


@dataclass(slots=True)
class SharedPrefix:
    """Keys and values of tokens that every row begins with: one pair a layer, each (1, heads, tokens, head size).

    `layers_seen` holds the layers that have used it, so that a caller can tell a model that ignores it.
    """

    layers: list[tuple[Any, Any]]
    layers_seen: set[int] = field(default_factory=set)

    @property
    def tokens(self) -> int:
        """How many tokens are shared."""
        return int(self.layers[0][0].shape[-2])


def register_attention() -> str:
    """Make the function known to transformers and return the name to select it by; repeating it is harmless."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(ATTENTION_NAME, cpu_attention)
    AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)
    return ATTENTION_NAME


def cpu_attention(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    *,
    scaling: float | None = None,
    shared_prefix: SharedPrefix | None = None,
    **kwargs: Any,
) -> tuple[Any, None]:
    """Return the attention output of shape (batch, queries, heads, head size), as transformers expects it.

    `query` is (batch, heads, queries, head size); `key` and `value` are (batch, key heads, keys, head size), without
    the shared prefix. Every query sees all of the prefix. The mask (True where attended, or additive) is for own
    keys; without one a query sees its own key and those before it.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    shared = None
    if shared_prefix is not None:
        shared = shared_prefix.layers[module.layer_idx]
        shared_prefix.layers_seen.add(module.layer_idx)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    is_plain = all(kwargs.get(name) is None for name in _UNSUPPORTED)
    is_one_token = query.shape[2] == 1 and (attention_mask is None or attention_mask.shape[1] == 1)
    is_whole_prompt = attention_mask is None and query.shape[2] == key.shape[2]
    if is_plain and is_one_token:
        return _one_token(query * scale, key, value, attention_mask, shared), None
    if is_plain and is_whole_prompt and kwargs.get("is_causal") is not False:
        return _prompt(query * scale, *_joined(shared, key, value)), None
    if shared is not None:
        raise ValueError("a shared prefix needs unpadded prompts, or one new token a row")
    output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    return output, None


def _prompt(query: Any, key: Any, value: Any) -> Any:
    """Causal attention of the last tokens of a sequence, in blocks of queries.

    The heads that share a key head are rows of one product, so keys and values are not repeated.
    """
    import torch

    rows, heads, queries, size = query.shape
    key_heads, before = key.shape[1], key.shape[2] - queries
    output = query.new_empty((rows, queries, heads, size))
    for start in range(0, queries, _BLOCK_QUERIES):
        count = min(_BLOCK_QUERIES, queries - start)
        seen = before + start + count
        block = query[:, :, start : start + count].reshape(rows, key_heads, -1, size)
        scores = block @ key[:, :, :seen].transpose(-1, -2)
        future = torch.full((count, count), float("-inf"), dtype=query.dtype, device=query.device).triu(1)
        scores.view(rows, heads, count, seen)[..., before + start :] += future
        weights = torch.softmax(scores, dim=-1)  # computed in float32 inside, whatever the type
        attended = (weights @ value[:, :, :seen]).view(rows, heads, count, size)
        output[:, start : start + count] = attended.transpose(1, 2)
    return output


def _joined(shared: tuple[Any, Any] | None, key: Any, value: Any) -> tuple[Any, Any]:
    import torch

    if shared is None:
        return key, value
    rows = key.shape[0]
    return (
        torch.cat([shared[0].expand(rows, -1, -1, -1), key], dim=2),
        torch.cat([shared[1].expand(rows, -1, -1, -1), value], dim=2),
    )


def _one_token(query: Any, key: Any, value: Any, mask: Any, shared: tuple[Any, Any] | None) -> Any:
    """Attention of one new token a row: softmax over shared and own keys together."""
    import torch

    rows, heads, _, size = query.shape
    key_heads = key.shape[1]
    grouped = query.reshape(rows, key_heads, heads // key_heads, size)
    scores = grouped @ key.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    if shared is None:
        return (torch.softmax(scores, dim=-1) @ value).reshape(rows, 1, heads, size)

    shared_key, shared_value = shared[0][0], shared[1][0]
    by_head = grouped.transpose(0, 1).reshape(key_heads, -1, size)
    shared_scores = (by_head @ shared_key.transpose(-1, -2)).view(key_heads, rows, -1, shared_key.shape[1])
    weights = torch.softmax(torch.cat([shared_scores.transpose(0, 1), scores], dim=-1), dim=-1)
    shared_weights, own_weights = weights.split([shared_key.shape[1], key.shape[2]], dim=-1)
    from_shared = shared_weights.transpose(0, 1).reshape(key_heads, -1, shared_key.shape[1]) @ shared_value
    output = own_weights @ value + from_shared.view(key_heads, rows, -1, size).transpose(0, 1)
    return output.reshape(rows, 1, heads, size)
