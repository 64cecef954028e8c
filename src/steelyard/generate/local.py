"""The generator in this process: a checkpoint, with or without an adapter, through transformers.

Belongs here: when the model is loaded, what is kept between batches, limits. Not here: the decoding loop (see
`decoding`), rendering (see `rendering`), servers.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard.errors import DataError
from steelyard.generate.protocol import generator_fingerprint
from steelyard.generate.rendering import RenderedPrompt, render, stop_tokens
from steelyard.models.checkpoint import LoadedModel, load_causal_lm, load_tokenizer
from steelyard.records import Completion, Decoding, Prompt

if TYPE_CHECKING:
    from steelyard.generate.constraint import Constrainer
    from steelyard.models.attention import SharedPrefix

_KEPT_PREFIXES = 4  # an arm has one; a few megabytes each for small models
_SHORTEST_SHARED_TOKENS = 32  # below, reuse costs more than it saves
_SHOWN_CHARACTERS = 60


class LocalGenerator:
    """Continues chats with a model in this process; the model is loaded when it is first needed.

    `dtype` and `device` come from `steelyard.models.precision`, `model_identity` from
    `steelyard.models.source.identity`. `adapter` is a folder in PEFT's format, merged when loaded.
    """

    def __init__(
        self,
        folder: Path,
        *,
        model_identity: str,
        dtype: str,
        device: str,
        adapter: Path | None = None,
        adapter_fingerprint: str | None = None,
        is_prefix_shared: bool = True,
    ) -> None:
        if (adapter is None) != (adapter_fingerprint is None):
            raise ValueError("adapter and adapter_fingerprint belong together")
        self._folder = folder
        self._adapter = adapter
        self._dtype = dtype
        self._device = device
        self._is_prefix_shared = is_prefix_shared
        self._prefixes: OrderedDict[tuple[int, ...], SharedPrefix | None] = OrderedDict()
        self._fingerprint = generator_fingerprint(
            model_identity=model_identity, adapter_fingerprint=adapter_fingerprint, dtype=dtype
        )

    @property
    def fingerprint(self) -> str:
        """The digest of everything but prompt and decoding that can change a completion."""
        return self._fingerprint

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return how many tokens each prompt has; loads the tokenizer only."""
        return [len(render(self._tokenizer, prompt).tokens) for prompt in prompts]

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Completion]:
        """Return the completions of one batch, in order; see `steelyard.generate.protocol.Generator`."""
        if not prompts:
            return []
        rendered = [render(self._tokenizer, prompt) for prompt in prompts]
        self._check_room(prompts, rendered, decoding)
        self._loaded  # noqa: B018 - loading is not part of the batch's time
        started = time.perf_counter()
        written = self._decode(rendered, decoding)
        seconds = (time.perf_counter() - started) / len(prompts)
        return [
            Completion(
                text=self._text(tokens),
                prompt_tokens=len(prompt.tokens),
                completion_tokens=len(tokens),
                seconds=seconds,
            )
            for prompt, tokens in zip(rendered, written, strict=True)
        ]

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self._folder)

    @cached_property
    def _loaded(self) -> LoadedModel:
        loaded = load_causal_lm(self._folder, dtype=self._dtype, device=self._device, adapter=self._adapter)
        from steelyard.generate.decoding import fits_cpu_loop
        from steelyard.models.attention import register_attention

        if self._device == "cpu" and fits_cpu_loop(loaded.model):
            loaded.model.set_attn_implementation(register_attention())
        return loaded

    @cached_property
    def _constrainer(self) -> Constrainer:
        from steelyard.generate.constraint import Constrainer

        width = self._loaded.model.get_output_embeddings().weight.shape[0]
        return Constrainer(self._tokenizer, vocabulary=width, stop=self._stop)

    @cached_property
    def _stop(self) -> frozenset[int]:
        return stop_tokens(self._tokenizer, self._loaded.model)

    def _decode(self, rendered: Sequence[RenderedPrompt], decoding: Decoding) -> list[list[int]]:
        from steelyard.generate.decoding import decode_on_cpu, decode_with_transformers
        from steelyard.models.attention import ATTENTION_NAME

        model = self._loaded.model
        shared_ids = self._shared_ids(rendered)
        shared = self._prefix(shared_ids)
        skipped = 0 if shared is None else len(shared_ids)
        rows = [prompt.tokens[skipped:] for prompt in rendered]
        limits: dict[str, Any] = {"max_new_tokens": decoding.max_new_tokens, "stop": self._stop}
        if decoding.constraint is not None:
            limits["choose"] = self._constrainer.matchers(decoding.constraint, len(rows)).choose
        written: list[list[int]]
        if model.config._attn_implementation == ATTENTION_NAME:
            written = decode_on_cpu(model, rows, shared, **limits)
        else:
            written = decode_with_transformers(model, rows, shared, shared_ids=shared_ids, **limits)
        return written

    def _shared_ids(self, rendered: Sequence[RenderedPrompt]) -> tuple[int, ...]:
        """Return the tokens that the batch's prompts share, or none when they differ or are too few to matter."""
        first = rendered[0].tokens[: rendered[0].shared]
        is_same = all(prompt.tokens[: prompt.shared] == first for prompt in rendered)
        return first if self._is_prefix_shared and is_same and len(first) >= _SHORTEST_SHARED_TOKENS else ()

    def _prefix(self, tokens: tuple[int, ...]) -> SharedPrefix | None:
        from steelyard.generate.decoding import prefill_shared

        if tokens not in self._prefixes:
            self._prefixes[tokens] = prefill_shared(self._loaded.model, tokens)
        self._prefixes.move_to_end(tokens)
        while len(self._prefixes) > _KEPT_PREFIXES:
            self._prefixes.popitem(last=False)
        return self._prefixes[tokens]

    def _check_room(self, prompts: Sequence[Prompt], rendered: Sequence[RenderedPrompt], decoding: Decoding) -> None:
        limit = getattr(self._loaded.model.config, "max_position_embeddings", None)
        for prompt, tokens in zip(prompts, rendered, strict=True):
            needed = len(tokens.tokens) + decoding.max_new_tokens
            if limit is not None and needed > limit:
                raise DataError(
                    f"prompt ending in {prompt.messages[-1].content[-_SHOWN_CHARACTERS:]!r} has {len(tokens.tokens)} "
                    f"tokens; with {decoding.max_new_tokens} new ones it exceeds the model's {limit}",
                    remedy="retrieve fewer or smaller passages, give fewer examples, or use a model with a longer "
                    "context",
                )

    def _text(self, tokens: Sequence[int]) -> str:
        kept = tokens[:-1] if tokens and tokens[-1] in self._stop else tokens
        text: str = self._tokenizer.decode(list(kept), skip_special_tokens=True)
        return text
