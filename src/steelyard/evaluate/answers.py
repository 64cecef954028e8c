"""Answers stored by identity, so that nothing is generated twice.

Belongs here: which prompts still need an answer, batches, and the store. Not here: how text is generated (see
`steelyard.generate`) and how it is scored.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from steelyard.fingerprint import digest, digest_lines
from steelyard.generate.protocol import Generator
from steelyard.progress import Progress
from steelyard.prompts import prompt_digest
from steelyard.records import Answer, Arm, Case, Completion, Decoding, Hit, Message, Prompt

_SCHEMA = """
create table if not exists completions (
    key text primary key, text text not null, prompt_tokens integer not null, completion_tokens integer not null,
    seconds real not null
) without rowid
"""


class AnswerStore:
    """Completions by key in one SQLite file; a batch is stored whole or not at all."""

    def __init__(self, path: Path) -> None:
        """Use the file at `path`, which is made when first written."""
        self._path = path

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self._path, timeout=30)) as connection:
            connection.execute(_SCHEMA)
            with connection:
                yield connection

    def find(self, keys: Sequence[str]) -> dict[str, Completion]:
        """Return the completions that are there."""
        found = {}
        with self._connection() as connection:
            for key in keys:
                row = connection.execute(
                    "select text, prompt_tokens, completion_tokens, seconds from completions where key = ?", (key,)
                ).fetchone()
                if row is not None:
                    found[key] = Completion(*row)
        return found

    def add(self, completions: Mapping[str, Completion]) -> None:
        """Store one batch in one transaction."""
        rows = [(key, c.text, c.prompt_tokens, c.completion_tokens, c.seconds) for key, c in completions.items()]
        with self._connection() as connection:
            connection.executemany("insert or replace into completions values (?, ?, ?, ?, ?)", rows)


@dataclass(frozen=True, slots=True)
class Completed:
    """Completions in the order of the prompts, and how much of it was generated now."""

    completions: tuple[Completion, ...]
    generated: int
    generated_tokens: int


def completion_key(generator_fingerprint: str, prompt: Prompt, decoding: Decoding) -> str:
    """Return the identity of a completion: model, prompt and decoding."""
    return digest([generator_fingerprint, prompt_digest(prompt), decoding])


def complete(
    prompts: Sequence[Prompt],
    *,
    generator: Generator,
    store: AnswerStore,
    decoding: Decoding,
    batch_size: int,
    task: str,
    progress: Progress,
) -> Completed:
    """Return a completion for every prompt, generating only those that the store lacks.

    What shares a batch changes how numbers are rounded, so a batch is the unit of work and of storing: batches are
    cut from the missing prompts in the order of their length, and a run that was killed leaves whole batches behind;
    the next run cuts the rest at the same places. A batch holds prompts with the same shared messages only.
    """
    keys = [completion_key(generator.fingerprint, prompt, decoding) for prompt in prompts]
    by_key = dict(zip(keys, prompts, strict=True))
    found = store.find(list(by_key))
    missing = sorted(by_key.keys() - found.keys(), key=lambda key: (_length(by_key[key]), key))
    tokens = done = 0
    for batch in _batches(missing, by_key, batch_size):
        progress.update(task, done, len(missing), "answers")
        done += len(batch)
        completions = generator.generate([by_key[key] for key in batch], decoding)
        generated = dict(zip(batch, completions, strict=True))
        store.add(generated)
        found |= generated
        tokens += sum(completion.completion_tokens for completion in completions)
    if missing:
        progress.update(task, len(missing), len(missing), "answers")
    return Completed(tuple(found[key] for key in keys), len(missing), tokens)


def _batches(keys: Sequence[str], prompts: Mapping[str, Prompt], size: int) -> Iterator[list[str]]:
    groups: dict[tuple[Message, ...], list[str]] = {}
    for key in keys:
        prompt = prompts[key]
        groups.setdefault(prompt.messages[: prompt.shared], []).append(key)
    for group in groups.values():
        for start in range(0, len(group), size):
            yield group[start : start + size]


def complete_cases(
    cases: Sequence[Case],
    prompts: Sequence[Prompt],
    *,
    generator: Generator,
    store: AnswerStore,
    decoding: Decoding,
    batch_size: int,
    task: str,
    progress: Progress,
) -> Completed:
    """Return the completions of the cases' prompts, in their order.

    Only answers to the task are held to its form: a retention case asks for none.
    """
    is_task = [case.kind != "retention" for case in cases]
    held, free = (
        complete(
            [prompt for prompt, is_mine in zip(prompts, is_task, strict=True) if is_mine == is_held],
            generator=generator,
            store=store,
            decoding=decoding if is_held else replace(decoding, constraint=None),
            batch_size=batch_size,
            task=task,
            progress=progress,
        )
        for is_held in (True, False)
    )
    of_task, of_retention = iter(held.completions), iter(free.completions)
    return Completed(
        tuple(next(of_task if is_held else of_retention) for is_held in is_task),
        held.generated + free.generated,
        held.generated_tokens + free.generated_tokens,
    )


def answer_of(arm: Arm, case_id: str, completion: Completion, *, prompt: Prompt, hits: Sequence[Hit]) -> Answer:
    """Return a completion as an arm's answer to a case, with the passages that stood in its prompt."""
    return Answer(
        arm=arm,
        case_id=case_id,
        text=completion.text,
        passage_ids=tuple(hit.passage.id for hit in hits),
        document_ids=tuple(dict.fromkeys(hit.passage.document_id for hit in hits)),
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
        prompt_digest=prompt_digest(prompt),
    )


def answers_digest(answers: Sequence[Answer]) -> str:
    """Return the digest of what was answered: arm, case and text, in the order of arm and case."""
    ordered = sorted(answers, key=lambda answer: (answer.arm, answer.case_id))
    return digest_lines(text for answer in ordered for text in (answer.arm, answer.case_id, answer.text))


def _length(prompt: Prompt) -> int:
    return sum(len(message.content) for message in prompt.messages)
