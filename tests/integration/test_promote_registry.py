import dataclasses
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from steelyard.errors import ConfigError, DataError, ServiceError
from steelyard.promote import aliases, registry
from steelyard.promote.aliases import make_champion, rollback
from steelyard.promote.bundle import Bundle, IndexReference, PinnedModel, PromptSettings, RetrievalSettings, TaskOutput
from steelyard.promote.evidence import Evidence, record_evidence
from steelyard.promote.registry import find_version, register, resolve_alias
from steelyard.records import Decoding, Score, Scorecard, Verdict
from steelyard.report import Digests
from steelyard.serving import MODEL_CODE
from steelyard.tracking import Tracking, open_client

SECRET = "s3cret-that-must-not-be-stored"  # noqa: S105 - looked for, never used


def a_bundle(name: str = "lifecycle", *, data: str = "w1", **changes) -> Bundle:
    """Return a bundle that is told apart by its name and its data."""
    bundle = Bundle(
        name=name,
        arm="rag",
        base_model=PinnedModel("random:tiny", None, "random:tiny#version=1", "float32"),
        prompt=PromptSettings("Answer.", ()),
        decoding=Decoding(max_new_tokens=8),
        output=TaskOutput("text"),
        digests=Digests(warehouse=data, index="i", answers="a", adapter=None),
        embedder=PinnedModel("hash:64", None, "hash:64", "float32"),
        retrieval=RetrievalSettings(top_k=2, alpha=0.5),
        index=IndexReference("weaviate", {"host": "127.0.0.1", "api_key_env": "WEAVIATE_API_KEY"}, "Passages_1", 1),
        steelyard_version="0.1.0",
    )
    return dataclasses.replace(bundle, **changes)


def some_evidence(fingerprint: str = "e1") -> Evidence:
    """Return the evidence of a small evaluation."""
    return Evidence(
        fingerprint=fingerprint,
        name="lifecycle, snapshot 1",
        scorecards={"rag": Scorecard("rag", {"fact": Score(0.5, 4)}, {"fresh": {"fact": Score(1.0, 2)}}, {})},
        verdicts={"rag": Verdict("rag", "promote", ("better than base",))},
        digests=Digests("w1", "i", "a", None),
        promoted="rag",
        parameters={"top_k": 2},
    )


@pytest.fixture(scope="module")
def tracking(tmp_path_factory) -> Tracking:
    """One tracking database for the module (making it takes seconds); tests use model names of their own.

    It is made where an earlier attempt was killed.
    """
    root = tmp_path_factory.mktemp("a tracking store #1")
    (root / ".mlflow.db.killed").write_text("half a database")
    return Tracking(uri=f"sqlite:///{root}/mlflow.db", experiment="lifecycle", artifacts=root / "artifacts")


@pytest.fixture(scope="module")
def run_id(tracking) -> str:
    """Return the MLflow run of that evidence."""
    return record_evidence(some_evidence(), tracking=tracking)


@pytest.fixture
def put(tracking, run_id):
    """Return `register` with everything that these tests do not vary."""

    def put(bundle: Bundle, alias: str = "champion", **changes):
        arguments = {"tracking": tracking, "run_id": run_id, "model_code": MODEL_CODE} | changes
        return register(bundle, alias=alias, **arguments)

    return put


def files_of(tracking: Tracking, name: str, version: str) -> list[Path]:
    """Return every file that a model version holds."""
    source = open_client(tracking.uri).get_model_version(name, version).source
    folder = Path(source.removeprefix("file://").replace("%20", " ").replace("%23", "#"))
    return [path for path in folder.rglob("*") if path.is_file()]


def test_record_evidence_twice_gives_one_finished_run(tracking, run_id):
    """The same evidence is written once, with metrics per arm, digests as tags and the table as files."""
    assert record_evidence(some_evidence(), tracking=tracking) == run_id
    client = open_client(tracking.uri)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"rag/fact": 0.5, "rag/fresh/fact": 1.0}
    assert run.data.params == {"top_k": "2"}
    assert run.data.tags.items() >= {"digest_warehouse": "w1", "promoted": "rag", "verdict_rag": "promote"}.items()
    assert {item.path for item in client.list_artifacts(run_id, "verdict")} == {
        "verdict/verdict.json",
        "verdict/verdict.md",
    }


