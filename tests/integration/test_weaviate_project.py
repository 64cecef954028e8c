"""A project with a Weaviate store: runs, `plan`, serving and `doctor` mean the same place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.build import Job, load_job
from flows.parts import collection_of, open_project_index, sealed_snapshots, store_settings
from steelyard.cli.app import run_program
from steelyard.errors import ConfigError
from steelyard.index.weaviate_connection import Place
from steelyard.index.weaviate_state import State
from steelyard.records import Passage
from steelyard.scaffold import scaffold
from steelyard.serving.opening import open_index, stored_snapshots


@pytest.fixture
def project_file(tmp_path) -> Path:
    """Return the file of a new project whose embedder costs nothing."""
    scaffold(tmp_path / "mine")
    return tmp_path / "mine" / "steelyard.yaml"


def a_job(file: Path, store: str) -> Job:
    """Return the project with a store."""
    return load_job(file, overrides=["models.embedder={source: 'hash:8'}", f"index.store={store}"])


def test_weaviate_project_is_the_same_place_for_runs_for_serving_and_for_doctor(
    project_file, weaviate_place: Place, open_weaviate, capfd
):
    """What a run writes and publishes is what plan sees, what a served model searches, and what doctor tells."""
    namespace = open_weaviate("Passages_any")._state.physical("")[:-1]  # the fixture removes what begins like this
    address = (
        f"host: {weaviate_place.host}, http_port: {weaviate_place.http_port}, grpc_port: {weaviate_place.grpc_port}"
    )
    store = f"{{type: weaviate, {address}, namespace: {namespace}}}"
    job = a_job(project_file, store)
    assert sealed_snapshots(job) == ({}, None)
    index = open_project_index(job, dimensions=8)
    index.write([Passage("p-1", "d", 0, "", "", "opening hours", "", 1)], [[1.0, *[0.0] * 7]])
    index.seal(1, index.digest(1))
    index.publish(1)
    index.close()

    collection, settings = collection_of(job), json.loads(json.dumps(store_settings(job)))
    sealed, pointer = stored_snapshots("weaviate", settings, collection=collection)
    assert sealed_snapshots(job) == (sealed, pointer)
    assert (list(sealed), pointer) == ([1], (collection, 1))
    served = open_index("weaviate", settings, collection=collection, dimensions=8)
    assert [hit.passage.id for hit in served.search("hours", None, snapshot=1, top_k=1, alpha=0)] == ["p-1"]
    alias = State(served._connection, namespace).alias
    served.close()

    run_program(["doctor", str(project_file), "--set", f"index.store={store}", "--json"])
    checks = {check["name"]: check for check in json.loads(capfd.readouterr().out)["checks"]}
    assert checks["store"]["status"] == "ok"
    assert alias in checks["store"]["message"]
    assert "snapshot 1" in checks["store"]["message"]


def test_weaviate_namespace_and_folders_come_from_the_project(project_file):
    """Two projects on one server differ without being told to; embedded paths start at the project's folder."""
    settings = store_settings(a_job(project_file, "{type: weaviate, mode: embedded, program: bin}"))

    assert settings["namespace"] == "Mine"
    assert settings["program"] == str(project_file.parent / "bin")
    assert Path(settings["folder"]).parts[-3:] == (".steelyard", "mine", "weaviate")
    assert sealed_snapshots(a_job(project_file, "{type: weaviate, mode: embedded}")) == ({}, None)


def test_weaviate_key_is_named_and_never_stored(project_file, monkeypatch):
    """A bundle's settings hold the variable's name."""
    monkeypatch.setenv("TEAM_KEY", "hush")
    settings = store_settings(a_job(project_file, "{type: weaviate, mode: cloud, host: x, api_key: '${TEAM_KEY}'}"))

    assert settings["api_key_env"] == "TEAM_KEY"
    assert "hush" not in json.dumps(settings)


@pytest.mark.parametrize(
    ("store", "words"),
    [
        ("{type: weaviate, mode: cloud, host: x}", "mode: cloud needs api_key"),
        ("{type: weaviate, mode: embedded, http_port: 1}", "http_port does not go with mode: embedded but with local"),
        ("{type: weaviate, is_secure: true}", "is_secure does not go with mode: local but with custom"),
        ("{type: weaviate, mode: embedded, version: latest}", "index.store.version"),
        ("{type: weaviate, namespace: mine}", "index.store.namespace"),
    ],
)
def test_weaviate_settings_that_do_not_fit_the_mode_are_refused(project_file, store, words):
    """A setting that would have no effect is a mistake, and the message says where it belongs."""
    with pytest.raises(ConfigError, match=words):
        a_job(project_file, store)


def test_weaviate_settings_of_another_version_are_told():
    """A bundle whose settings this version does not know is refused, not searched somewhere else."""
    with pytest.raises(ConfigError, match="settings of the index in Weaviate do not fit"):
        open_index("weaviate", {"address": "x"}, collection="Passages_x", dimensions=8)
