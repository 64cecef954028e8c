"""Any server that speaks OpenAI's chat completions: one request, retried where the failure may pass.

Belongs here: HTTP, retries, and what a failure means. Not here: what is asked and how replies are read (see `pairs`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from steelyard.errors import ServiceError
from steelyard.records import Prompt

_Read = TypeVar("_Read")

_PASSING = frozenset({408, 409, 425, 429})  # and everything from 500 on
_SERVER_ERROR, _CLIENT_ERROR = 500, 400
_SHOWN_CHARACTERS = 200


class NotAnswered(Exception):  # noqa: N818 - an outcome that counts as "not scored", not a fault of the program
    """Raised when a request failed in a way that may pass, or the reply was not what was asked for."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class ChatEndpoint:
    """One model at an OpenAI-compatible address (`base_url` ends before /chat/completions), at temperature 0."""

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        api_key: str | None,
        timeout_seconds: float,
        attempts: int,
        longest_wait_seconds: float = 30.0,
    ) -> None:
        self._address = f"{base_url.rstrip('/')}/chat/completions"
        self._model = model
        self._key = api_key
        self._attempts = attempts
        self._longest_wait_seconds = longest_wait_seconds
        self._backoff = wait_exponential_jitter(initial=min(0.5, longest_wait_seconds), max=longest_wait_seconds)
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._client = httpx.Client(headers=headers, timeout=timeout_seconds)

    @property
    def model(self) -> str:
        """The model's name, which is what identifies its replies."""
        return self._model

    def ask(self, prompt: Prompt, read: Callable[[str], _Read]) -> _Read:
        """Return what `read` makes of the reply; safe to call from several threads.

        Timeouts, lost connections, 429 and 5xx are tried again, and so is a reply that `read` refuses with
        `ValueError`. Raises `NotAnswered` when all attempts failed, and `ServiceError` when the server refuses the
        request as such (a wrong key, an unknown model): that is no score of any arm.
        """
        attempts = Retrying(
            stop=stop_after_attempt(self._attempts),
            wait=self._wait,
            retry=retry_if_exception_type(NotAnswered),
            reraise=True,
        )
        answer: _Read = attempts(self._attempt, prompt, read)
        return answer

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _attempt(self, prompt: Prompt, read: Callable[[str], _Read]) -> _Read:
        messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
        try:
            response = self._client.post(
                self._address, json={"model": self._model, "messages": messages, "temperature": 0}
            )
        except httpx.TransportError as error:
            raise NotAnswered(f"{type(error).__name__} at {self._address}") from error
        self._check_status(response)
        try:
            return read(_content(response.json()))
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise NotAnswered(f"the reply is not what was asked for: {error}") from error

    def _check_status(self, response: httpx.Response) -> None:
        status = response.status_code
        if status in _PASSING or status >= _SERVER_ERROR:
            raise NotAnswered(f"status {status}", retry_after_seconds=_retry_after(response))
        if status >= _CLIENT_ERROR:
            raise ServiceError(
                f"the judge at {self._address} refuses {self._model!r} with status {status}: {self._shown(response)}",
                remedy="check evaluation.judge: base_url, model and the variable that api_key names",
            )

    def _shown(self, response: httpx.Response) -> str:
        text = response.text if self._key is None else response.text.replace(self._key, "***")
        return " ".join(text.split())[:_SHOWN_CHARACTERS] or "(no message)"

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        asked = error.retry_after_seconds if isinstance(error, NotAnswered) else None
        return self._backoff(state) if asked is None else min(asked, self._longest_wait_seconds)


def _content(body: Any) -> str:
    content = body["choices"][0]["message"]["content"]
    if not isinstance(content, str):
        raise TypeError("the message has no text")
    return content


def _retry_after(response: httpx.Response) -> float | None:
    """Return the seconds that a server asks to wait; its other form, a date, is left to the usual backoff."""
    try:
        return max(0.0, float(response.headers["Retry-After"]))
    except (KeyError, ValueError):
        return None
