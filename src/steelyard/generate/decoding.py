"""Greedy decoding of one batch.

Belongs here: the loop over one-token steps, on CPUs our own and elsewhere transformers'. Not here: prompts and
texts (see `rendering` and `local`). This module imports torch: import it where a model is about to run.

The own loop is there because it keeps the shared prefix once instead of once a row, reads prompts one by one without
padding (their activations then stay in the CPU's cache), writes keys and values in place instead of copying all of
them at each step, and lets finished rows go. `bench/generation_speed.py` shows what that brings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional
from transformers import LogitsProcessorList
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache, DynamicLayer

from steelyard.models.attention import SharedPrefix

Tokens = Sequence[int]
Choose = Callable[[Any, Sequence[int]], Any]
"""From logits (rows, vocabulary) and which rows of the batch they are to each one's next token, (rows,)."""

_GROWTH_TOKENS = 64  # most answers fit: the room then never grows

# Families whose attention gets the shared prefix passed through, each compared with transformers' own decoding in the
# tests; others are decoded by transformers.
CPU_LOOP_FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3"})


class _BatchLayer(CacheLayerMixin):
    """One layer's keys and values of a batch, written in place into room that grows in large pieces.

    Rows end at the same place: `update` first fills one row after the other (`row` says which), then all of them by
    one token a step (`row` is None). A step gets the whole room, the unused rest of which the caller masks: matrix
    products copy what is not contiguous, and that costs more than a few columns too many.
    """

    is_sliding = False

    def __init__(self, *, rows: int, prompt_tokens: int) -> None:
        super().__init__()
        self.rows, self.prompt_tokens = rows, prompt_tokens
        self.length = prompt_tokens
        self.row: int | None = 0

    def lazy_initialization(self, key_states: Any, value_states: Any) -> None:
        room = self.prompt_tokens + _GROWTH_TOKENS
        # zeros, because what is masked must still be a number
        self.keys = key_states.new_zeros((self.rows, key_states.shape[1], room, key_states.shape[3]))
        self.values = value_states.new_zeros((self.rows, value_states.shape[1], room, value_states.shape[3]))
        self.is_initialized = True

    def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if self.row is not None:
            start = self.prompt_tokens - key_states.shape[2]
            self.keys[self.row, :, start : self.prompt_tokens] = key_states[0]
            self.values[self.row, :, start : self.prompt_tokens] = value_states[0]
            return key_states, value_states
        if self.length == self.room:
            more = (0, 0, 0, _GROWTH_TOKENS)
            self.keys, self.values = functional.pad(self.keys, more), functional.pad(self.values, more)
        self.keys[:, :, self.length] = key_states[:, :, 0]
        self.values[:, :, self.length] = value_states[:, :, 0]
        self.length += 1
        return self.keys, self.values

    @property
    def room(self) -> int:
        return int(self.keys.shape[2])

    def keep_rows(self, rows: Any) -> None:
        self.keys, self.values = self.keys[rows], self.values[rows]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        return 0 if self.row is not None else self.length

    def get_max_length(self) -> int:
        return -1


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
    model: Any,
    rows: Sequence[Tokens],
    shared: SharedPrefix | None,
    *,
    max_new_tokens: int,
    stop: frozenset[int],
    choose: Choose | None = None,
) -> list[list[int]]:
    """Return each row's new tokens, the stop token included where one came; the likeliest, unless `choose` is given.

    `rows` hold each prompt's own tokens, after the shared ones. The model must run `steelyard.models.attention`.
    """
    width = max(len(row) for row in rows)
    layers = [_BatchLayer(rows=len(rows), prompt_tokens=width) for _ in range(model.config.num_hidden_layers)]
    cache = Cache(layers=layers)
    choose = choose or _largest
    chosen = choose(_read_prompts(model, rows, shared, cache), range(len(rows)))
    positions = torch.tensor([[_tokens_of(shared) + len(row)] for row in rows])
    mask = _step_mask(rows, room=width + max_new_tokens + _GROWTH_TOKENS, dtype=model.dtype)
    new: list[list[int]] = [[] for _ in rows]
    alive = list(range(len(rows)))  # which row of the batch each row of the tensors is
    while True:
        for row, token in zip(alive, chosen.tolist(), strict=True):
            if not _is_finished(new[row], max_new_tokens, stop):
                new[row].append(token)
        going = [place for place, row in enumerate(alive) if not _is_finished(new[row], max_new_tokens, stop)]
        if not going:
            return new
        if 2 * len(going) <= len(alive):  # copying the cache pays when half of the rows can go
            alive = [alive[place] for place in going]
            kept = torch.tensor(going)
            for layer in layers:
                layer.keep_rows(kept)
            chosen, positions, mask = chosen[kept], positions[kept], mask[kept]
        mask[..., layers[0].length] = 0.0
        logits = model(
            input_ids=chosen[:, None],
            attention_mask=mask[..., : _room_after_step(layers[0])],
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            shared_prefix=shared,
        ).logits
        chosen, positions = choose(logits[:, -1], alive), positions + 1


