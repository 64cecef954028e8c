"""`steelyard doctor` from the outside: what it looks at, its JSON and its exit codes."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import jsonschema
import pytest

from steelyard.cli.app import run_program
from steelyard.scaffold import scaffold

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schemas/doctor.schema.json").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def _empty_machine(tmp_path, monkeypatch):
    """Look at an empty cache, in an empty folder, without a server of the tester's own."""
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def examined(words: list[str], capfd) -> tuple[int, dict]:
    """Run doctor with --json and return its exit code and its object, checked against the schema."""
    code = run_program(["doctor", *words, "--json"])
    value = json.loads(capfd.readouterr().out)
    jsonschema.Draft202012Validator(SCHEMA).validate(value)
    return code, value


def names(value: dict) -> list[str]:
    """Return the names of the checks."""
    return [check["name"] for check in value["checks"]]


def test_doctor_without_project_looks_at_the_machine(capfd):
    """It works before there is a project."""
    code, value = examined([], capfd)
    assert code == 0
    assert value["project"] is None
    assert names(value) == ["python", "libraries", "memory", "cache", "precision", "prefect port", "mlflow port"]


def test_doctor_finds_the_project_in_the_folder(tmp_path, monkeypatch, capfd):
    """Without a name it takes ./steelyard.yaml, and looks at what that needs; nothing is made."""
    scaffold(tmp_path / "mine")
    monkeypatch.chdir(tmp_path / "mine")
    before = sorted(tmp_path.rglob("*"))
    code, value = examined([], capfd)
    assert code == 0
    assert value["project"] == "mine"
    assert names(value)[-5:] == ["workspace", "generator", "embedder", "store", "mlflow"]
    assert sorted(tmp_path.rglob("*")) == before


def test_doctor_with_an_unreachable_store_ends_with_four(tmp_path, capfd):
    """What a run needs and cannot reach is a failure of its own kind."""
    scaffold(tmp_path / "mine")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code, value = examined(
        [str(tmp_path / "mine" / "steelyard.yaml"), "--set", f"index.store={{type: weaviate, http_port: {port}}}"],
        capfd,
    )
    assert code == 4
    assert value["status"] == "failed"
    (store,) = [check for check in value["checks"] if check["name"] == "store"]
    assert (store["status"], "lancedb" in store["remedy"]) == ("failed", True)


def test_doctor_shows_each_check_with_its_remedy(tmp_path, capfd):
    """The table for people says the same as the object for programs."""
    scaffold(tmp_path / "mine")
    file = tmp_path / "mine" / "steelyard.yaml"
    code = run_program(["doctor", str(file), "--set", "models.generator={source: 'path:nowhere'}"])
    shown = capfd.readouterr().out
    assert code == 4
    assert "failed" in shown
    assert "nowhere" in shown
    assert "To fix: " in shown
    assert "LanceDB in " in shown


def test_doctor_looks_at_the_prefect_server_that_is_set(monkeypatch, capfd):
    """PREFECT_API_URL is what a run would use."""
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    code, value = examined([], capfd)
    assert (code, "prefect api" in names(value)) == (4, True)
