"""The champion, kept open: a new one is taken without a restart, and questions that come together are asked together.

Belongs here: following the alias, and batching. Not here: HTTP (see `app`) and loading (see `loading`).
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple

from steelyard.errors import ServiceError, SteelyardError
from steelyard.serving.loading import Served

_LOOK_SECONDS = 2.0  # how old the answer to "who is champion?" may be
_QUESTIONS_PER_BATCH = 16  # what the model takes at once


class Reply(NamedTuple):
    """An answer as the version gives it, and that version's number."""

    record: Mapping[str, Any]
    version: str


@dataclass(frozen=True, slots=True)
class _Open:
    version: str
    served: Served


class Champion:
    """Answers as whichever version is champion.

    One thread asks the model, so a slow question delays others but never meets them there. While a new champion is
    being loaded the old one answers; one that cannot be loaded leaves the old one in place.
    """

    def __init__(
        self,
        *,
        current: Callable[[], str | None],
        load: Callable[[str], Served],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._current, self._load, self._now = current, load, now
        self._waiting: queue.Queue[tuple[str, Future[Reply]] | None] = queue.Queue()
        self._open: _Open | None = None
        self._looked = float("-inf")
        self._fault: str | None = None
        self._thread = threading.Thread(target=self._work, name="champion", daemon=True)
        self._thread.start()

    @property
    def version(self) -> str | None:
        """The version that answers now, None before the first question."""
        return None if self._open is None else self._open.version

    @property
    def fault(self) -> str | None:
        """Why the newest champion could not be opened, None when it could."""
        return self._fault

    def ask(self, question: str) -> Future[Reply]:
        """Return the answer to come; it raises `ServiceError` when there is no champion or it cannot be opened."""
        answer: Future[Reply] = Future()
        self._waiting.put((question, answer))
        return answer

    def close(self) -> None:
        """Answer what waits and stop."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch, is_last = [first], False
            while len(batch) < _QUESTIONS_PER_BATCH and not self._waiting.empty():
                item = self._waiting.get()
                if item is None:
                    is_last = True
                    break
                batch.append(item)
            self._answer(batch)
            if is_last:
                return

    def _answer(self, batch: list[tuple[str, Future[Reply]]]) -> None:
        try:
            opened = self._follow()
            records = opened.served([question for question, _ in batch])
        except SteelyardError as error:
            for _, answer in batch:
                answer.set_exception(error)
            return
        except Exception as error:  # a bug must not end the thread that answers everybody
            for _, answer in batch:
                answer.set_exception(ServiceError(f"the champion failed: {error!r}", remedy="see the server's log"))
            return
        for (_, answer), record in zip(batch, records, strict=True):
            answer.set_result(Reply(record, opened.version))

    def _follow(self) -> _Open:
        if self._open is not None and self._now() - self._looked < _LOOK_SECONDS:
            return self._open
        wanted = self._current()
        self._looked = self._now()
        if wanted is None:
            if self._open is not None:
                return self._open
            raise ServiceError("there is no champion yet", remedy="run `steelyard run`, and approve what it proposes")
        if self._open is None or self._open.version != wanted:
            try:
                self._open = _Open(wanted, self._load(wanted))
                self._fault = None
            except SteelyardError as error:
                self._fault = str(error.args[0])
                if self._open is None:
                    raise
        return self._open
