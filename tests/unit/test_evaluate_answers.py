"""Answers by identity: what shares a batch, and what is not asked twice."""

from __future__ import annotations

from steelyard.evaluate.answers import AnswerStore, complete
from steelyard.generate.canned import CannedGenerator
from steelyard.progress import Silent
from steelyard.prompts import plain_prompt, render_prompt
from steelyard.records import Decoding


class BatchedGenerator(CannedGenerator):
    """Answers with the question, and keeps what came in one batch."""

    def __init__(self):
        super().__init__(lambda prompt: prompt.messages[-1].content, name="batched")
        self.batches = []

    def generate(self, prompts, decoding):
        """Answer one batch and remember it."""
        self.batches.append([prompt.messages[-1].content for prompt in prompts])
        return super().generate(prompts, decoding)


def answer(prompts, generator, folder):
    """Complete prompts in batches of two."""
    return complete(
        prompts,
        generator=generator,
        store=AnswerStore(folder / "answers.sqlite"),
        decoding=Decoding(8),
        batch_size=2,
        task="answer",
        progress=Silent(),
    )


def test_complete_batches_prompts_with_the_same_shared_messages(tmp_path):
    """Plain questions between those of a task do not change what shares a batch: the numbers stay comparable."""
    task = [render_prompt(word * 9, instructions="Answer.") for word in "abc"]
    plain = [plain_prompt(word) for word in ("x", "yyyy")]
    alone, mixed = BatchedGenerator(), BatchedGenerator()
    answer(task, alone, tmp_path / "alone")
    done = answer([task[0], *plain, *task[1:]], mixed, tmp_path / "mixed")
    assert [batch for batch in mixed.batches if set(batch).isdisjoint({"x", "yyyy"})] == alone.batches
    assert [completion.text for completion in done.completions] == ["a" * 9, "x", "yyyy", "b" * 9, "c" * 9]
    assert done.generated == 5


def test_complete_asks_nothing_twice(tmp_path):
    """Stored answers are found by prompt; only the new one is generated."""
    generator = BatchedGenerator()
    answer([plain_prompt("x")], generator, tmp_path)
    done = answer([plain_prompt("x"), plain_prompt("y"), plain_prompt("y")], generator, tmp_path)
    assert (done.generated, generator.batches) == (1, [["x"], ["y"]])
