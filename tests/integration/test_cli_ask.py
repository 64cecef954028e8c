"""`steelyard ask` against a registered version that retrieves: real MLflow, real LanceDB, the random model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import pytest

from flows.build import Job, load_job, tracking
from steelyard.cli.app import run_program
from steelyard.index.embed import HashEmbedder
from steelyard.index.lance import LanceIndex
from steelyard.models.source import identity, parse_source
from steelyard.promote.bundle import Bundle, IndexReference, PinnedModel, PromptSettings, RetrievalSettings, TaskOutput
from steelyard.promote.evidence import Evidence, record_evidence
from steelyard.promote.registry import register
from steelyard.records import Decoding, Passage
from steelyard.report import Digests
from steelyard.serving import MODEL_CODE

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
EMBEDDER = HashEmbedder(64)
PROJECT = """\
name: mine
models:
  generator: {source: "random:tiny", precision: float32}
  embedder: {source: "hash:64"}
sources:
  documents: [{name: docs, path: docs}]
  cases: {path: cases.csv}
task: {instructions: Answer.}
"""


def validated(text: str, schema: str) -> dict:
    """Return a JSON text's value, checked against one of the documented schemas."""
    value = json.loads(text)
    jsonschema.validate(value, json.loads((SCHEMAS / f"{schema}.schema.json").read_text(encoding="utf-8")))
    return value


def fill_index(folder: Path) -> None:
    """Publish one snapshot with two passages."""
    index = LanceIndex(folder, collection="Passages_a", dimensions=EMBEDDER.dimensions)
    passages = [
        Passage("ubuntu-1", "ubuntu", 0, "Ubuntu", "", "Ubuntu 24.04 ends 2029.", "docs/ubuntu.md", 1),
        Passage("debian-1", "debian", 0, "Debian", "", "Debian 13 is the newest.", "docs/debian.md", 1),
    ]
    index.write(passages, EMBEDDER.embed([passage.text for passage in passages]))
    index.seal(1, index.digest(1))
    index.publish(1)


def promote_rag(job: Job) -> None:
    """Register a RAG arm on the random model as champion."""
    place = tracking(job)
    bundle = Bundle(
        name="mine",
        arm="rag",
        base_model=PinnedModel("random:tiny", None, identity(parse_source("random:tiny"), None), "float32"),
        prompt=PromptSettings("Answer and name your source as [id].", ()),
        decoding=Decoding(max_new_tokens=4),
        output=TaskOutput("text"),
        digests=Digests("w", "i", "a", None),
        embedder=PinnedModel("hash:64", None, EMBEDDER.fingerprint, "float32"),
        retrieval=RetrievalSettings(top_k=1, alpha=0.5),
        index=IndexReference("lancedb", {"path": str(job.workspace.index)}, "Passages_a", 1),
    )
    run_id = record_evidence(Evidence("f", "test", {}, {}, bundle.digests), tracking=place)
    register(bundle, tracking=place, run_id=run_id, alias="champion", model_code=MODEL_CODE)


@pytest.fixture(scope="module")
def promoted(tmp_path_factory) -> Path:
    """Return the folder of a project with a champion."""
    folder = tmp_path_factory.mktemp("project") / "mine"
    folder.mkdir()
    (folder / "steelyard.yaml").write_text(PROJECT, encoding="utf-8")
    job = load_job(folder / "steelyard.yaml")
    fill_index(job.workspace.index)
    promote_rag(job)
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """Keep the random model of these tests in one folder."""
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path_factory.getbasetemp() / "ask-cache"))


def test_ask_answers_from_the_index_with_the_documented_record(promoted, capfd):
    """The answer names arm, version and snapshot, and stdout holds one JSON object."""
    assert (
        run_program(["ask", "When does Ubuntu 24.04 end?", "--project", str(promoted / "steelyard.yaml"), "--json"])
        == 0
    )
    value = validated(capfd.readouterr().out, "ask")
    assert (value["arm"], value["model"], value["model_version"], value["snapshot"]) == ("rag", "mine", "1", 1)
    assert value["retrieved"] == ["ubuntu-1"]


def test_ask_shows_answer_and_arm_to_people(promoted, capfd):
    """Without --json the same is told in words."""
    assert run_program(["ask", "Which Debian is the newest?", "--project", str(promoted / "steelyard.yaml")]) == 0
    assert "rag, mine version 1, snapshot 1" in capfd.readouterr().out


def test_ask_unknown_alias_is_refused(promoted, capfd):
    """An alias that was never given is an error of the words, told with what to do."""
    words = ["ask", "What?", "--project", str(promoted / "steelyard.yaml"), "--alias", "challenger", "--json"]
    assert run_program(words) == 2
    error = validated(capfd.readouterr().out, "error")["error"]
    assert "mine has no challenger" in error["message"]
    assert "steelyard run" in error["remedy"]


def test_ask_without_the_index_is_an_error_and_no_answer(promoted, capfd):
    """An index that was removed is told: an arm that retrieves never answers from nothing."""
    index = load_job(promoted / "steelyard.yaml").workspace.index
    aside = index.with_name("aside")
    shutil.move(index, aside)
    try:
        code = run_program(["ask", "What?", "--project", str(promoted / "steelyard.yaml"), "--json"])
    finally:
        shutil.rmtree(index, ignore_errors=True)
        shutil.move(aside, index)
    error = validated(capfd.readouterr().out, "error")["error"]
    assert (code, error["exit_code"]) == (3, 3)
    assert "nothing is published" in error["message"]
