"""A project whose versions are proposed without the whole DAG: for tests of what happens to them afterwards."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from flows.build import Job, load_job
from flows.parts import Parts, collection_of
from flows.stages.contexts import Question, ask
from flows.stages.data import Contract
from flows.stages.dossier import Weighed
from flows.stages.index import IndexState
from flows.stages.promotion import record, register_winner
from steelyard.records import Case, Judgement, Passage, Score, Scorecard, Snapshot, TuneDecision, Verdict
from steelyard.report import Digests, ModelVersion

CASES = tuple(Case(f"c{n}", f"When does product {n} end?", "fact", f"20{n}", ("page",)) for n in range(3))

PROJECT = """
name: assistant
models:
  generator: {source: "random:tiny", precision: float32}
  embedder: {source: "hash:64"}
sources:
  documents: [{name: pages, format: markdown, path: pages}]
  cases: {path: cases.csv}
task: {instructions: Answer.}
generation: {max_new_tokens: 4}
promotion: {smoke_cases: 2}
"""


def make_job(folder: Path, database: Path, *, overrides: tuple[str, ...] = ()) -> Job:
    """Return a job with a tracking database and one indexed, published snapshot."""
    (folder / "steelyard.yaml").write_text(PROJECT)
    job = load_job(folder / "steelyard.yaml", overrides=overrides)
    job.workspace.root.mkdir(parents=True)
    shutil.copyfile(database, job.workspace.mlflow_database)
    parts = Parts(job)
    passages = [Passage(f"p{n}", "page", n, "Page", "", f"product {n} ends in 20{n}", "page.md", 1) for n in range(3)]
    parts.index.write(passages, parts.embedder.embed([passage.text for passage in passages]))
    parts.index.seal(1, parts.index.digest(1))
    parts.index.publish(1)
    parts.close()
    return job


def weigh(job: Job, *, answers: str) -> tuple[Question, Weighed]:
    """Return what the gate leaves when rag wins; `answers` tells one winner from another."""
    snapshot = Snapshot(1, "2026-08-22", "d", 1)
    parts = Parts(job)
    index = parts.index.sealed()[1]
    parts.close()
    state = IndexState(collection_of(job), {1: index}, 0, 0.0, 0.0)
    question = ask(job, Contract((), CASES, 0, ()), state, snapshot, snapshot)
    card = Scorecard("rag", {"fact": Score(0.0, 3)}, {}, {case.id: {"fact": 0.0} for case in CASES})
    weighed = Weighed(
        scorecards={"rag": card},
        judgement=Judgement({"rag": Verdict("rag", "promote", ("it wins",))}, (), {}, None, "rag"),
        digests=Digests(warehouse="w", index=index, answers=answers, adapter=None),
        decision=TuneDecision(False, ("no pairs",), ()),
        adapter=None,
    )
    return question, weighed


def release(job: Job, *, answers: str) -> ModelVersion:
    """Record the evidence and register the winner, as the last two stages of a release do."""
    question, weighed = weigh(job, answers=answers)
    parts = Parts(job)
    try:
        version = register_winner(job, parts, question, weighed, record(job, question, weighed))
    finally:
        parts.close()
    assert version is not None
    return version


def unreviewed(job: Job) -> Job:
    """Return the job with `promotion.review: none`."""
    promotion = job.project.promotion.model_copy(update={"review": "none"})
    project = job.project.model_copy(update={"promotion": promotion})
    return dataclasses.replace(job, loaded=dataclasses.replace(job.loaded, project=project))