def test_record_evidence_after_a_crash_continues_the_run(tracking, run_id):
    """A run that was begun and never finished is completed, not left beside a second one."""
    client = open_client(tracking.uri)
    experiment = client.get_run(run_id).info.experiment_id
    begun = client.create_run(experiment, tags={"steelyard_evidence": "crashed"}).info.run_id
    assert record_evidence(some_evidence("crashed"), tracking=tracking) == begun
    assert client.get_run(begun).data.metrics["rag/fact"] == 0.5
    assert client.get_run(begun).info.status == "FINISHED"


def test_register_same_bundle_twice_gives_one_version(put, tracking):
    """A bundle is registered once; another bundle becomes the next version."""
    first = put(a_bundle("once"))
    assert put(a_bundle("once")) == first
    assert put(a_bundle("once", data="w2")).version == "2"
    assert len(open_client(tracking.uri).search_model_versions("name = 'once'")) == 2


def test_register_version_holds_no_pickle_no_path_no_secret(put, tracking, monkeypatch):
    """What is stored is code, JSON and YAML; neither the key nor a folder of this machine is in it."""
    monkeypatch.setenv("WEAVIATE_API_KEY", SECRET)
    version = put(a_bundle("clean"), description="# Evidence", tags={"review": "required"})
    files = files_of(tracking, "clean", version.version)
    assert {path.suffix for path in files} <= {"", ".py", ".json", ".yaml", ".txt"}
    assert {"MLmodel", "served_model.py", "bundle.json"} <= {path.name for path in files}
    contents = {path.name: path.read_bytes() for path in files}
    here = (SECRET.encode(), str(Path.cwd()).encode(), os.environ["HOME"].encode() + b"/")
    assert [name for name, content in contents.items() if any(text in content for text in here)] == []
    assert all(not content.startswith(b"\x80") for content in contents.values())
    assert SECRET.encode() not in Path(tracking.uri.removeprefix("sqlite:///")).read_bytes()


def test_register_secret_in_settings_refused_before_anything_is_stored(put, tracking):
    """A bundle with a secret leaves no trace in the registry."""
    reference = IndexReference("weaviate", {"api_key": SECRET}, "Passages_1", 1)
    with pytest.raises(ConfigError, match=r"index\.settings\.api_key"):
        put(a_bundle("secretive", index=reference))
    assert open_client(tracking.uri).search_model_versions("name = 'secretive'") == []
    assert SECRET.encode() not in Path(tracking.uri.removeprefix("sqlite:///")).read_bytes()


def test_register_new_champion_keeps_previous_and_clears_challenger(put, tracking):
    """The way back is kept, and a challenger that won is no challenger any more."""
    put(a_bundle("throne"), "champion")
    put(a_bundle("throne", data="w2"), "challenger")
    make_champion("throne", "2", tracking.uri)
    assert resolve_alias("throne", "champion", tracking.uri).version == "2"
    assert resolve_alias("throne", "previous", tracking.uri).version == "1"
    with pytest.raises(ConfigError, match="throne has no challenger"):
        resolve_alias("throne", "challenger", tracking.uri)


def test_rollback_twice_swaps_there_and_back(put, tracking):
    """Rolling back makes the previous version champion; doing it again undoes it."""
    put(a_bundle("pendulum"))
    put(a_bundle("pendulum", data="w2"))
    assert rollback("pendulum", tracking.uri).version == "1"
    assert rollback("pendulum", tracking.uri).version == "2"


