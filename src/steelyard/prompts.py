"""How a question becomes a prompt, the same way in training, evaluation and serving.

Belongs here: messages from instructions, worked examples, passages and a question. Not here: the chat template,
which is the model's own (see `steelyard.generate`), and which passages are shown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from steelyard.fingerprint import digest
from steelyard.records import Hit, Message, Prompt

CODE_VERSION = 1  # raise when a prompt comes out differently for the same arguments

_CLOSING_FENCE = re.compile(r"</(?=\s*document)", re.IGNORECASE)


def render_prompt(
    question: str, *, instructions: str, examples: Sequence[Message] = (), hits: Sequence[Hit] | None = None
) -> Prompt:
    """Return the chat that asks `question`; `hits` None means an arm that retrieves nothing.

    Instructions and examples are shared by all prompts of an arm, so they come first.
    """
    shared = (Message("system", instructions), *examples)
    return Prompt(messages=(*shared, Message("user", user_message(question, hits))), shared=len(shared))


def plain_prompt(question: str) -> Prompt:
    """Return the chat that asks `question` and says nothing else: the model's own default stands above it."""
    return Prompt(messages=(Message("user", question),))


def user_message(question: str, hits: Sequence[Hit] | None) -> str:
    """Return the user's turn: passages, each fenced and named by its document, then the question.

    The best passage comes last, next to the question, where small models read best. A passage is data: what looks
    like the end of its fence is broken up.
    """
    if hits is None:
        return question
    fenced = [
        f'<document id="{hit.passage.document_id}">\n{_CLOSING_FENCE.sub("< /", hit.passage.text)}\n</document>'
        for hit in reversed(hits)
    ]
    return "\n".join([*(fenced or ["(no document was found)"]), f"Question: {question}"])


def prompt_digest(prompt: Prompt) -> str:
    """Return the identity of a prompt: roles and texts in their order."""
    return digest([[message.role, message.content] for message in prompt.messages])
