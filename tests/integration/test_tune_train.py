"""Training a LoRA adapter with the real libraries on a tiny random model."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from array import array
from pathlib import Path

import pytest

from steelyard.errors import ConfigError, DataError, ServiceError
from steelyard.generate.rendering import render
from steelyard.models.checkpoint import load_causal_lm, load_tokenizer
from steelyard.models.tiny import build_tiny
from steelyard.records import Message, Prompt, TrainingExample
from steelyard.tune.examples import TokenisedExample, end_of_turn, tokenise
from steelyard.tune.folder import StepMetrics, adapter_folder
from steelyard.tune.recipe import LoraRecipe
from steelyard.tune.train import train

RECIPE = LoraRecipe(
    rank=4,
    alpha=8,
    dropout=0.0,
    target_modules=("q_proj", "v_proj", "up_proj", "down_proj"),
    upper_layers=1,
    epochs=2,
    learning_rate=1e-2,
    schedule="linear",
    warmup_share=0.1,
    batch_size=4,
    gradient_accumulation=1,
    max_length_tokens=200,
    checkpoint_every_steps=100,
    seed=1,
    dtype="float32",
)


def _example(number: int, *, padding: int = 0) -> TrainingExample:
    question = f"What is {number}?" + " please" * padding
    return TrainingExample((Message("system", "Answer."), Message("user", question)), f'{{"n":{number}}}')


EXAMPLES = [_example(number, padding=number % 5) for number in range(12)]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """Make a model folder."""
    folder = tmp_path_factory.mktemp("tiny")
    build_tiny(folder)
    return folder


def _trained(base: Path, output: Path, *, examples=EXAMPLES, on_metrics=None, **changes):
    return train(
        examples,
        base=base,
        base_identity="tiny",
        recipe=dataclasses.replace(RECIPE, **changes),
        output=output,
        device="cpu",
        on_metrics=on_metrics,
    )


def test_tokenise_prompt_is_what_generation_renders(base):
    """Training and generation must not differ by a single token."""
    tokenizer = load_tokenizer(base)
    rows = tokenise(EXAMPLES, tokenizer, max_length_tokens=200).kept
    for row, example in zip(rows, EXAMPLES, strict=True):
        assert tuple(row.tokens[: row.prompt_tokens]) == render(tokenizer, Prompt(example.messages)).tokens
        chat = [{"role": message.role, "content": message.content} for message in example.messages]
        assert list(row.tokens[: row.prompt_tokens]) == tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, return_dict=False
        )


def test_tokenise_learnt_part_is_completion_and_end_of_turn(base):
    """The model learns to stop, and nothing behind its turn."""
    tokenizer = load_tokenizer(base)
    (row,) = tokenise([_example(7)], tokenizer, max_length_tokens=200).kept
    assert tokenizer.decode(row.tokens[row.prompt_tokens :]) == '{"n":7}<|im_end|>'


def test_end_of_turn_no_chat_template_is_end_of_text(base):
    """A model without a chat format stops at the end of text."""
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = None
    assert end_of_turn(tokenizer) == (tokenizer.eos_token_id,)


def test_collate_prompt_and_padding_have_no_target():
    """The loss sees completions only."""
    from steelyard.tune.loop import collate

    batch = collate([TokenisedExample(array("i", [5, 6, 7, 8]), 2), TokenisedExample(array("i", [9, 10]), 1)])
    assert batch["labels"].tolist() == [[-100, -100, 7, 8], [-100, 10, -100, -100]]
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8], [9, 10, 0, 0]]


def test_tokenise_few_too_long_leaves_them_out_by_index(base):
    """A stray long example is left out whole, never cut."""
    examples = [_example(number, padding=60 if number == 30 else 0) for number in range(40)]
    rows = tokenise(examples, load_tokenizer(base), max_length_tokens=200)
    assert rows.too_long == (30,)
    assert len(rows.kept) == 39
    assert rows.lengths.longest <= 200


def test_tokenise_many_too_long_raises_with_what_to_set(base):
    """A limit that does not suit the data stops the run."""
    with pytest.raises(
        DataError, match=r"(?s)12 of 12 .* longer than 20 tokens \(example 0: 54,.*max_length_tokens to 82"
    ):
        tokenise(EXAMPLES, load_tokenizer(base), max_length_tokens=20)


@pytest.mark.parametrize(("examples", "message"), [([], "no training examples"), (["blank"], "example 0 has an empty")])
def test_tokenise_nothing_to_learn_raises(base, examples, message):
    """No example and an empty completion are refused."""
    rows = [TrainingExample((Message("user", "?"),), " \n") for _ in examples]
    with pytest.raises(DataError, match=message):
        tokenise(rows, load_tokenizer(base), max_length_tokens=200)


def test_train_adapter_loads_with_peft_and_learns(base, tmp_path):
    """The result is an ordinary float32 PEFT adapter that lowers the loss, on the upper layer only."""
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file

    steps: list[StepMetrics] = []
    adapter = _trained(base, tmp_path, epochs=6, on_metrics=steps.append)
    assert [step.step for step in steps] == list(range(1, 19))
    assert adapter.steps == 18
    assert steps[-1].loss < 0.7 * steps[0].loss
    weights = load_file(adapter_folder(tmp_path) / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    assert {name.split(".layers.")[1].split(".")[0] for name in weights} == {"1"}
    model, tokenizer = load_causal_lm(base, dtype="float32", device="cpu")
    prompt = torch.tensor([tokenise([_example(3)], tokenizer, max_length_tokens=200).kept[0].tokens])
    with torch.no_grad():
        before = model(input_ids=prompt, labels=prompt).logits
        after = PeftModel.from_pretrained(model, str(adapter_folder(tmp_path)))(input_ids=prompt).logits
    assert not torch.equal(before, after)
    elsewhere = _logits_without_steelyard(base, adapter_folder(tmp_path), prompt[0].tolist())
    assert torch.allclose(after[0, -1], torch.tensor(elsewhere), atol=1e-5)


def _logits_without_steelyard(base, adapter, tokens):
    """Return the last logits from a process of its own that knows transformers and PEFT only."""
    code = (
        "import json, sys, torch\n"
        "from peft import PeftModel\n"
        "from transformers import AutoModelForCausalLM\n"
        "base, adapter, tokens = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])\n"
        "model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)\n"
        "with torch.no_grad():\n"
        "    logits = model(input_ids=torch.tensor([tokens])).logits[0, -1]\n"
        "assert 'steelyard' not in sys.modules\n"
        "print(json.dumps(logits.tolist()))"
    )
    words = [sys.executable, "-c", code, str(base), str(adapter), json.dumps(tokens)]
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def test_train_loss_equals_the_models_own(base, tmp_path):
    """Logits at few positions and no mask give the loss that the model computes from all of them, with a mask."""
    import torch

    from steelyard.tune.loop import collate

    steps: list[StepMetrics] = []
    _trained(base, tmp_path, epochs=1, batch_size=12, on_metrics=steps.append)
    model, tokenizer = load_causal_lm(base, dtype="float32", device="cpu")
    rows = tokenise(EXAMPLES, tokenizer, max_length_tokens=200).kept
    batch = collate(rows)
    lengths = torch.tensor([len(row.tokens) for row in rows])
    mask = (torch.arange(batch["input_ids"].shape[1]) < lengths[:, None]).long()
    with torch.no_grad():
        expected = model(**batch, attention_mask=mask).loss.item()
    assert steps[0].loss == pytest.approx(expected, rel=1e-5)  # a fresh adapter adds nothing


def test_train_gradients_through_our_attention_equal_the_fused_ones(base):
    """The attention that is fast in bfloat16 teaches the same, prompt longer than one of its blocks included."""
    import torch

    from steelyard.models.attention import register_attention
    from steelyard.tune.loop import adapted_model

    gradients = {}
    tokens = torch.arange(3, 203).repeat(2, 1)
    for attention in ("sdpa", register_attention()):
        model = adapted_model(base, RECIPE)
        model.get_base_model().set_attn_implementation(attention)
        for name, weight in model.named_parameters():
            if "lora_B" in name:  # zero at the start, which would hide the gradients of lora_A
                torch.nn.init.constant_(weight, 0.01)
        model(input_ids=tokens, labels=tokens).loss.backward()
        gradients[attention] = [weight.grad for weight in model.parameters() if weight.requires_grad]
    expected, seen = gradients.values()
    assert len(expected) == 8
    for one, other in zip(expected, seen, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_train_bfloat16_on_a_cpu_learns_as_float32_does(base, tmp_path):
    """The fast path ends with about the same loss."""
    losses = {}
    for dtype in ("float32", "bfloat16"):
        losses[dtype] = _trained(base, tmp_path / dtype, epochs=4, dtype=dtype).final_loss
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.03)


def test_train_accumulated_steps_equal_one_large_batch(base, tmp_path):
    """Accumulation weighs tokens as one large batch does, not batches."""
    losses: dict[str, list[float]] = {"large": [], "small": []}
    _trained(base, tmp_path / "l", epochs=1, batch_size=12, on_metrics=lambda step: losses["large"].append(step.loss))
    _trained(
        base,
        tmp_path / "s",
        epochs=1,
        batch_size=3,
        gradient_accumulation=4,
        on_metrics=lambda step: losses["small"].append(step.loss),
    )
    assert losses["small"] == pytest.approx(losses["large"], rel=1e-5)


def test_train_again_returns_without_work_and_tells_the_steps(base, tmp_path):
    """A finished training needs neither its base nor its time."""
    first: list[StepMetrics] = []
    second: list[StepMetrics] = []
    adapter = _trained(base, tmp_path, epochs=1, on_metrics=first.append)
    assert _trained(tmp_path / "gone", tmp_path, epochs=1, on_metrics=second.append) == adapter
    assert second == first


def test_train_twice_elsewhere_gives_the_same_digest(base, tmp_path):
    """Same examples, same recipe, same bits, wherever they are written; bfloat16 is another adapter."""
    digests = [_trained(base, tmp_path / name, epochs=1, dropout=0.1).digest for name in ("a", "b")]
    assert digests[0] == digests[1]
    assert _trained(base, tmp_path / "c", epochs=1, dropout=0.1, dtype="bfloat16").digest != digests[0]


def test_train_stdout_stays_clean(base, tmp_path, capfd):
    """Stdout belongs to --json."""
    _trained(base, tmp_path, epochs=1)
    seen = capfd.readouterr()
    assert seen.out == ""
    assert "Warning" not in seen.err


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"upper_layers": 3}, "upper_layers is 3.* has 2 layers"), ({"target_modules": ("query",)}, "target_modules")],
)
def test_train_recipe_unfit_for_the_model_raises(base, tmp_path, changes, message):
    """A recipe for another model names the setting."""
    with pytest.raises(ConfigError, match=rf"(?s){message}"):
        _trained(base, tmp_path, **changes)


def test_train_learning_rate_absurd_says_that_it_diverged(base, tmp_path):
    """A loss that is no number stops the training and names the setting."""
    with pytest.raises(ConfigError, match=r"(?s)diverged: the loss of step \d+ .*learning_rate"):
        _trained(base, tmp_path, epochs=6, learning_rate=2e37)


def test_train_output_cannot_be_written_says_where(base, tmp_path):
    """A folder that cannot be made is a fault outside, with a remedy."""
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(ServiceError, match=r"cannot write to .*file/adapters"):
        _trained(base, tmp_path / "file" / "adapters")
