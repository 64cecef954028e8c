"""A scripted generator: answers without a model, for tests, demonstrations and projects that try their wiring.

Belongs here: the stand-in that behaves like a generator in every other respect. Not here: models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from steelyard.records import Completion, Decoding, Prompt

Script = Callable[[Prompt], str]


class CannedGenerator:
    """Answers with what `script` returns for a prompt; a word counts as a token.

    `name` stands for the script in the fingerprint: two scripts that answer differently need two names.
    """

    def __init__(self, script: Script, *, name: str) -> None:
        self._script = script
        self._name = name

    @property
    def fingerprint(self) -> str:
        """The script's name, marked as a stand-in's."""
        return f"canned:{self._name}"

    def count_tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        """Return the number of words of each prompt."""
        return [sum(len(message.content.split()) for message in prompt.messages) for prompt in prompts]

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[Completion]:
        """Return the script's answers, cut to `max_new_tokens` words."""
        completions = []
        for prompt, prompt_tokens in zip(prompts, self.count_tokens(prompts), strict=True):
            answer = self._script(prompt)
            words = answer.split()
            if len(words) > decoding.max_new_tokens:
                words = words[: decoding.max_new_tokens]
                answer = " ".join(words)
            completions.append(
                Completion(text=answer, prompt_tokens=prompt_tokens, completion_tokens=len(words), seconds=0.0)
            )
        return completions


def echo_generator() -> CannedGenerator:
    """Return a generator that answers with the last message's text."""
    return CannedGenerator(lambda prompt: prompt.messages[-1].content, name="echo")