def _read_prompts(model: Any, rows: Sequence[Tokens], shared: SharedPrefix | None, cache: Cache) -> Any:
    """Fill the cache with every prompt and return the logits of each row's first new token, (rows, vocabulary)."""
    start = _tokens_of(shared)
    last = []
    for index, row in enumerate(rows):
        for layer in cache.layers:
            layer.row = index
        logits = model(
            input_ids=torch.tensor([list(row)]),
            position_ids=torch.arange(start, start + len(row))[None],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            shared_prefix=shared,
        ).logits
        last.append(logits[0, -1])
    for layer in cache.layers:
        layer.row = None
    return torch.stack(last)


@torch.inference_mode()
def decode_with_transformers(
    model: Any,
    rows: Sequence[Tokens],
    shared: SharedPrefix | None,
    *,
    shared_ids: Tokens,
    max_new_tokens: int,
    stop: frozenset[int],
    choose: Choose | None = None,
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
        logits_processor=None if choose is None else LogitsProcessorList([_only(choose)]),
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


def _step_mask(rows: Sequence[Tokens], *, room: int, dtype: Any) -> Any:
    """Return what is added to a new token's scores for own keys, (rows, 1, 1, room): open where a prompt's token is."""
    width = max(len(row) for row in rows)
    mask = torch.full((len(rows), 1, 1, room), float("-inf"), dtype=dtype)
    for index, row in enumerate(rows):
        mask[index, ..., width - len(row) : width] = 0.0
    return mask


def _room_after_step(layer: _BatchLayer) -> int:
    return layer.room + (_GROWTH_TOKENS if layer.length == layer.room else 0)


def _only(choose: Choose) -> Callable[[Any, Any], Any]:
    """Return what makes `model.generate` take what `choose` chose."""

    def processor(_: Any, logits: Any) -> Any:
        chosen = choose(logits, range(len(logits)))
        return torch.full_like(logits, float("-inf")).scatter(1, chosen[:, None], 0.0)

    return processor


def _largest(logits: Any, rows: Sequence[int] = ()) -> Any:
    """Return the first index of the largest logit; `max` is nine times faster than `argmax` for bfloat16 on a CPU."""
    return logits.max(-1).indices


def _tokens_of(shared: SharedPrefix | None) -> int:
    return 0 if shared is None else shared.tokens


def _is_finished(tokens: Tokens, max_new_tokens: int, stop: frozenset[int]) -> bool:
    return len(tokens) >= max_new_tokens or (bool(tokens) and tokens[-1] in stop)


def _until_stop(tokens: list[int], stop: frozenset[int]) -> list[int]:
    for index, token in enumerate(tokens):
        if token in stop:
            return tokens[: index + 1]
    return tokens
