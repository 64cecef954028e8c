"""What an evaluation keeps beside its scores: every answer, the prompt it was given to, the passages that were shown.

Belongs here: the record and its file, one an evaluation, so that reports and traces can be made when nothing was
generated. Not here: answering and scoring.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from steelyard.records import Answer, Hit, Message, Passage, Prompt
from steelyard.workspace import write_atomically


@dataclass(frozen=True, slots=True)
class KeptAnswers:
    """An arm's answers in the order of the cases, their prompts, and by id the passages that stood in them."""

    answers: tuple[Answer, ...]
    prompts: tuple[Prompt, ...]
    passages: Mapping[str, Passage]


def keep(answers: Sequence[Answer], prompts: Sequence[Prompt], hits: Mapping[str, Sequence[Hit]]) -> KeptAnswers:
    """Put answers, prompts (both in the order of the cases) and hits (by case id) together."""
    passages = {hit.passage.id: hit.passage for some in hits.values() for hit in some}
    return KeptAnswers(tuple(answers), tuple(prompts), passages)


def write_kept(path: Path, kept: KeptAnswers) -> None:
    """Write the file, whole or not at all; the turns that an arm's prompts share are written once.

    A prompt that shares none of them (a question asked as it stands) is written in full.
    """
    longest = max(kept.prompts, key=lambda prompt: prompt.shared, default=Prompt(()))
    shared = longest.messages[: longest.shared]
    own = [prompt.messages[len(shared) * _is_sharing(prompt, shared) :] for prompt in kept.prompts]
    plain = {
        "shared": [asdict(message) for message in shared],
        "own": [[asdict(message) for message in messages] for messages in own],
        "alone": [place for place, prompt in enumerate(kept.prompts) if not _is_sharing(prompt, shared)],
        "answers": [asdict(answer) for answer in kept.answers],
        "passages": [asdict(passage) for passage in kept.passages.values()],
    }
    write_atomically(path, json.dumps(plain, ensure_ascii=False))


def _is_sharing(prompt: Prompt, shared: Sequence[Message]) -> bool:
    return prompt.messages[: prompt.shared] == tuple(shared)


def read_kept(path: Path) -> KeptAnswers:
    """Return what `write_kept` wrote."""
    from pydantic import TypeAdapter

    plain: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    shared = plain["shared"]
    alone = frozenset(plain.get("alone", ()))
    prompts = [
        {"messages": own, "shared": 0} if place in alone else {"messages": [*shared, *own], "shared": len(shared)}
        for place, own in enumerate(plain["own"])
    ]
    passages = TypeAdapter(tuple[Passage, ...]).validate_python(plain["passages"])
    return KeptAnswers(
        answers=TypeAdapter(tuple[Answer, ...]).validate_python(plain["answers"]),
        prompts=TypeAdapter(tuple[Prompt, ...]).validate_python(prompts),
        passages={passage.id: passage for passage in passages},
    )
