"""The training loop: transformers' Trainer with the loss taken only where there is something to learn.

Belongs here: everything of training that needs torch; imported by the function that trains, never at start-up. Not
here: tokenising, publishing.

Why not TRL's SFTTrainer, with the speeds of both: docs/decisions/0003-trainer.md.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, get_peft_model
from peft.helpers import disable_input_dtype_casting
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from steelyard.errors import ConfigError, DataError, ServiceError
from steelyard.generate.decoding import fits_cpu_loop
from steelyard.models.attention import register_attention
from steelyard.progress import Progress
from steelyard.tune.examples import TokenisedExample, training_order
from steelyard.tune.folder import StepMetrics, newest_checkpoint, seal
from steelyard.tune.recipe import LoraRecipe
from steelyard.tune.train import OnMetrics, check_layers

_IGNORED = -100  # what torch's cross entropy takes for "no target here"
_TASK = "training the adapter"
_NOTES = 10  # lines about the loss in one training
_MAX_GRADIENT_NORM = 1.0  # everybody's value, Trainer's default


class Trained(NamedTuple):
    """Every step of a training, those of killed processes with it, and the seconds spent on them."""

    steps: tuple[StepMetrics, ...]
    seconds: float


def run(
    rows: Sequence[TokenisedExample],
    *,
    base: Path,
    base_identity: str,
    recipe: LoraRecipe,
    checkpoints: Path,
    save_to: Path,
    device: str,
    progress: Progress,
    tell: OnMetrics,
) -> Trained:
    """Train from the last complete checkpoint in `checkpoints`, or from the start, and save the adapter."""
    order = training_order(
        [len(row.tokens) for row in rows], batch_size=recipe.batch_size, epochs=recipe.epochs, seed=recipe.seed
    )
    schedule = [rows[index] for index in order]
    resumed = newest_checkpoint(checkpoints)
    reporter = _Reporter(schedule, recipe, resumed, progress, tell)
    model = adapted_model(base, recipe)
    _choose_attention(model.get_base_model(), device, recipe.dtype)
    trainer = CompletionTrainer(
        model=model,
        args=_arguments(recipe, checkpoints, device, total_steps=reporter.total),
        train_dataset=schedule,
        data_collator=collate,
        callbacks=[reporter],
    )
    trainer.reporter = reporter
    trainer.remove_callback(PrinterCallback)  # prints to stdout, which belongs to --json
    if resumed is not None:
        progress.note(f"resuming at step {len(resumed.steps)} of {reporter.total}")
    # Under autocast the adapters' inputs are cast to the right type anyway; PEFT's own cast to float32 costs a fifth.
    with disable_input_dtype_casting(model) if recipe.dtype != "float32" else nullcontext():
        try:
            trainer.train(resume_from_checkpoint=None if resumed is None else str(resumed.path))
        except torch.OutOfMemoryError as error:
            raise ServiceError(
                f"the GPU's memory is too small for {recipe.batch_size} examples at once",
                remedy="halve tune.batch_size and double tune.gradient_accumulation: the same steps, less memory",
            ) from error
    _save(model, save_to, base_identity)
    return Trained(tuple(reporter.steps), reporter.seconds)


def adapted_model(base: Path, recipe: LoraRecipe) -> Any:
    """Return the base model, frozen and in the recipe's type, with fresh float32 adapters."""
    try:
        model = AutoModelForCausalLM.from_pretrained(
            str(base), dtype=getattr(torch, recipe.dtype), use_safetensors=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"model folder {base} cannot be loaded: {error}",
            remedy="it needs config.json and safetensors weights; delete it from the cache to have it made again",
        ) from error
    layers = check_layers(recipe, layers=model.config.get_text_config().num_hidden_layers)
    set_seed(recipe.seed)  # adapters start from random numbers
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=list(recipe.target_modules),
        layers_to_transform=layers,
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise ConfigError(
            f"tune.lora does not fit the model {type(model).__name__}: {error}",
            remedy="name linear layers of the model in tune.lora.target_modules",
        ) from error


def _choose_attention(model: Any, device: str, dtype: str) -> None:
    """Take our attention where PyTorch's is slow: in bf16 on a CPU, forward and back take it three times as long."""
    has_dropout = bool(getattr(model.config, "attention_dropout", 0.0))  # ours knows none
    if device == "cpu" and dtype == "bfloat16" and fits_cpu_loop(model) and not has_dropout:
        model.set_attn_implementation(register_attention())


def collate(rows: Sequence[TokenisedExample]) -> dict[str, torch.Tensor]:
    """Return one batch, padded on the right.

    There is no attention mask: with causal attention nothing looks to the right, so padding changes no loss, and
    attention without a mask is faster.
    """
    tokens = [torch.tensor(row.tokens, dtype=torch.long) for row in rows]
    labels = [row_tokens.clone() for row_tokens in tokens]
    for row, row_labels in zip(rows, labels, strict=True):
        row_labels[: row.prompt_tokens] = _IGNORED
    return {
        "input_ids": pad_sequence(tokens, batch_first=True),
        "labels": pad_sequence(labels, batch_first=True, padding_value=_IGNORED),
    }


