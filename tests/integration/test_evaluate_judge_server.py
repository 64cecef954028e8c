"""The judge over HTTP: what is sent, what is tried again, what ends as not scored, and what reaches a scorecard."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from flows.build import load_job
from flows.stages.contexts import ask
from flows.stages.data import Contract
from flows.stages.evaluation import ArmResult
from flows.stages.index import IndexState
from flows.stages.judging import judge_answers, with_judge
from pipelines.labelled import read_labelled
from steelyard.errors import DataError, ServiceError
from steelyard.evaluate.answers import AnswerStore
from steelyard.evaluate.judge.endpoint import ChatEndpoint
from steelyard.evaluate.judge.pairs import Pairing, judge_pairings
from steelyard.evaluate.judge.stub import Reply, StubJudge
from steelyard.evaluate.kept import keep, write_kept
from steelyard.progress import Silent
from steelyard.prompts import plain_prompt
from steelyard.records import Answer, Case, Scorecard, Snapshot

ROOT = Path(__file__).parents[2]
PAIRING = Pairing("Which patch?", "1.2.3", "It is 1.2.3.", "It is 9.9.")


def answers_of(body):
    """Return answers A and B of a request."""
    text = body["messages"][-1]["content"]
    return [text.partition(f"<answer_{side}>\n")[2].partition(f"\n</answer_{side}>")[0] for side in "ab"]


def reference_of(body):
    """Return the reference answer of a request."""
    return body["messages"][-1]["content"].partition("<reference>\n")[2].partition("\n</reference>")[0]


def fair(body):
    """Prefer the answer that holds the reference."""
    first, second = (reference_of(body) in answer for answer in answers_of(body))
    return Reply(json.dumps({"better": "tie" if first == second else "A" if first else "B"}))


def judge(server, folder, *, pairings=(PAIRING,), repeats=1, **settings):
    """Ask the server about pairings."""
    defaults = {"api_key": None, "timeout_seconds": 10.0, "attempts": 3, "longest_wait_seconds": 0.0}
    endpoint = ChatEndpoint(base_url=server.base_url, model="m", **(defaults | settings))
    try:
        return judge_pairings(
            pairings,
            repeats=repeats,
            endpoint=endpoint,
            store=AnswerStore(folder / "answers.sqlite"),
            concurrency=2,
            task="judge",
            progress=Silent(),
        )
    finally:
        endpoint.close()


def test_judge_asks_both_orders_at_temperature_zero_and_only_once(tmp_path):
    """Each answer stands first once; a second time everything is found; equal answers need no judge."""
    same = Pairing("q", "e", "equal", "equal")
    with StubJudge(fair) as server:
        first = judge(server, tmp_path, pairings=[PAIRING, same], api_key="secret-key")
        again = judge(server, tmp_path, pairings=[PAIRING, same], api_key="secret-key")
    assert first.choices == again.choices == {(PAIRING, 0): "first", (same, 0): "tie"}
    assert (first.asked, again.asked) == (2, 0)
    assert sorted(map(answers_of, server.requests)) == [["It is 1.2.3.", "It is 9.9."], ["It is 9.9.", "It is 1.2.3."]]
    assert {(body["temperature"], body["model"]) for body in server.requests} == {(0, "m")}
    assert server.keys == {"Bearer secret-key"}


def test_judge_that_prefers_the_first_place_prefers_nothing(tmp_path):
    """Swapping the order turns a habit into a tie."""
    with StubJudge(lambda body: Reply('{"better": "A"}')) as server:
        assert judge(server, tmp_path).choices[PAIRING, 0] == "tie"


@pytest.mark.parametrize(
    "failure",
    [
        Reply("slow down", status=429, headers={"Retry-After": "0"}),
        Reply("broken", status=503),
        Reply("I think that A is better."),
        Reply(is_hanging=True),
    ],
    ids=["429", "503", "malformed", "timeout"],
)
def test_judge_failure_that_passes_is_tried_again_and_one_that_stays_is_not_scored(failure, tmp_path):
    """One failure costs one more request; three in a row leave the pairing without a choice, and nothing stored."""
    settings = {"timeout_seconds": 0.3} if failure.is_hanging else {}
    left = [failure]
    with StubJudge(lambda body: left.pop() if left else fair(body)) as server:
        done = judge(server, tmp_path / "passing", **settings)
    assert (done.choices[PAIRING, 0], len(server.requests)) == ("first", 3)
    with StubJudge(lambda body: failure) as server:
        assert judge(server, tmp_path / "staying", **settings).choices[PAIRING, 0] is None
    assert len(server.requests) == 6
    with StubJudge(fair) as server:
        assert judge(server, tmp_path / "staying").choices[PAIRING, 0] == "first"


def test_judge_that_refuses_the_key_is_an_error_that_hides_it(tmp_path):
    """A wrong key is no score of any arm, and a server that echoes it does not make us print it."""
    with (
        StubJudge(lambda body: Reply("bad key secret-key", status=401)) as server,
        pytest.raises(ServiceError, match="401") as raised,
    ):
        judge(server, tmp_path, api_key="secret-key")
    assert "secret-key" not in str(raised.value)
    assert len(server.requests) <= 2


def test_judge_that_is_not_there_scores_nothing(tmp_path):
    """A server that is down leaves every pairing not scored."""
    with StubJudge(fair) as server:
        pass
    assert judge(server, tmp_path).choices[PAIRING, 0] is None


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Return (make a job with a judge at an address, results of base and RAG on four cases, the question)."""
    monkeypatch.setenv("JUDGE_KEY", "secret-key")
    folder = tmp_path / "lifecycle"
    folder.mkdir()
    shutil.copy(ROOT / "configs/lifecycle/smoke.yaml", folder)
    labels = [
        {"question": f"q{n}", "expected": "yes", "first": first, "second": second, "better": better}
        for n, (first, second, better) in enumerate(
            [("yes", "no", "first"), ("no", "yes", "second"), ("yes!", "yes.", "tie"), ("no", "oh yes", "second")]
        )
    ]
    (folder / "labels.jsonl").write_text("\n".join(map(json.dumps, labels)))
    cases = tuple(Case(f"c{n}", f"q{n}", "fact", "right") for n in range(4))
    cases = (*cases, Case("r", "q", "retention", "right"))
    texts = {"base": ["right"] * 4, "rag": ["right", "right!", "wrong", "wrong"]}
    results = {}
    for arm, given in texts.items():
        answers = [
            Answer(arm, case.id, text, (), (), 1, 1, "d") for case, text in zip(cases, [*given, "right"], strict=True)
        ]
        write_kept(folder / f"{arm}.json", keep(answers, [plain_prompt(case.question) for case in cases], {}))
        card = Scorecard(arm, {}, {}, {case.id: {} for case in cases})
        results[arm] = ArmResult(card, f"digest of {arm}", folder / f"{arm}.json")
    state = IndexState("c", {1: "d"}, 0, 0.0, 0.0)
    snapshot = Snapshot(1, "2026-01-01", "d", 0)
    question = ask(load_job(folder / "smoke.yaml"), Contract((), cases, 0, ()), state, snapshot, snapshot)

    def make(address, *overrides):
        judge = [
            f"evaluation.judge.base_url={address}", "evaluation.judge.model=m",
            "evaluation.judge.api_key=${JUDGE_KEY}", "evaluation.judge.labelled=labels.jsonl",
            "evaluation.judge.minimum_labelled=4", "evaluation.judge.attempts=1",
        ]  # fmt: skip
        return load_job(folder / "smoke.yaml", overrides=[*judge, *overrides])

    return make, results, question


