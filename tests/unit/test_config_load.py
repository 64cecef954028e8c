"""Reading project files: every error at once with its place, profiles, overrides, secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from steelyard.config.load import load_project, resolve_secret
from steelyard.errors import ConfigError

SOUND = """\
name: mine
models:
  generator: {source: "random:tiny"}
  embedder: {source: "hash:64"}
sources:
  documents:
    - {name: docs, path: docs}
  cases: {path: cases.csv}
task:
  instructions: Answer.
"""


@pytest.fixture
def project_file(tmp_path) -> Path:
    """Return a sound project file."""
    file = tmp_path / "steelyard.yaml"
    file.write_text(SOUND, encoding="utf-8")
    return file


def rewritten(file: Path, old: str, new: str) -> Path:
    """Replace a part of the file that must be there."""
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    return file


def problems_of(file: Path, **options) -> str:
    """Return the message of the `ConfigError` that loading raises."""
    with pytest.raises(ConfigError) as caught:
        load_project(file, **options)
    return str(caught.value)


def test_load_sound_file_gives_defaults_and_the_folder(project_file, tmp_path):
    """What is left out has a default, and relative paths start beside the file."""
    loaded = load_project(project_file)
    assert loaded.project.index.store.type == "lancedb"
    assert loaded.project.validation.pairs.minimum == 500
    assert loaded.folder == tmp_path.resolve()


def test_load_project_is_frozen(project_file):
    """Settings do not change after they were checked."""
    project = load_project(project_file).project
    with pytest.raises(ValueError, match="frozen"):
        project.name = "other"


def test_load_several_errors_come_together_with_file_and_line(project_file):
    """One report names every error, each with its line, and not only the first."""
    rewritten(project_file, "name: mine", "name: My Project")
    rewritten(project_file, "path: docs}", "path: docs, formt: html}")
    rewritten(project_file, "task:\n  instructions: Answer.", "task: {}\ngate: {objective: {margin: 2}}")
    message = problems_of(project_file)
    assert message.splitlines()[0] == f"{project_file}: 4 errors"
    for line, key in ((1, "name"), (7, "sources.documents.0.formt"), (9, "task"), (10, "gate.objective.margin")):
        assert f"{project_file}:{line}: {key}" in message


def test_load_unknown_key_suggests_the_nearest_known_one(project_file):
    """A typing error is answered with the word that was meant."""
    rewritten(project_file, "path: docs}", "path: docs, formt: html}")
    assert "unknown key; did you mean format?" in problems_of(project_file)


def test_load_unknown_key_unlike_any_lists_what_is_known(project_file):
    """Where nothing is near, the message lists the keys."""
    rewritten(project_file, "instructions: Answer.", "instructions: Answer.\n  zzz: 1")
    assert "task.zzz: unknown key; expected one of instructions, output" in problems_of(project_file)


def test_load_unknown_store_lists_the_stores(project_file):
    """A store that is not there is refused with the ones that are."""
    project_file.write_text(SOUND + "index:\n  store: {type: faiss}\n", encoding="utf-8")
    message = problems_of(project_file)
    assert f"{project_file}:12: index.store" in message
    assert "'faiss'" in message
    assert "'lancedb', 'weaviate'" in message


def test_load_key_written_twice_is_refused(project_file):
    """YAML would silently take the last one."""
    project_file.write_text(SOUND + "name: again\n", encoding="utf-8")
    assert f"{project_file}:11: name: written twice" in problems_of(project_file)


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("name: [mine\n", ":2:", "not YAML"),
        ("- a\n- b\n", ":1:", "expected a mapping"),
        ("", "", "name"),
    ],
)
def test_load_what_is_no_mapping_is_refused(tmp_path, text, where, what):
    """Broken YAML, a list and an empty file are each told for what they are."""
    file = tmp_path / "steelyard.yaml"
    file.write_text(text, encoding="utf-8")
    message = problems_of(file)
    assert f"{file}{where}" in message
    assert what in message


def test_load_missing_file_names_init(tmp_path):
    """Who has no project file yet is told how to get one."""
    assert "steelyard init" in problems_of(tmp_path / "steelyard.yaml")


def test_load_file_that_is_not_utf8_is_refused(tmp_path):
    """Another encoding is an error of the file, not a traceback."""
    file = tmp_path / "steelyard.yaml"
    file.write_bytes(b"name: caf\xe9\n")
    assert "YAML in UTF-8" in problems_of(file)


def test_load_pypi_model_without_hash_is_refused(project_file):
    """What is downloaded is pinned."""
    rewritten(project_file, '"random:tiny"', "pypi:a==1/b.gguf")
    assert "needs sha256" in problems_of(project_file)


def test_load_profile_lies_over_the_file_and_keeps_the_rest(project_file):
    """A profile changes what it names, and its errors carry its own name and line."""
    profile = project_file.with_name("steelyard.production.yaml")
    profile.write_text("tune:\n  lora: {rank: 64}\n", encoding="utf-8")
    project = load_project(project_file, profile="production").project
    assert project.tune.lora.rank == 64
    assert project.tune.lora.alpha == load_project(project_file).project.tune.lora.alpha
    profile.write_text("tune:\n  lora: {rank: 0}\n", encoding="utf-8")
    assert f"{profile}:2: tune.lora.rank" in problems_of(project_file, profile="production")


def test_load_unknown_profile_lists_those_that_are_there(project_file):
    """A profile's name is checked like a key."""
    project_file.with_name("steelyard.production.yaml").write_text("name: other\n", encoding="utf-8")
    message = problems_of(project_file, profile="prod")
    assert "steelyard.prod.yaml does not exist" in message
    assert "profiles here are production" in message


