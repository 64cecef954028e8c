"""Answers in MLflow's evaluation view: complete, comparable, and there once however often a run is killed."""

from __future__ import annotations

import json

import pytest
from dossier_sample import cases, dossier, scorecard

from steelyard.progress import Silent
from steelyard.promote.evidence import Evidence, record_evidence
from steelyard.promote.traces import ArmTraces, log_arm
from steelyard.records import Message, Prompt
from steelyard.report import Digests
from steelyard.tracking import Tracking, experiment_id, open_client

SAMPLE = dossier()


def arm_traces(arm: str) -> ArmTraces:
    """Return an arm's answers to the sample's cases."""
    prompts = [Prompt((Message("system", "be brief"), Message("user", case.question)), 1) for case in cases()]
    answers = [SAMPLE.answers[arm][case.id] for case in cases()]
    return ArmTraces(scorecard(arm), cases(), "c0ffee", answers, prompts, SAMPLE.passages)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Return a tracking store of its own, its client and its experiment."""
    folder = tmp_path_factory.mktemp("mlflow")
    tracking = Tracking(f"sqlite:///{folder / 'm.db'}", "things", folder / "artifacts")
    client = open_client(tracking.uri)
    return tracking, client, experiment_id(client, tracking)


def evidence(**changes) -> Evidence:
    """Return the sample as evidence with two arms' answers."""
    fields = {
        "fingerprint": "e1",
        "name": "things e1",
        "scorecards": SAMPLE.scorecards,
        "verdicts": SAMPLE.judgement.verdicts,
        "digests": Digests("a", "b", "c", None),
        "arms": (arm_traces("rag"), arm_traces("hybrid")),
    }
    return Evidence(**(fields | changes))


def traces_of(client, experiment, run_id):
    """Return the traces of one run."""
    return client.search_traces(locations=[experiment], run_id=run_id, max_results=500)


def arm_runs(client, experiment, parent):
    """Return the runs below one run, by name."""
    runs = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    return {run.info.run_name: run for run in runs}


def test_evidence_has_a_run_an_arm_with_a_trace_an_answer(store):
    """Question, prompt, passages, answer, scores and what was expected stand in each trace; scores are comparable."""
    tracking, client, experiment = store
    parent = record_evidence(evidence(), tracking=tracking)
    runs = arm_runs(client, experiment, parent)
    assert set(runs) == {"rag", "hybrid"}
    rag = runs["rag"]
    assert rag.info.status == "FINISHED"
    assert rag.data.tags["mlflow.runType"] == "genai_evaluate"
    assert rag.data.metrics["fact"] == pytest.approx(7 / 16)
    assert rag.inputs.dataset_inputs[0].dataset.digest == "c0ffee"
    found = {trace.info.tags["case"]: trace for trace in traces_of(client, experiment, rag.info.run_id)}
    assert set(found) == {case.id for case in cases()}
    trace = found["fact-3"]
    root, retrieved, generated = sorted(
        trace.data.spans, key=lambda span: ["rag", "retrieve", "generate"].index(span.name)
    )
    assert root.inputs == {"question": "What is the latest release of thing 3?"}
    assert root.outputs == json.loads(SAMPLE.answers["rag"]["fact-3"].text)  # MLflow shows JSON as fields
    assert [document["id"] for document in retrieved.outputs] == ["p3"]
    assert generated.inputs["messages"][0] == {"role": "system", "content": "be brief"}
    values = {item.name: item for item in trace.info.assessments}
    assert values["expected_response"].expectation.value == cases()[3].expected
    assert values["fact"].feedback.value is False
    assert values["token_f1"].feedback.value == 0.0
    assert "prompt_tokens" not in values
    missing = {item.name: item for item in found["fresh-7"].info.assessments}["fact"].feedback
    assert (missing.value, missing.error.error_code) == (None, "NOT_SCORED")


def test_evidence_killed_between_traces_is_completed_without_doubles(store, monkeypatch):
    """The process dies after the spans of an arm: the next run finds the same traces and writes what is missing."""
    tracking, client, experiment = store

    class Killed(BaseException):
        """Stands for SIGKILL: nothing may catch it."""

    def die(*_):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(type(client), "link_traces_to_run", die)
        with pytest.raises(Killed):
            record_evidence(evidence(fingerprint="e2"), tracking=tracking)
    parent = record_evidence(evidence(fingerprint="e2"), tracking=tracking)
    assert record_evidence(evidence(fingerprint="e2"), tracking=tracking) == parent
    runs = arm_runs(client, experiment, parent)
    assert set(runs) == {"rag", "hybrid"}
    for run in runs.values():
        found = traces_of(client, experiment, run.info.run_id)
        assert len(found) == len(cases())
        assert all(
            len({item.name for item in trace.info.assessments}) == len(trace.info.assessments) for trace in found
        )
        assert all(len(trace.data.spans) == 3 for trace in found)


def test_answers_that_stay_are_one_trace_in_two_runs(store):
    """Other rules over the same answers make another run, not another copy of every answer."""
    tracking, client, experiment = store
    before = len(client.search_traces(locations=[experiment], max_results=500))
    parent = record_evidence(evidence(fingerprint="e3"), tracking=tracking)
    assert len(client.search_traces(locations=[experiment], max_results=500)) == before
    for run in arm_runs(client, experiment, parent).values():
        assert len(traces_of(client, experiment, run.info.run_id)) == len(cases())


def test_arm_without_cases_or_passages_is_written(store):
    """Nothing asked is an empty run, not an error."""
    _, client, experiment = store
    empty = ArmTraces(scorecard("base"), (), "none", (), (), {})
    parent = client.create_run(experiment).info.run_id
    run = log_arm(client, empty, experiment=experiment, parent_run=parent, tag="t", project="things", progress=Silent())
    assert traces_of(client, experiment, run) == []
