"""How a promoted arm answers: search, prompt, generate, cite.

Belongs here: the order of the steps and what a reply holds. Not here: opening models and stores (the parts come
as arguments; see `steelyard.serving`) and MLflow's ways of passing questions in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from steelyard.errors import DataError
from steelyard.records import Arm, Completion, Hit, Prompt

MAX_QUESTION_CHARACTERS = 32_000  # far beyond any question; keeps one request from filling the memory


@dataclass(frozen=True, slots=True)
class Citation:
    """A passage that an answer names as its source."""

    id: str
    title: str
    uri: str
    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with its sources; `snapshot` is None and `retrieved` empty where the arm does not retrieve."""

    answer: str
    citations: tuple[Citation, ...]
    arm: Arm
    snapshot: int | None
    retrieved: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """Return the reply as JSON-ready values."""
        record = asdict(self)
        return {**record, "citations": list(record["citations"]), "retrieved": list(record["retrieved"])}


class Retrieval(NamedTuple):
    """What was found for a batch of questions, all in one snapshot."""

    snapshot: int
    hits: Sequence[Sequence[Hit]]


@dataclass(frozen=True, slots=True)
class Responder:
    """Answers questions with the parts of one bundle.

    `search` is None where the arm does not retrieve; `render` then gets None for the hits. Calls from several
    threads are answered one after the other: a model in memory is one device.
    """

    arm: Arm
    generate: Callable[[Sequence[Prompt]], Sequence[Completion]]
    render: Callable[[str, Sequence[Hit] | None], Prompt]
    cite: Callable[[str, Sequence[Hit]], Sequence[Hit]]
    search: Callable[[Sequence[str]], Retrieval] | None = None
    _turn: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def answer(self, questions: Sequence[str]) -> list[Reply]:
        """Answer questions in their order.

        Raises `DataError` when there is no question, or one is not a text, is blank or too long.
        """
        checked = check_questions(questions)
        with self._turn:
            found = None if self.search is None else self.search(checked)
            hits = [None] * len(checked) if found is None else found.hits
            prompts = [self.render(question, some) for question, some in zip(checked, hits, strict=True)]
            completions = self.generate(prompts)
        snapshot = None if found is None else found.snapshot
        return [
            self._reply(completion.text, some or (), snapshot)
            for completion, some in zip(completions, hits, strict=True)
        ]

    def _reply(self, text: str, hits: Sequence[Hit], snapshot: int | None) -> Reply:
        cited = (hit.passage for hit in self.cite(text, hits))
        return Reply(
            answer=text,
            citations=tuple(
                Citation(id=passage.id, title=passage.title, uri=passage.uri, text=passage.text) for passage in cited
            ),
            arm=self.arm,
            snapshot=snapshot,
            retrieved=tuple(hit.passage.id for hit in hits),
        )


def check_questions(questions: object) -> list[str]:
    """Return the questions as they are, or raise `DataError` naming the first that cannot be asked."""
    remedy = 'pass a list of texts, for example ["What is the latest release of X?"]'
    if questions is None or isinstance(questions, (str, bytes)) or not isinstance(questions, Sequence):
        raise DataError(f"questions: expected a list of texts, found {type(questions).__name__}", remedy=remedy)
    if not questions:
        raise DataError("questions: the list is empty, expected at least one question", remedy=remedy)
    return [_check_question(question, number=number) for number, question in enumerate(questions, start=1)]


def _check_question(question: object, *, number: int) -> str:
    if not isinstance(question, str):
        raise DataError(
            f"question {number}: expected a text, found {type(question).__name__}",
            remedy="remove it or write it as a text",
        )
    if not question.strip():
        raise DataError(f"question {number}: the text is blank", remedy="remove it or ask something")
    if len(question) > MAX_QUESTION_CHARACTERS:
        raise DataError(
            f"question {number}: {len(question):,} characters, expected at most {MAX_QUESTION_CHARACTERS:,}",
            remedy="ask a shorter question; documents belong in the index",
        )
    return question