def test_load_set_changes_one_setting_also_in_a_list(project_file):
    """Values are YAML, and a number in the path is a place in a list."""
    project = load_project(
        project_file, overrides=["tune.epochs=3", "sources.documents.0.format=html", "decide={tune: never}"]
    ).project
    assert (project.tune.epochs, project.sources.documents[0].format, project.decide.tune) == (3, "html", "never")


def test_load_set_beats_the_profile(project_file):
    """The words of the command come last."""
    project_file.with_name("steelyard.production.yaml").write_text("tune: {epochs: 5}\n", encoding="utf-8")
    loaded = load_project(project_file, profile="production", overrides=["tune.epochs=7"])
    assert loaded.project.tune.epochs == 7


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("tune.epochs", "expected a.b=value"),
        ("tune..epochs=1", "expected a.b=value"),
        ("tune.epochs=[1", "not YAML"),
        ("name.first=1", "what holds it is not a mapping"),
        ("sources.documents.7.path=x", "is not there"),
        ("tune.epoch=1", "did you mean epochs?"),
        ("tune.epochs=-1", "--set tune.epochs=-1: tune.epochs"),
    ],
)
def test_load_bad_override_is_named(project_file, override, what):
    """An override that says nothing, or nothing sound, is quoted in the message."""
    message = problems_of(project_file, overrides=[override])
    assert what in message
    assert f"--set {override}" in message


SECRET = "index:\n  store: {type: weaviate, mode: cloud, host: h, api_key: '${WEAVIATE_KEY}'}\n"  # noqa: S105 - the name of a variable


def test_load_secret_stays_a_reference(project_file):
    """The value of a secret never enters the settings, from which fingerprints and reports are made."""
    project_file.write_text(SOUND + SECRET, encoding="utf-8")
    project = load_project(project_file, environment={"WEAVIATE_KEY": "hush"}).project
    assert "hush" not in project.model_dump_json()
    assert resolve_secret(project.index.store.api_key, {"WEAVIATE_KEY": "hush"}) == "hush"


def test_load_secret_that_is_not_set_is_told_with_its_line(project_file):
    """A missing variable is found before any work starts."""
    project_file.write_text(SOUND + SECRET, encoding="utf-8")
    message = problems_of(project_file, environment={})
    assert f"{project_file}:12: index.store.api_key: the environment variable WEAVIATE_KEY is not set" in message


def test_load_secret_written_out_is_refused(project_file):
    """A key in the file would end in version control."""
    project_file.write_text(SOUND + SECRET.replace("'${WEAVIATE_KEY}'", "hush"), encoding="utf-8")
    assert "a secret is written as ${NAME}" in problems_of(project_file)


def test_load_interpolation_outside_secrets_is_refused(project_file):
    """What changes a result stands in the file, not in somebody's environment."""
    rewritten(project_file, "path: docs", "path: '${HOME}/docs'")
    assert "${HOME} is for secrets only" in problems_of(project_file)


def test_resolve_secret_not_set_names_the_variable():
    """Also when the variable went away after loading."""
    with pytest.raises(ConfigError, match="WEAVIATE_KEY is not set"):
        resolve_secret("${WEAVIATE_KEY}", {})


def test_load_pairs_as_of_needs_a_snapshot_of_that_date(project_file):
    """Pairs of a date without documents of that date would be trained on the wrong context."""
    rewritten(project_file, "cases: {path", "pairs: {path: p.jsonl, as_of: 2025-01-01}\n  cases: {path")
    message = problems_of(project_file)
    assert "sources.pairs.as_of is 2025-01-01" in message
    assert "no dated snapshots" in message


@pytest.mark.parametrize(
    ("gate", "told"),
    [
        ("guard_rails: [{metric: accuracy, minimum: 0.5}]", "gate.guard_rails.0.metric"),
        ("guard_rails: [{metric: format, minimum: 0.5, drop: 0.1}]", "exactly one of minimum, maximum, drop and rise"),
        ("budgets: [{metric: format, maximum: 1}]", "gate.budgets.0.metric"),
        ("preference: [rag, base]", "each of base, rag, tuned and hybrid once"),
        ("power: {difference: 0.04}", "no number of cases shows a difference that does not count"),
    ],
)
def test_load_gate_rule_that_cannot_be_kept_is_refused(project_file, gate, told):
    """A rule on an unknown metric, or one that contradicts itself, is an error of the file and names its line."""
    message = problems_of(rewritten(project_file, "name: mine", f"name: mine\ngate: {{{gate}}}"))
    assert told in message
    assert f"{project_file}:2" in message
