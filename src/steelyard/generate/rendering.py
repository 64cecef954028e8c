"""Chats turned into the tokens that a model reads.

Belongs here: chat templates, the shared beginning, stop tokens. Not here: decoding, and what the chats say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from steelyard.records import Message, Prompt

# How the chat formats in use end a turn; models do not always name theirs as the end of text.
_TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>")


class RenderedPrompt(NamedTuple):
    """A prompt's tokens; the first `shared` of them are the same for all prompts with the same shared messages."""

    tokens: tuple[int, ...]
    shared: int


def render(tokenizer: Any, prompt: Prompt) -> RenderedPrompt:
    """Return the prompt's tokens, ready to be continued by the assistant.

    Nothing is shared when the shared messages' tokens are not how the prompt's tokens begin, as happens when a chat
    template or a tokenizer looks across messages.
    """
    tokens = _tokens(tokenizer, _text(tokenizer, prompt.messages, is_open=True))
    if prompt.shared == 0:
        return RenderedPrompt(tokens, 0)
    beginning = _tokens(tokenizer, _text(tokenizer, prompt.messages[: prompt.shared], is_open=False))
    is_prefix = len(beginning) < len(tokens) and tokens[: len(beginning)] == beginning
    return RenderedPrompt(tokens, len(beginning) if is_prefix else 0)


def stop_tokens(tokenizer: Any, model: Any) -> frozenset[int]:
    """Return the tokens that end a completion: the model's, the tokenizer's and the chat formats'."""
    configured = model.generation_config.eos_token_id
    found = set(configured if isinstance(configured, list) else [configured])
    found |= {tokenizer.eos_token_id}
    vocabulary = tokenizer.get_vocab()
    found |= {vocabulary.get(end) for end in _TURN_ENDS}
    return frozenset(token for token in found if token is not None)


def _text(tokenizer: Any, messages: Sequence[Message], *, is_open: bool) -> str:
    if tokenizer.chat_template is None:
        # a plain form that any text model can continue
        turns = "".join(f"{message.role.capitalize()}: {message.content}\n\n" for message in messages)
        return turns + ("Assistant:" if is_open else "")
    chat = [{"role": message.role, "content": message.content} for message in messages]
    text: str = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=is_open)
    return text


def _tokens(tokenizer: Any, text: str) -> tuple[int, ...]:
    # a chat template writes the special tokens itself
    return tuple(tokenizer(text, add_special_tokens=tokenizer.chat_template is None)["input_ids"])
