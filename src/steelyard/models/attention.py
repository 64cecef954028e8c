"""Attention that is fast on CPUs: the fused kernel for prompts, plain matrix products for one-token steps.

Belongs here: the function that transformers calls in each layer, and its registration. Not here: the decoding loop
that uses it (see `steelyard.generate.decoding`).

For one query token PyTorch's fused CPU attention takes two thirds of a step's time; grouped matrix products take far
less. Keys and values that all rows of a batch share are kept once and multiplied with all rows' queries together
(Juravsky et al. 2024, "Hydragen", section 3).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

ATTENTION_NAME = "steelyard_cpu"
# What other models' attention may ask for and this one does not do; the fused kernel's function answers for it.
_UNSUPPORTED = ("position_bias", "softcap", "s_aux")


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

    `query` is (batch, heads, queries, head size); `key` and `value` are (batch, key heads, keys, head size). The mask
    is boolean (True where attended) or additive. It covers shared and own keys when there are several queries, and
    the own keys only for one query, which sees the whole shared prefix.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    shared = None
    if shared_prefix is not None:
        shared = shared_prefix.layers[module.layer_idx]
        shared_prefix.layers_seen.add(module.layer_idx)
    is_plain = all(kwargs.get(name) is None for name in _UNSUPPORTED)
    is_mask_common = attention_mask is None or attention_mask.shape[1] == 1  # one mask for all heads
    if query.shape[2] == 1 and is_plain and is_mask_common:
        return _one_token(query, key, value, attention_mask, scaling=scaling, shared=shared), None
    if shared is not None:
        import torch

        rows = query.shape[0]
        key = torch.cat([shared[0].expand(rows, -1, -1, -1), key], dim=2)
        value = torch.cat([shared[1].expand(rows, -1, -1, -1), value], dim=2)
    output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    return output, None


def _one_token(
    query: Any, key: Any, value: Any, mask: Any, *, scaling: float | None, shared: tuple[Any, Any] | None
) -> Any:
    """Softmax over shared and own keys together: the heads that share a key head are rows of one product."""
    import torch

    rows, heads, _, size = query.shape
    key_heads = key.shape[1]
    grouped = query.reshape(rows, key_heads, heads // key_heads, size)
    grouped = grouped * (size**-0.5 if scaling is None else scaling)
    scores = grouped @ key.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    if shared is None:
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(value.dtype)
        return (weights @ value).reshape(rows, 1, heads, size)

    shared_key, shared_value = shared[0][0], shared[1][0]
    by_head = grouped.transpose(0, 1).reshape(key_heads, -1, size)
    shared_scores = (by_head @ shared_key.transpose(-1, -2)).view(key_heads, rows, -1, shared_key.shape[1])
    together = torch.cat([shared_scores.transpose(0, 1), scores], dim=-1)
    weights = torch.softmax(together, dim=-1, dtype=torch.float32).to(value.dtype)
    shared_weights, own_weights = weights.split([shared_key.shape[1], key.shape[2]], dim=-1)
    from_shared = shared_weights.transpose(0, 1).reshape(key_heads, -1, shared_key.shape[1]) @ shared_value
    output = own_weights @ value + from_shared.view(key_heads, rows, -1, size).transpose(0, 1)
    return output.reshape(rows, 1, heads, size)
