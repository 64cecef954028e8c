"""Questions of a JSONL file answered into another: what is answered already is not asked again.

Belongs here: reading, asking in batches, appending. Not here: the model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from steelyard.errors import DataError
from steelyard.progress import Progress
from steelyard.promote.responder import check_questions
from steelyard.serving.loading import Served

_QUESTIONS_PER_BATCH = 64


class Scored(NamedTuple):
    """How many questions were answered now, and how many had been before."""

    answered: int
    earlier: int


def answer_file(questions: Path, answers: Path, served: Served, *, version: str, progress: Progress) -> Scored:
    """Answer every line of `questions` ({"question": ..., and whatever else is to be kept}) in its order.

    Each line of `answers` holds the line of its question with answer, citations, arm, snapshot and model_version. A
    repeated call goes on after the last whole line. Raises `DataError` for a line that cannot be asked, before
    anything is asked.
    """
    rows = list(_rows(questions))
    earlier = _whole_lines(answers, len(rows))
    with answers.open("a", encoding="utf-8") as file:
        for start in range(earlier, len(rows), _QUESTIONS_PER_BATCH):
            some = rows[start : start + _QUESTIONS_PER_BATCH]
            replies = served([row["question"] for row in some])
            for row, reply in zip(some, replies, strict=True):
                file.write(json.dumps({**row, **reply, "model_version": version}, ensure_ascii=False) + "\n")
            file.flush()
            progress.update("answer", start + len(some), len(rows), "questions")
    return Scored(len(rows) - earlier, earlier)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}", remedy="name a JSONL file in UTF-8") from None
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            check_questions([row["question"]])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}:{number}: {error!r}", remedy='write {"question": "..."} on each line') from None
        except DataError as error:
            raise DataError(f"{path}:{number}: {error.args[0]}", remedy=error.remedy) from None
        yield row


def _whole_lines(path: Path, most: int) -> int:
    """Return how many whole lines a file of answers has; half a line that a killed run left is taken away."""
    if not path.exists():
        return 0
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    count = whole.count(b"\n")
    if count > most:
        raise DataError(f"{path} holds {count} answers to {most} questions", remedy="name another file for the answers")
    if len(whole) != len(content):
        path.write_bytes(whole)
    return count
