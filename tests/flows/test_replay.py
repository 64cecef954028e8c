"""The last update replayed on real documents, index and cases, with a reader that answers what it is shown."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
from projects import ROOT

from flows.build import load_job
from flows.parts import Parts
from flows.stages.contexts import ask
from flows.stages.costs import with_costs
from flows.stages.data import Contract, ingest_sources, read_questions
from flows.stages.evaluation import evaluate_arm
from flows.stages.index import index_documents
from flows.stages.latency import Latencies, measure_latencies
from flows.stages.replay import replay_update
from pipelines.warehouse import Warehouse
from steelyard.evaluate.text import stands_in
from steelyard.generate.canned import CannedGenerator
from steelyard.records import Score

SETTINGS = [
    "decide.tune=never", "sources.cases.sample=40", "generation.max_new_tokens=64", "generation.latency_sample=3",
    "prompt.examples.base=0", "prompt.examples.rag=0", "costs.machine_hour=3.6",
]  # fmt: skip
ARMS = ("base", "rag")


class ReadingParts(Parts):
    """Parts whose generator gives the right record when a passage in the prompt holds it, and an empty one else."""

    def __init__(self, job, cases):
        super().__init__(job)
        answerable = [case for case in cases if case.kind in {"fact", "fresh"}]
        records = {case.question: json.loads(case.expected) for case in answerable}

        def read(prompt):
            text = prompt.messages[-1].content
            wanted = next((record for question, record in records.items() if text.endswith(question)), {})
            shown = text.rpartition("Question: ")[0]
            is_shown = wanted and all(stands_in(wanted[name], shown) for name in ("latest", "eol"))
            return json.dumps(wanted, separators=(",", ":")) if is_shown else "{}"

        self._reader = CannedGenerator(read, name="reader")

    def generator(self, adapter):
        """Return the reader for every arm."""
        return self._reader


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Load and index both snapshots of the sample project, and evaluate base and RAG."""
    folder = tmp_path_factory.mktemp("replay") / "lifecycle"
    shutil.copytree(ROOT / "configs/lifecycle", folder, ignore=shutil.ignore_patterns(".steelyard"))
    job = load_job(folder / "smoke.yaml", overrides=SETTINGS)
    data = ingest_sources(job)
    pairs, cases = read_questions(job, Warehouse(job.workspace.warehouse))
    parts = ReadingParts(job, cases)
    state = index_documents(job, parts, data)
    question = ask(job, Contract(tuple(pairs), tuple(cases), 0, ()), state, data.snapshots[-1], data.snapshots[0])
    results = {arm: evaluate_arm(job, parts, arm, question, adapter=None) for arm in ARMS}
    yield SimpleNamespace(**locals())
    parts.close()


def test_replay_finds_what_the_update_changed_and_moves_nothing(world):
    """RAG knows no fresh fact before the update and most after it; a repeated replay asks nothing."""
    published = world.parts.index.pointer()
    replayed = replay_update(world.job, world.parts, world.results, world.question, world.data.snapshots, adapter=None)
    rag, base = replayed.freshness["rag"], replayed.freshness["base"]
    assert rag.before.value == 0.0
    assert rag.after.value > 0.5
    assert rag.after.n == rag.before.n == sum(case.kind == "fresh" for case in world.cases)
    assert (base.before, base.after) == (Score(0.0, rag.after.n), Score(0.0, rag.after.n))
    assert 0 < replayed.answers_generated <= rag.after.n
    assert world.parts.index.pointer() == published
    again = replay_update(world.job, world.parts, world.results, world.question, world.data.snapshots, adapter=None)
    assert again.freshness == replayed.freshness
    assert (again.answers_generated, again.tokens_generated) == (0, 0)


def test_replay_of_a_single_snapshot_is_not_measured(world):
    """Without a state before the last there is nothing to replay, and the scorecard says so."""
    replayed = replay_update(
        world.job, world.parts, world.results, world.question, world.data.snapshots[-1:], adapter=None
    )
    assert replayed.freshness == {}
    latencies = Latencies({"base": [1.0], "rag": [2.0]}, 0)
    cards = with_costs(world.job, world.results, latencies, replayed, state=world.state, tuned=None)
    assert cards["rag"].metrics["fresh_after_update"] == Score(None, 0)
    assert cards["rag"].metrics["seconds_until_right"] == Score(None, 0)


def test_costs_bill_the_update_and_the_question(world):
    """At 3.6 an hour a second costs 0.001; base cannot be brought up to date, so it is never right."""
    replayed = replay_update(world.job, world.parts, world.results, world.question, world.data.snapshots, adapter=None)
    latencies = Latencies({"base": [1.0, 1.0, 4.0], "rag": [2.0, 2.0, 2.0]}, 0)
    cards = with_costs(world.job, world.results, latencies, replayed, state=world.state, tuned=None)
    base, rag = cards["base"].metrics, cards["rag"].metrics
    assert (base["latency_p50_seconds"], base["latency_p95_seconds"].value) == (Score(1.0, 3), pytest.approx(3.7))
    assert base["cost_per_1000_queries"].value == pytest.approx(2.0)
    assert base["cost_per_correct_answer"].value is None
    assert base["cost_per_correct_answer"].n > 0
    assert base["seconds_until_right"] == Score(None, 1)
    assert rag["seconds_until_right"].value == pytest.approx(world.state.update_seconds + 2.0)
    assert rag["cost_until_right"].value == pytest.approx(0.001 * (world.state.update_seconds + 2.0))
    assert rag["cost_per_correct_answer"].value == pytest.approx(0.002 / rag["fact"].value)


def test_latency_is_measured_once_for_the_same_questions(world):
    """Three questions an arm after the warm-up, kept; the second time nothing is asked."""
    first = measure_latencies(world.job, world.parts, ARMS, world.question, adapter=None)
    assert {arm: len(seconds) for arm, seconds in first.seconds.items()} == {"base": 3, "rag": 3}
    assert first.tokens_generated > 0
    again = measure_latencies(world.job, world.parts, ARMS, world.question, adapter=None)
    assert (again.seconds, again.tokens_generated) == (first.seconds, 0)
