import json

import pytest

from steelyard.errors import DataError
from steelyard.review.webhook import Deliveries, ForgedError, answered, check_delivery

SECRET = "a secret of the test"  # noqa: S105
NOW = 1_800_000_000


def body(**data) -> bytes:
    """Return what MLflow sends when a tag of a version is set."""
    tag = {"name": "m", "version": "3", "key": "review", "value": "approved"} | data
    return json.dumps({"entity": "model_version_tag", "action": "set", "timestamp": "t", "data": tag}).encode()


def headers(content: bytes, *, sent: int = NOW, secret: str = SECRET) -> dict[str, str]:
    """Return the headers as MLflow's own code makes them."""
    from mlflow.webhooks.delivery import _generate_hmac_signature

    signature = _generate_hmac_signature(secret, "d1", str(sent), content.decode())
    return {"x-mlflow-delivery-id": "d1", "x-mlflow-timestamp": str(sent), "x-mlflow-signature": signature}


def test_check_delivery_signed_by_mlflow_passes():
    """MLflow's signature over its own body is accepted."""
    assert check_delivery(headers(body()), body(), secret=SECRET, now=NOW + 10) == "d1"


@pytest.mark.parametrize(
    ("sent", "content", "told"),
    [
        (headers(body(), secret="another"), body(), "not signed"),  # noqa: S106
        (headers(body()), body(version="4"), "not signed"),
        ({**headers(body()), "x-mlflow-delivery-id": "d2"}, body(), "not signed"),
        ({}, body(), "not signed"),
        (headers(body(), sent=NOW - 301), body(), "too old"),
        (headers(body(), sent=NOW + 301), body(), "too old"),
    ],
)
def test_check_delivery_forged_or_stale_refused(sent, content, told):
    """Another secret, another body, another id, no signature, an old or a future time."""
    with pytest.raises(ForgedError, match=told):
        check_delivery(sent, content, secret=SECRET, now=NOW)


def test_answered_takes_answers_and_passes_over_other_events():
    """Our own states and other tags start nothing."""
    found = answered("d1", body(value=" approved "))
    assert found is not None
    assert (found.model, found.version, found.review) == ("m", "3", "approved")
    assert answered("d1", body(value="promoted")) is None
    assert answered("d1", body(key="review.by")) is None
    assert answered("d1", b'{"entity": "registered_model", "action": "created", "data": {}}') is None
    with pytest.raises(DataError, match="cannot be read"):
        answered("d1", b"[]")


def test_deliveries_repeated_id_is_not_new():
    """MLflow sends a delivery again when it got no answer."""
    deliveries = Deliveries()
    assert [deliveries.is_new(name) for name in ("d1", "d2", "d1")] == [True, True, False]
