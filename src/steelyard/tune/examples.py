"""Training examples as tokens: what the model reads, and what it is to say.

Belongs here: tokenising with the model's own chat template, lengths, the order in which examples are trained. Not
here: the texts (see `steelyard.training_set`) and tensors.
"""

from __future__ import annotations

import math
import random
import statistics
from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

from steelyard.errors import DataError
from steelyard.generate.rendering import render
from steelyard.progress import Progress, Silent
from steelyard.records import Prompt, TrainingExample

# More than one in twenty is no longer a stray document: the length limit does not suit this project's prompts.
_LARGEST_TOO_LONG_SHARE = 0.05
# Batches of similar length are formed within so many batches of random examples: little padding, still a random mix.
_BATCHES_SORTED_TOGETHER = 50
_NAMED_IN_MESSAGES = 5
_EXAMPLES_IN_A_REPORT = 100
_PROBE = "steelyard"  # any word that a chat template leaves as it is


class TokenisedExample(NamedTuple):
    """Tokens of a prompt followed by its completion and the end of the turn; the loss is taken on the latter two.

    An array: four bytes a token, where a tuple of numbers takes ten times as much.
    """

    tokens: array[int]
    prompt_tokens: int


class Lengths(NamedTuple):
    """How long examples are, in tokens with completion."""

    total: int
    median: int
    longest: int
    completions: int


class TokenisedExamples(NamedTuple):
    """What is trained on, and the indexes of the examples that were left out because they are too long."""

    kept: tuple[TokenisedExample, ...]
    too_long: tuple[int, ...]
    lengths: Lengths


def tokenise(
    examples: Sequence[TrainingExample], tokenizer: Any, *, max_length_tokens: int, progress: Progress | None = None
) -> TokenisedExamples:
    """Turn examples into tokens, the prompt exactly as generation renders it.

    An example is never cut: the model would learn answers to half a question, or to stop in mid-sentence. Too long
    ones are left out and named.

    Raises `DataError` when there are no examples, a completion is empty, or more than a twentieth is too long.
    """
    if not examples:
        raise DataError("no training examples", remedy="add training pairs, or set decide.tune to never")
    ending = end_of_turn(tokenizer)
    progress = progress or Silent()
    rows = []
    for index, example in enumerate(examples):
        rows.append(_tokenised(index, example, tokenizer, ending))
        if len(rows) % _EXAMPLES_IN_A_REPORT == 0 or len(rows) == len(examples):
            progress.update("preparing examples", len(rows), len(examples), "examples")
    too_long = tuple(index for index, row in enumerate(rows) if len(row.tokens) > max_length_tokens)
    if len(too_long) > _LARGEST_TOO_LONG_SHARE * len(rows):
        raise _too_many_too_long(rows, too_long, max_length_tokens)
    left_out = frozenset(too_long)
    kept = tuple(row for index, row in enumerate(rows) if index not in left_out)
    return TokenisedExamples(kept, too_long, _lengths(kept))


def end_of_turn(tokenizer: Any) -> tuple[int, ...]:
    """Return the tokens with which the assistant's turn ends, up to and with the one that stops generation.

    They are what the chat template writes behind an assistant's message; without a template, or when it writes no
    special token there, the tokenizer's end of text.
    """
    end_of_text = (int(tokenizer.eos_token_id),)
    if tokenizer.chat_template is None:
        return end_of_text
    chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _PROBE}]
    text: str = tokenizer.apply_chat_template(chat, tokenize=False)
    tail: list[int] = tokenizer(text.rpartition(_PROBE)[2], add_special_tokens=False)["input_ids"]
    special = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    stops = [place for place, token in enumerate(tail) if token in special]
    return tuple(tail[: stops[0] + 1]) if stops else end_of_text


def training_order(lengths: Sequence[int], *, batch_size: int, epochs: float, seed: int) -> list[int]:
    """Return the indexes of all examples of all epochs in the order they are trained.

    Each epoch is shuffled, sorted by length within groups of batches and cut into batches, which are shuffled again.
    All is drawn beforehand, so that resuming is a matter of position.
    """
    order: list[int] = []
    for epoch in range(math.ceil(epochs)):
        chance = random.Random(f"{seed}/{epoch}")  # noqa: S311 - a seeded order, not a secret
        order += _epoch_order(lengths, batch_size, chance)
    return order[: math.ceil(epochs * len(lengths))]


def _epoch_order(lengths: Sequence[int], batch_size: int, chance: random.Random) -> list[int]:
    indexes = list(range(len(lengths)))
    chance.shuffle(indexes)
    group = batch_size * _BATCHES_SORTED_TOGETHER
    ordered: list[int] = []
    for start in range(0, len(indexes), group):
        ordered += sorted(indexes[start : start + group], key=lambda index: lengths[index])
    whole = len(ordered) - len(ordered) % batch_size
    batches = [ordered[start : start + batch_size] for start in range(0, whole, batch_size)]
    chance.shuffle(batches)
    return [index for batch in batches for index in batch] + ordered[whole:]


def _tokenised(index: int, example: TrainingExample, tokenizer: Any, ending: tuple[int, ...]) -> TokenisedExample:
    if not example.completion.strip():
        raise DataError(
            f"training example {index} has an empty completion",
            remedy="give its pair an output, or remove the pair",
        )
    prompt = render(tokenizer, Prompt(messages=example.messages)).tokens
    completion = tokenizer(example.completion, add_special_tokens=False)["input_ids"]
    return TokenisedExample(array("i", (*prompt, *completion, *ending)), len(prompt))


def _lengths(rows: Sequence[TokenisedExample]) -> Lengths:
    counts = [len(row.tokens) for row in rows]
    return Lengths(
        total=sum(counts),
        median=int(statistics.median(counts)),
        longest=max(counts),
        completions=sum(len(row.tokens) - row.prompt_tokens for row in rows),
    )


def _too_many_too_long(rows: Sequence[TokenisedExample], too_long: Sequence[int], max_length_tokens: int) -> DataError:
    named = ", ".join(f"example {index}: {len(rows[index].tokens)}" for index in too_long[:_NAMED_IN_MESSAGES])
    more = "" if len(too_long) <= _NAMED_IN_MESSAGES else ", …"
    return DataError(
        f"{len(too_long)} of {len(rows)} training examples are longer than {max_length_tokens} tokens "
        f"({named}{more}); at most {_LARGEST_TOO_LONG_SHARE:.0%} may be",
        remedy=f"raise tune.max_length_tokens to {max(len(row.tokens) for row in rows)}, or retrieve fewer or "
        "smaller passages",
    )
