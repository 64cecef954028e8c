"""The assistant over HTTP: an OpenAI-compatible chat endpoint, its health, and the receiver of MLflow's webhook.

Belongs here: requests and replies. Not here: answering (see `champion`) and what a reviewer's answer starts.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from steelyard.errors import DataError, SteelyardError
from steelyard.promote.responder import check_questions
from steelyard.review.webhook import Answered, Deliveries, ForgedError, answered, check_delivery
from steelyard.serving.champion import Champion, Reply

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

_MAX_BODY_BYTES = 1_000_000
_UNAVAILABLE = 503


def make_app(
    champion: Champion, *, model: str, secret: str | None = None, on_answer: Callable[[Answered], None] | None = None
) -> Starlette:
    """Return the app; without `secret` and `on_answer` it receives no webhooks.

    `/v1/chat/completions` takes the last user message as the question: every question stands alone, as it was
    evaluated. Its citations come beside the answer, as `citations`.
    """
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse, StreamingResponse
    from starlette.routing import Route

    deliveries = Deliveries()

    async def refuse(request: Request, error: Exception) -> Response:
        status = 401 if isinstance(error, ForgedError) else 400 if isinstance(error, DataError) else _UNAVAILABLE
        kind = "service_unavailable" if status == _UNAVAILABLE else "invalid_request_error"
        return JSONResponse({"error": {"message": str(error), "type": kind}}, status)

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok", "model": model, "version": champion.version, "fault": champion.fault})

    async def models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": model, "object": "model", "owned_by": "steelyard"}]})

    async def complete(request: Request) -> Response:
        wanted = _json(await _body(request))
        (question,) = check_questions([_question(wanted)])
        reply = await asyncio.wrap_future(champion.ask(question))
        if wanted.get("stream"):
            return StreamingResponse(_chunks(reply, model), media_type="text/event-stream")
        return JSONResponse(_completion(reply, model))

    async def receive(request: Request) -> Response:
        if secret is None or on_answer is None:
            raise DataError("no webhook is expected here", remedy="start the server with `steelyard up`")
        body = await _body(request)
        delivery = check_delivery(dict(request.headers), body, secret=secret, now=time.time())
        answer = answered(delivery, body)
        if answer is None or answer.model != model or not deliveries.is_new(delivery):
            return JSONResponse({"started": False})
        await asyncio.to_thread(on_answer, answer)
        return JSONResponse({"started": True})

    return Starlette(
        routes=[
            Route("/health", health),
            Route("/v1/models", models),
            Route("/v1/chat/completions", complete, methods=["POST"]),
            Route("/webhooks/mlflow", receive, methods=["POST"]),
        ],
        exception_handlers={SteelyardError: refuse},
    )


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MAX_BODY_BYTES:
            raise DataError(f"the request has more than {_MAX_BODY_BYTES:,} bytes", remedy="send less")
    return bytes(body)


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError as error:
        raise DataError(f"the request is not JSON: {error}", remedy='send {"messages": [...]}') from None
    if not isinstance(value, dict):
        raise DataError("the request is no JSON object", remedy='send {"messages": [...]}')
    return value


def _question(wanted: dict[str, Any]) -> Any:
    remedy = 'send {"messages": [{"role": "user", "content": "..."}]}'
    messages = wanted.get("messages")
    if not isinstance(messages, list):
        raise DataError("messages: expected a list", remedy=remedy)
    asked = [one for one in messages if isinstance(one, dict) and one.get("role") == "user"]
    if not asked:
        raise DataError("messages: there is none of role user", remedy=remedy)
    content = asked[-1].get("content")
    if isinstance(content, list):  # parts, as newer clients send them
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "\n".join(text for text in texts if isinstance(text, str))
    return content


def _completion(reply: Reply, model: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": reply.record["answer"]},
                "finish_reason": "stop",
            }
        ],
        **_ours(reply),
    }


def _ours(reply: Reply) -> dict[str, Any]:
    return {
        "citations": list(reply.record["citations"]),
        "arm": reply.record["arm"],
        "snapshot": reply.record["snapshot"],
        "model_version": reply.version,
    }


async def _chunks(reply: Reply, model: str) -> AsyncIterator[str]:
    """Yield the answer as a stream of one piece: a client that asks for a stream gets the form it expects."""
    whole = _completion(reply, model)
    named = {name: whole[name] for name in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    delta = whole["choices"][0]["message"]
    for choice in ({"delta": delta, "finish_reason": None}, {"delta": {}, "finish_reason": "stop"}):
        last = _ours(reply) if choice["finish_reason"] else {}
        yield f"data: {json.dumps({**named, 'choices': [{'index': 0, **choice}], **last})}\n\n"
    yield "data: [DONE]\n\n"