def test_register_after_rollback_asks_a_person(put, tracking):
    """A flow that runs again does not undo a roll-back: the version waits for a review, which then clears it."""
    put(a_bundle("undone"))
    put(a_bundle("undone", data="w2"))
    rollback("undone", tracking.uri)
    assert put(a_bundle("undone", data="w2")).alias == "challenger"
    assert resolve_alias("undone", "champion", tracking.uri).version == "1"
    open_client(tracking.uri).set_registered_model_alias("undone", "champion", "2")  # in the MLflow UI
    assert put(a_bundle("undone", data="w2")).alias == "champion"
    make_champion("undone", "2", tracking.uri)
    put(a_bundle("undone"))
    assert put(a_bundle("undone", data="w2")).alias == "champion"


def test_rollback_without_previous_says_so(put, tracking):
    """There is nothing behind a first champion."""
    put(a_bundle("first"))
    with pytest.raises(ConfigError, match="no previous champion"):
        rollback("first", tracking.uri)


@pytest.mark.parametrize("steps_done", range(6))  # all that a roll-back over a rolled-back version writes
def test_rollback_cut_off_anywhere_ends_the_same(put, tracking, monkeypatch, steps_done):
    """A roll-back that was killed after any of its steps is finished by the next one."""
    name = f"cut-{steps_done}"
    client = open_client(tracking.uri)
    put(a_bundle(name))
    put(a_bundle(name, data="w2"))
    client.set_model_version_tag(name, "1", aliases.ROLLED_BACK_TAG, "true")
    die_after(monkeypatch, steps_done)
    with pytest.raises(KeyboardInterrupt):
        rollback(name, tracking.uri)
    monkeypatch.undo()
    assert rollback(name, tracking.uri).version == "1"
    assert aliases.aliases_of(client, name) == {"champion": "1", "previous": "2"}
    marked = [aliases.ROLLED_BACK_TAG in client.get_model_version(name, version).tags for version in ("1", "2")]
    assert marked == [False, True]


WRITES = (
    "create_logged_model",
    "log_model_artifacts",
    "finalize_logged_model",
    "create_registered_model",
    "create_model_version",
    "set_registered_model_alias",
    "delete_registered_model_alias",
    "set_model_version_tag",
    "delete_model_version_tag",
)


def die_after(monkeypatch, writes: int) -> None:
    """Let the next client do so many writes and then stop as a killed process does: nothing of ours runs after."""
    left = [writes]

    def dying(method):
        def call(*args, **kwargs):
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            return method(*args, **kwargs)

        return call

    def open_dying_client(uri):
        client = open_client(uri)
        for write in WRITES:
            setattr(client, write, dying(getattr(client, write)))
        return client

    for module in (aliases, registry):
        monkeypatch.setattr(module, "open_client", open_dying_client)


@pytest.mark.parametrize("writes_done", range(7))  # all that registering and moving champion write
def test_register_cut_off_anywhere_ends_the_same(put, tracking, run_id, monkeypatch, writes_done):
    """Killed after any write, the next run ends with the same versions, aliases and models as an undisturbed one."""
    name = f"killed-{writes_done}"
    put(a_bundle(name))
    die_after(monkeypatch, writes_done)
    with pytest.raises(KeyboardInterrupt):
        put(a_bundle(name, data="w2"))
    monkeypatch.undo()
    assert put(a_bundle(name, data="w2")).version == "2"
    client = open_client(tracking.uri)
    assert aliases.aliases_of(client, name) == {"champion": "2", "previous": "1"}
    experiment = client.get_run(run_id).info.experiment_id
    models = client.search_logged_models([experiment], f"name = '{name}'")
    assert [str(model.status) for model in models] == ["READY", "READY"]
    assert any(path.name == "bundle.json" for path in files_of(tracking, name, "2"))


