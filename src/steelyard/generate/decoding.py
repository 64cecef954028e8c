"""Greedy decoding of one batch.

Belongs here: the loop over one-token steps, on CPUs our own and elsewhere transformers'. Not here: prompts and
texts (see `rendering` and `local`). This module imports torch: import it where a model is about to run.

Rows are laid out as shared prefix, padding, own tokens. The own loop is there because it keeps the shared prefix once
instead of once a row, writes keys and values in place instead of copying all of them at each step, and lets finished
rows go; `bench/generation_speed.py` shows what that brings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache, DynamicLayer

from steelyard.models.attention import SharedPrefix

Tokens = Sequence[int]

# Families whose attention gets the shared prefix passed through, each compared with transformers' own decoding in the
# tests; others are decoded by transformers.
CPU_LOOP_FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3"})


class _RoomyLayer(CacheLayerMixin):
    """Keys and values of one layer with room for the whole completion, written in place."""

    is_sliding = False

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.length = 0

    def lazy_initialization(self, key_states: Any, value_states: Any) -> None:
        rows, heads, _, size = key_states.shape
        self.keys = key_states.new_empty((rows, heads, self.capacity, size))
        self.values = value_states.new_empty((rows, heads, self.capacity, value_states.shape[-1]))
        self.is_initialized = True

    def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, self.length = self.length, self.length + key_states.shape[2]
        self.keys[:, :, start : self.length] = key_states
        self.values[:, :, start : self.length] = value_states
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def keep_rows(self, rows: Any) -> None:
        self.keys, self.values = self.keys[rows], self.values[rows]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return self.capacity


def fits_cpu_loop(model: Any) -> bool:
    """Return whether `decode_on_cpu` can run the model: a tested family, without sliding windows."""
    return model.config.model_type in CPU_LOOP_FAMILIES and _keeps_every_token(DynamicCache(config=model.config))


@torch.inference_mode()
def prefill_shared(model: Any, tokens: Tokens) -> SharedPrefix | None:
    """Return the keys and values of tokens that rows begin with; None when the model's cache is not of that kind.

    Sliding-window and recurrent layers do not keep every token's keys, so nothing can be shared for them.
    """
    cache = DynamicCache(config=model.config)
    if not tokens or not _keeps_every_token(cache):
        return None
    model(
        input_ids=torch.tensor([list(tokens)], device=model.device),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return SharedPrefix([(layer.keys, layer.values) for layer in cache.layers])


@torch.inference_mode()
def decode_on_cpu(
    model: Any, rows: Sequence[Tokens], shared: SharedPrefix | None, *, max_new_tokens: int, stop: frozenset[int]
) -> list[list[int]]:
    """Return each row's new tokens, the stop token included where one came.

    `rows` hold each prompt's own tokens, after the shared ones. The model must run `steelyard.models.attention`.
    """
    shared_tokens = 0 if shared is None else shared.tokens
    ids, is_token = _padded(rows, device=model.device)
    width = ids.shape[1]
    layers = [_RoomyLayer(width + max_new_tokens) for _ in range(model.config.num_hidden_layers)]
    cache = Cache(layers=layers)
    logits = model(
        input_ids=ids,
        attention_mask=_prompt_mask(is_token, shared_tokens),
        position_ids=shared_tokens + (is_token.cumsum(1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
        shared_prefix=shared,
    ).logits
    step_mask = _step_mask(is_token, width + max_new_tokens, logits.dtype)
    positions = shared_tokens + is_token.sum(1, keepdim=True)
    new: list[list[int]] = [[] for _ in rows]
    alive = list(range(len(rows)))  # which row of the batch each row of the tensors is
    while True:
        chosen = logits[:, -1].argmax(-1)
        for row, token in zip(alive, chosen.tolist(), strict=True):
            if not _is_finished(new[row], max_new_tokens, stop):
                new[row].append(token)
        open_places = [place for place, row in enumerate(alive) if not _is_finished(new[row], max_new_tokens, stop)]
        if not open_places:
            return new
        if 2 * len(open_places) <= len(alive):  # copying the cache pays when half of the rows can go
            kept = torch.tensor(open_places)
            for layer in layers:
                layer.keep_rows(kept)
            chosen, positions = chosen[kept], positions[kept]
            step_mask = None if step_mask is None else step_mask[kept]
            alive = [alive[place] for place in open_places]
        logits = model(
            input_ids=chosen[:, None],
            attention_mask=None if step_mask is None else step_mask[..., : layers[0].length + 1],
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            shared_prefix=shared,
        ).logits
        positions = positions + 1


@torch.inference_mode()
def decode_with_transformers(
    model: Any,
    rows: Sequence[Tokens],
    shared: SharedPrefix | None,
    *,
    shared_ids: Tokens,
    max_new_tokens: int,
    stop: frozenset[int],
) -> list[list[int]]:
    """Return the same as `decode_on_cpu` through `model.generate`, for any device and attention.

    `shared_ids` are the tokens that `shared` was made from; without `shared` they are part of every row.
    """
    ids, is_token = _padded(rows, device=model.device)
    cache = None
    if shared is not None:
        before = torch.tensor([list(shared_ids)], device=model.device).expand(len(rows), -1)
        ids = torch.cat([before, ids], dim=1)
        is_token = torch.cat([torch.ones_like(before, dtype=torch.bool), is_token], dim=1)
        cache = DynamicCache(config=model.config)
        for index, (key, value) in enumerate(shared.layers):
            cache.update(key.expand(len(rows), -1, -1, -1), value.expand(len(rows), -1, -1, -1), index)
    written = model.generate(
        input_ids=ids,
        attention_mask=is_token.long(),
        past_key_values=cache,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        eos_token_id=sorted(stop),
        pad_token_id=min(stop, default=0),
    )[:, ids.shape[1] :].tolist()
    return [_until_stop(row, stop) for row in written]


def _keeps_every_token(cache: DynamicCache) -> bool:
    return all(type(layer) is DynamicLayer for layer in cache.layers)


def _padded(rows: Sequence[Tokens], *, device: Any) -> tuple[Any, Any]:
    """Return token ids padded on the left, and where they are tokens; both (rows, width)."""
    width = max(len(row) for row in rows)
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    is_token = torch.zeros((len(rows), width), dtype=torch.bool)
    for index, row in enumerate(rows):
        ids[index, width - len(row) :] = torch.tensor(row)
        is_token[index, width - len(row) :] = True
    return ids.to(device), is_token.to(device)


def _prompt_mask(is_token: Any, shared_tokens: int) -> Any:
    """Return who sees whom in the prompt, (rows, 1, width, shared + width); None when it is plainly causal.

    Padding sees itself: a row that sees nothing would come out as NaN and spread.
    """
    rows, width = is_token.shape
    if shared_tokens == 0 and bool(is_token.all()):
        return None
    causal = torch.ones((width, width), dtype=torch.bool, device=is_token.device).tril()
    own = (causal & is_token[:, None, :]) | torch.eye(width, dtype=torch.bool, device=is_token.device)
    before = own.new_ones((rows, width, shared_tokens))
    return torch.cat([before, own], dim=2)[:, None]


def _step_mask(is_token: Any, capacity: int, dtype: Any) -> Any:
    """Return what is added to a new token's scores for own keys, (rows, 1, 1, capacity); None without padding."""
    if bool(is_token.all()):
        return None
    mask = torch.zeros((is_token.shape[0], capacity), dtype=dtype, device=is_token.device)
    mask[:, : is_token.shape[1]].masked_fill_(~is_token, float("-inf"))
    return mask[:, None, None, :]


def _is_finished(tokens: Tokens, max_new_tokens: int, stop: frozenset[int]) -> bool:
    return len(tokens) >= max_new_tokens or (bool(tokens) and tokens[-1] in stop)


def _until_stop(tokens: list[int], stop: frozenset[int]) -> list[int]:
    for index, token in enumerate(tokens):
        if token in stop:
            return tokens[: index + 1]
    return tokens
