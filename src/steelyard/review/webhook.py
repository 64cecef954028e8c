"""A delivery of MLflow's webhook: whether it is genuine, fresh and new, and which version it is about.

Belongs here: checking one delivery. Not here: receiving it (see `steelyard.serving.app`) and what follows.

The signature is MLflow's (`mlflow.webhooks.delivery`, which ships the signing side only): "v1," and the base64 of an
HMAC-SHA256 over "id.timestamp.body".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from steelyard.errors import DataError

ID_HEADER = "x-mlflow-delivery-id"
TIME_HEADER = "x-mlflow-timestamp"
SIGNATURE_HEADER = "x-mlflow-signature"
OLDEST_SECONDS = 300.0  # MLflow retries a delivery for about two minutes
_ANSWERS = ("approved", "rejected")
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Answered:
    """A reviewer's answer that a delivery tells of."""

    delivery: str
    model: str
    version: str
    review: str


class ForgedError(DataError):
    """Raised when a delivery is not signed with our secret, or is too old."""


@dataclass(slots=True)
class Deliveries:
    """The ids of recent deliveries: each is acted on once, also when it is sent again."""

    _seen: OrderedDict[str, None] = field(default_factory=OrderedDict)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def is_new(self, delivery: str) -> bool:
        """Remember an id, and tell whether it was unknown."""
        with self._turn:
            if delivery in self._seen:
                return False
            self._seen[delivery] = None
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
            return True


def check_delivery(headers: Mapping[str, str], body: bytes, *, secret: str, now: float) -> str:
    """Return a delivery's id; `headers` have lower-case names, `now` is in seconds since 1970.

    Raises `ForgedError`.
    """
    delivery, sent, signature = (headers.get(name, "") for name in (ID_HEADER, TIME_HEADER, SIGNATURE_HEADER))
    signed = f"{delivery}.{sent}.".encode() + body
    wanted = base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest()).decode()
    if not delivery or not hmac.compare_digest(signature.encode(), f"v1,{wanted}".encode()):
        raise ForgedError("the delivery is not signed with the webhook's secret", remedy="use the secret of `up`")
    if not sent.isdecimal() or abs(now - int(sent)) > OLDEST_SECONDS:
        raise ForgedError("the delivery is too old", remedy="see that both clocks are right")
    return delivery


def answered(delivery: str, body: bytes) -> Answered | None:
    """Return the answer that a genuine delivery tells of, or None: most events are about something else.

    Raises `DataError` when the body is not what MLflow sends.
    """
    try:
        event = json.loads(body)
        data = event["data"]
        is_tag = (event["entity"], event["action"]) == ("model_version_tag", "set")
        if not is_tag or data["key"] != "review" or data["value"].strip() not in _ANSWERS:
            return None
        return Answered(delivery, str(data["name"]), str(data["version"]), data["value"].strip())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"a delivery cannot be read: {error!r}", remedy="use the MLflow version locked here") from None
