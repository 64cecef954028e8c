"""A scripted judge that speaks the protocol on loopback: for tests, and for projects that try their wiring.

Belongs here: the stand-in. Not here: judging anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any

_LONGEST_HANG_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server does with one request: answer `text`, a bare `status`, or nothing until it is closed."""

    text: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    is_hanging: bool = False


Script = Callable[[Mapping[str, Any]], Reply]
"""From the request's body ("model", "messages", "temperature") to the reply."""


class StubJudge:
    """A server at `base_url`, open while the `with` block runs; `requests` holds bodies in order of arrival."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._lock = Lock()
        self._closing = Event()
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def base_url(self) -> str:
        """Where the server listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> StubJudge:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, body: dict[str, Any], key: str | None) -> Reply:
        """Note a request and return what the script says to it."""
        with self._lock:
            self.requests.append(body)
            self.keys.add(key)
            reply = self._script(body)
        if reply.is_hanging:
            self._closing.wait(_LONGEST_HANG_SECONDS)
        return reply


def _handler(judge: StubJudge) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not self.path.endswith("/chat/completions"):
                self._send(404, {"error": {"message": f"no {self.path} here"}}, {})
                return
            reply = judge.answer(body, self.headers.get("Authorization"))
            if reply.status != 200:  # noqa: PLR2004 - HTTP's own number
                self._send(reply.status, {"error": {"message": reply.text}}, reply.headers)
                return
            message = {"role": "assistant", "content": reply.text}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self._send(200, {"object": "chat.completion", "model": body["model"], "choices": [choice]}, reply.headers)

        def _send(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str]) -> None:
            data = json.dumps(body).encode()
            try:
                self.send_response(status)
                for name, value in {**headers, "Content-Type": "application/json"}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except ConnectionError:  # a client that timed out has gone
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: stderr belongs to the program."""

    return Handler