def test_judging_with_a_licence_scores_each_arm_against_rag(world):
    """Base is better twice and as good twice; RAG equals itself; retention is not compared; a second run asks none."""
    make, results, question = world
    with StubJudge(fair) as server:
        first = judge_answers(make(server.base_url), results, question)
        again = judge_answers(make(server.base_url), results, question)
    assert (first.metric, first.notes) == ("judge", ())
    cards = with_judge({arm: result.scorecard for arm, result in results.items()}, first)
    assert cards["base"].metrics["judge"].value == 0.75
    assert cards["rag"].metrics["judge"].value == 0.5
    assert cards["base"].by_case["c2"] == {"judge": 1.0}
    assert cards["base"].by_case["r"] == {}
    assert first.requests == len(server.requests) > 0
    assert replace(again, requests=first.requests) == first
    assert again.requests == 0


def test_judging_without_a_licence_is_shown_under_another_name(world):
    """A judge that people do not agree with, or nobody checked, has no score that a rule could name."""
    make, results, question = world
    with StubJudge(lambda body: Reply('{"better": "tie"}')) as server:
        judged = judge_answers(make(server.base_url), results, question)
        unchecked = judge_answers(make(server.base_url, "evaluation.judge.labelled=null"), results, question)
    for judging, reason in ((judged, "kappa 0.00"), (unchecked, "0 labelled items, 4 are asked for")):
        assert judging.metric == "judge_not_licensed"
        assert "not licensed" in judging.notes[0]
        assert reason in judging.notes[0]
    card = with_judge({"base": results["base"].scorecard}, judged)["base"]
    assert card.metrics.keys() == {"judge_not_licensed"}


def test_judging_that_failed_counts_against_the_arm_and_is_tried_again(world):
    """What was not scored is zero in the mean and counted; the next run asks what is missing."""
    make, results, question = world
    with StubJudge(lambda body: Reply("later", status=500) if reference_of(body) == "right" else fair(body)) as server:
        judged = judge_answers(make(server.base_url), results, question)
    card = with_judge({"base": results["base"].scorecard}, judged)["base"]
    assert (card.metrics["judge"].value, card.metrics["judge"].not_scored) == (0.125, 3)
    assert "3 comparisons are not scored" in judged.notes[0]
    with StubJudge(fair) as server:
        assert judge_answers(make(server.base_url), results, question).scores["base"]["c2"] == 1.0
    assert {reference_of(body) for body in server.requests} == {"right"}


def test_labelled_items_that_are_none_are_told_with_their_line(tmp_path):
    """A label that is no choice, and a missing field: file, line and field."""
    file = tmp_path / "labels.jsonl"
    item = {"question": "q", "expected": "e", "first": "a", "second": "b", "better": "A"}
    file.write_text(json.dumps(item))
    with pytest.raises(DataError, match=r"labels.jsonl:1: field 'better' is 'A'"):
        read_labelled(file, max_bytes=1_000)
    file.write_text(json.dumps(item | {"better": "tie"}) + "\n" + json.dumps({"question": "q", "better": "tie"}))
    with pytest.raises(DataError, match=r"labels.jsonl:2: field 'expected' is missing"):
        read_labelled(file, max_bytes=1_000)
