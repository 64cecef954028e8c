"""The chat endpoint, the webhook receiver and batch answers, around a model that repeats its question."""

from __future__ import annotations

import json
import threading
import time

import pytest
from starlette.testclient import TestClient

from steelyard.errors import DataError, ServiceError
from steelyard.progress import Silent
from steelyard.serving.app import make_app
from steelyard.serving.batch import answer_file
from steelyard.serving.champion import Champion


def echo(version):
    """Return a model that answers with its version and the question."""

    def served(questions):
        return [
            {"answer": f"{version}: {one}", "citations": [], "arm": "rag", "snapshot": 1, "retrieved": []}
            for one in questions
        ]

    return served


class Registry:
    """Who is champion, and a clock that the test moves."""

    def __init__(self) -> None:
        self.champion: str | None = "1"
        self.seconds = 0.0
        self.broken: set[str] = set()

    def load(self, version):
        """Open a version, unless it is broken."""
        if version in self.broken:
            raise DataError(f"version {version}: files of it are gone")
        return echo(version)


@pytest.fixture
def registry():
    """Return the registry that the test changes."""
    return Registry()


@pytest.fixture
def champion(registry):
    """Return a champion that follows the registry."""
    made = Champion(current=lambda: registry.champion, load=registry.load, now=lambda: registry.seconds)
    yield made
    made.close()


def ask(champion, question="q"):
    """Return the answer's text."""
    return champion.ask(question).result(timeout=10).record["answer"]


def test_champion_new_one_is_taken_without_a_restart(champion, registry):
    """The alias is looked at again after a moment, not for every question."""
    assert ask(champion) == "1: q"
    registry.champion = "2"
    assert ask(champion) == "1: q"
    registry.seconds += 3
    assert ask(champion) == "2: q"
    assert champion.version == "2"


def test_champion_that_cannot_be_opened_leaves_the_old_one_answering(champion, registry):
    """A broken new champion is told in the health, and the old one goes on."""
    ask(champion)
    registry.broken, registry.champion = {"2"}, "2"
    registry.seconds += 3
    assert ask(champion) == "1: q"
    assert "version 2" in champion.fault


def test_champion_missing_is_told_to_every_question(champion, registry):
    """Nothing approved yet is an error with a remedy, not an endless wait."""
    registry.champion = None
    with pytest.raises(ServiceError, match="no champion yet"):
        ask(champion)


def test_champion_answers_many_threads_each_with_its_own(champion):
    """Questions that are batched together come back to who asked them."""
    answers: dict[int, str] = {}
    threads = [threading.Thread(target=lambda n=n: answers.update({n: ask(champion, f"q{n}")})) for n in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {n: f"1: q{n}" for n in range(50)}


def test_chat_completion_has_openais_form_and_our_citations(champion):
    """The last user message is the question; version and citations come beside the answer."""
    client = TestClient(make_app(champion, model="m"))
    messages = [{"role": "user", "content": "old"}, {"role": "assistant", "content": "x"}]
    parts = [{"type": "text", "text": "new"}]
    reply = client.post("/v1/chat/completions", json={"messages": [*messages, {"role": "user", "content": parts}]})
    assert reply.status_code == 200
    body = reply.json()
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "1: new"}
    assert (body["model_version"], body["citations"]) == ("1", [])
    assert client.get("/health").json()["version"] == "1"


def test_chat_completion_streams_when_asked(champion):
    """A client that wants a stream gets events that end with [DONE]."""
    client = TestClient(make_app(champion, model="m"))
    wanted = {"stream": True, "messages": [{"role": "user", "content": "q"}]}
    events = client.post("/v1/chat/completions", json=wanted).text.strip().split("\n\n")
    assert json.loads(events[0].removeprefix("data: "))["choices"][0]["delta"]["content"] == "1: q"
    assert events[-1] == "data: [DONE]"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "not JSON"),
        (b"[]", "no JSON object"),
        (b'{"messages": []}', "none of role user"),
        (b'{"messages": [{"role": "user", "content": " "}]}', "blank"),
        (b'{"messages": [{"role": "user", "content": 3}]}', "expected a text"),
        (b"x" * 1_000_001, "more than"),
    ],
)
def test_chat_completion_bad_request_is_the_callers_fault(champion, content, told):
    """What cannot be asked is answered with 400 and what is wrong with it."""
    reply = TestClient(make_app(champion, model="m")).post("/v1/chat/completions", content=content)
    assert reply.status_code == 400
    assert told in reply.json()["error"]["message"]


def signed(content, *, delivery, secret="s"):  # noqa: S107
    """Return the headers of a genuine delivery."""
    from mlflow.webhooks.delivery import _generate_hmac_signature

    now = str(int(time.time()))
    signature = _generate_hmac_signature(secret, delivery, now, content.decode())
    return {"X-MLflow-Delivery-Id": delivery, "X-MLflow-Timestamp": now, "X-MLflow-Signature": signature}


def test_webhook_approval_starts_one_review_a_delivery(champion):
    """A signed approval of our model starts a review once; a forged one starts nothing."""
    started = []
    client = TestClient(make_app(champion, model="m", secret="s", on_answer=started.append))  # noqa: S106
    data = {"name": "m", "version": "3", "key": "review", "value": "approved"}
    content = json.dumps({"entity": "model_version_tag", "action": "set", "data": data}).encode()
    for _ in range(2):
        sent = client.post("/webhooks/mlflow", content=content, headers=signed(content, delivery="d1"))
        assert sent.status_code == 200
    assert [(one.version, one.delivery) for one in started] == [("3", "d1")]
    headers = signed(content, delivery="d2", secret="another")  # noqa: S106
    assert client.post("/webhooks/mlflow", content=content, headers=headers).status_code == 401
    other = content.replace(b'"name": "m"', b'"name": "n"')
    client.post("/webhooks/mlflow", content=other, headers=signed(other, delivery="d3"))
    assert len(started) == 1


def test_answer_file_goes_on_after_the_last_whole_line(tmp_path):
    """What a killed run left half written is asked again, the rest is not."""
    questions, answers = tmp_path / "q.jsonl", tmp_path / "a.jsonl"
    questions.write_text("".join(json.dumps({"id": n, "question": f"q{n}"}) + "\n" for n in range(3)))
    assert answer_file(questions, answers, echo("1"), version="1", progress=Silent()) == (3, 0)
    whole = answers.read_text()
    answers.write_text(whole[: whole.index("\n") + 20])
    assert answer_file(questions, answers, echo("1"), version="1", progress=Silent()) == (2, 1)
    assert answers.read_text() == whole
    assert [json.loads(line)["id"] for line in whole.splitlines()] == [0, 1, 2]


def test_answer_file_bad_line_is_named_before_anything_is_asked(tmp_path):
    """A line without a question stops the file, with its number."""
    questions = tmp_path / "q.jsonl"
    questions.write_text('{"question": "fine"}\n{"query": "not"}\n')
    with pytest.raises(DataError, match=r"q\.jsonl:2"):
        answer_file(questions, tmp_path / "a.jsonl", echo("1"), version="1", progress=Silent())
    assert not (tmp_path / "a.jsonl").exists()