def test_find_version_sqlite_and_client_agree(put, tracking, monkeypatch):
    """The quick look into the database says what MLflow says, also about a deleted version."""
    from steelyard.promote.bundle import bundle_fingerprint

    put(a_bundle("sought"))
    put(a_bundle("sought", data="w2"), "challenger")
    put(a_bundle("sought", data="w3"), "challenger")
    client = open_client(tracking.uri)
    client.delete_model_version("sought", "2")
    fingerprints = [bundle_fingerprint(a_bundle("sought", data=data)) for data in ("w1", "w2", "w3", "w4")]
    quick = [find_version("sought", fingerprint, tracking.uri) for fingerprint in fingerprints]
    monkeypatch.setattr(registry, "find_in_sqlite", lambda *args, **kwargs: None)
    assert [find_version("sought", fingerprint, tracking.uri) for fingerprint in fingerprints] == quick
    assert [found and (found.version, found.alias) for found in quick] == [
        ("1", "champion"),
        None,
        ("3", "challenger"),
        None,
    ]


def test_find_version_quick_look_loads_no_mlflow(put, tracking):
    """A run with nothing to do does not pay for MLflow's five seconds of imports."""
    put(a_bundle("quick"))
    code = (
        "import sys\n"
        "from steelyard.promote.registry import find_version\n"
        "assert find_version('quick', 'none', sys.argv[1]) is None\n"
        "print([name for name in ('mlflow', 'pandas', 'sqlalchemy') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tracking.uri], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("left_out", ["adapter_config.json", "adapter_model.safetensors"])
def test_register_adapter_incomplete_refused(put, tmp_path, left_out):
    """A tuned arm without safetensors or settings is refused; a pickle beside them would not do."""
    for name in {"adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"} - {left_out}:
        (tmp_path / name).write_text("{}")
    bundle = a_bundle("incomplete", arm="hybrid", digests=Digests("w", "i", "a", "ad"))
    with pytest.raises(DataError, match=f"holds no {left_out}"):
        put(bundle, adapter_folder=tmp_path)


def test_register_adapter_pickles_stay_behind(put, tracking, tmp_path):
    """Only weights and settings are taken from a training folder, as they are."""
    (tmp_path / "adapter_config.json").write_text('{"r": 4}')
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    (tmp_path / "training_args.bin").write_bytes(b"\x80\x04")
    bundle = a_bundle("trained", arm="hybrid", digests=Digests("w", "i", "a", "ad"))
    files = {path.name: path for path in files_of(tracking, "trained", put(bundle, adapter_folder=tmp_path).version)}
    assert "training_args.bin" not in files
    assert files["adapter_model.safetensors"].read_bytes() == b"weights"
    assert files["adapter_config.json"].read_text() == '{"r": 4}'


def test_tracking_database_that_is_none_named_with_remedy(tmp_path):
    """A file that is no database is reported with its address and what to check."""
    (tmp_path / "mlflow.db").write_text("this is no database, it is a text of some length " * 40)
    with pytest.raises(ServiceError, match=r"MLflow at sqlite:///.*mlflow\.db.*\n.*To fix"):
        open_client(f"sqlite:///{tmp_path}/mlflow.db").search_experiments()


def test_tracking_database_half_made_is_not_there(tmp_path, monkeypatch):
    """A process killed while MLflow makes its tables leaves no database: half of one would never open again."""
    import mlflow

    class Killed(mlflow.MlflowClient):
        def __init__(self, tracking_uri, registry_uri):
            with sqlite3.connect(tracking_uri.removeprefix("sqlite:///")) as connection:
                connection.execute("CREATE TABLE experiments (half_made INTEGER)")
            raise KeyboardInterrupt

    monkeypatch.setattr(mlflow, "MlflowClient", Killed)
    with pytest.raises(KeyboardInterrupt):
        open_client(f"sqlite:///{tmp_path}/mlflow.db")
    assert not (tmp_path / "mlflow.db").exists()


def test_tracking_database_leftovers_of_a_killed_attempt_removed(tracking, run_id):
    """The next attempt makes the whole database and clears away what the killed one left."""
    folder = Path(tracking.uri.removeprefix("sqlite:///")).parent
    assert sorted(path.name for path in folder.iterdir()) == ["artifacts", "mlflow.db"]