class CompletionTrainer(Trainer):
    """Trainer whose model computes logits only at positions that have a target, and whose checkpoints are sealed.

    Most tokens belong to prompts; with a vocabulary of 50,000 their logits cost as much as a third of the model.
    """

    reporter: _Reporter

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.model_accepts_loss_kwargs = True  # compute_loss divides by the targets of the whole step
        self._wanted: torch.Tensor | None = None
        # A hook instead of a call around the model's forward: wrappers (data parallel, PEFT) see an ordinary call,
        # and what a model does to its logits (scaling, soft caps) still happens.
        self.model.get_output_embeddings().register_forward_pre_hook(self._select)

    def _select(self, _: Any, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        return (inputs[0][self._wanted],)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the mean cross entropy over the targets of the whole step, this batch's share of it."""
        assert not return_outputs, "there is no evaluation during training"
        targets = functional.pad(inputs["labels"][:, 1:], (0, 1), value=_IGNORED)
        self._wanted = targets != _IGNORED
        logits = model(input_ids=inputs["input_ids"], use_cache=False).logits
        loss = functional.cross_entropy(logits.float(), targets[self._wanted], reduction="sum")
        return loss / num_items_in_batch * self.accelerator.num_processes

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Count nothing: nobody reads the number, and counting walks through all modules in every step."""
        return 0

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        try:
            super()._save_checkpoint(model, trial)
        except RuntimeError as error:
            raise OSError(f"checkpoint not written: {error}") from error  # torch's word for a full disk
        if self.args.should_save:
            checkpoint = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            (checkpoint / "training_args.bin").unlink()  # a pickle that nothing reads
            seal(checkpoint, steps=self.reporter.steps, seconds=self.reporter.seconds)


class _Reporter(TrainerCallback):
    """Collects the steps and tells of them, those from before a resume first."""

    def __init__(
        self,
        schedule: Sequence[TokenisedExample],
        recipe: LoraRecipe,
        resumed: Any,
        progress: Progress,
        tell: OnMetrics,
    ) -> None:
        batch = recipe.batch_size * recipe.gradient_accumulation
        self._tokens = [
            sum(len(row.tokens) for row in schedule[start : start + batch]) for start in range(0, len(schedule), batch)
        ]
        self.total = len(self._tokens)
        self.steps: list[StepMetrics] = [] if resumed is None else list(resumed.steps)
        self.seconds: float = 0.0 if resumed is None else resumed.seconds
        self._progress = progress
        self._tell = tell
        self._clock = time.monotonic()

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Tell of earlier steps and start the clock."""
        for step in self.steps:
            self._tell(step)
        self._progress.update(_TASK, len(self.steps), self.total, "steps")
        self._clock = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        """Record one step; the Trainer logs a summary at the end as well, which holds no loss."""
        if "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise ConfigError(
                f"training diverged: the loss of step {state.global_step} of {self.total} is {logs['loss']}",
                remedy="lower tune.learning_rate, or raise tune.warmup_share",
            )
        now = time.monotonic()
        step = StepMetrics(
            step=state.global_step,
            loss=logs["loss"],
            learning_rate=logs["learning_rate"],
            gradient_norm=logs["grad_norm"],
            tokens=self._tokens[state.global_step - 1],
            seconds=now - self._clock,
        )
        self.seconds += step.seconds
        self._clock = now
        self.steps.append(step)
        self._tell(step)
        self._progress.update(_TASK, step.step, self.total, "steps")
        if step.step % math.ceil(self.total / _NOTES) == 0:
            self._progress.note(f"step {step.step} of {self.total}: loss {step.loss:.3f}")


def _arguments(recipe: LoraRecipe, checkpoints: Path, device: str, *, total_steps: int) -> TrainingArguments:
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=1,  # all epochs lie one after another in the schedule
        per_device_train_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.gradient_accumulation,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=round(recipe.warmup_share * total_steps),
        optim="adamw_torch_fused",  # a tenth of the time of the plain one
        weight_decay=0.0,  # adapters are small and few steps are made
        max_grad_norm=_MAX_GRADIENT_NORM,
        seed=recipe.seed,
        bf16=recipe.dtype == "bfloat16",
        fp16=recipe.dtype == "float16",
        use_cpu=device == "cpu",
        dataloader_pin_memory=device != "cpu",
        save_strategy="steps",
        save_steps=recipe.checkpoint_every_steps,
        save_total_limit=2,  # the older one stays until the newer one is sealed
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        log_level="error",
        disable_tqdm=True,
        report_to="none",
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # several GPUs take one process each (accelerate); threads would share one hook
    return arguments


def _save(model: Any, folder: Path, base_identity: str) -> None:
    """Save the adapter the same way on every machine: no path, and lists in one order."""
    config = model.peft_config[model.active_adapter]
    config.base_model_name_or_path = base_identity
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # a form that nobody filled in
    settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    settings["target_modules"] = sorted(settings["target_modules"])
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True), encoding="utf-8")
