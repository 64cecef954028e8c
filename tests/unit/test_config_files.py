"""The project files and schemas that are committed: they load, and they are current."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from steelyard.config.load import load_project
from steelyard.config.models import GateSettings
from steelyard.config.schema import project_schema_text
from steelyard.scaffold import scaffold

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
FILES = sorted(file for file in CONFIGS.rglob("*.y*ml") if ".steelyard" not in file.parts)  # results of runs lie there


def base_and_profile(file: Path) -> tuple[Path, str | None]:
    """Return the project file that `file` is a profile of and the profile's name, or the file itself."""
    stem, _, profile = file.stem.rpartition(".")
    base = file.with_name(f"{stem}{file.suffix}")
    return (base, profile) if stem and base.is_file() else (file, None)


def test_configs_hold_project_files():
    """The tests below look at something."""
    assert {"steelyard.yaml", "smoke.yaml"} <= {file.name for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CONFIGS)))
def test_config_file_loads(file):
    """Every YAML below configs/ is a sound project, or a profile of one."""
    base, profile = base_and_profile(file)
    load_project(base, profile=profile, environment=_AnyVariable())


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CONFIGS)))
def test_config_file_names_a_schema_that_is_there(file):
    """Editors find the schema from the file's first line, and accept what is in the file."""
    first = file.read_text(encoding="utf-8").splitlines()[0]
    prefix = "# yaml-language-server: $schema="
    assert first.startswith(prefix)
    schema = json.loads((file.parent / first.removeprefix(prefix)).read_text(encoding="utf-8"))
    if base_and_profile(file)[1] is None:
        jsonschema.Draft202012Validator(schema, format_checker=None).validate(_with_dates_as_text(file))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CONFIGS)))
def test_config_file_names_data_that_is_there(file):
    """What a committed project reads is committed too."""
    base, profile = base_and_profile(file)
    sources = load_project(base, profile=profile, environment=_AnyVariable()).project.sources
    paths = [item.path for source in sources.documents for item in (*source.snapshots, source) if item.path]
    paths += [source.path for source in (sources.pairs, sources.cases) if source is not None]
    assert paths
    assert [path for path in paths if not list(base.parent.glob(path))] == []


def test_schema_file_is_current():
    """The committed schema is the one that the models give; `make schema` writes it again."""
    assert (CONFIGS / "steelyard.schema.json").read_text(encoding="utf-8") == project_schema_text()


def test_schema_tells_every_field():
    """An editor shows what a field is for: each has a description or a type of its own that has one."""
    schema = json.loads(project_schema_text())
    models = [schema, *schema["$defs"].values()]
    assert [model.get("title") for model in models if not model.get("description")] == []
    jsonschema.Draft202012Validator.check_schema(schema)


def test_new_project_loads_and_fits_its_schema(tmp_path):
    """What `init` writes is sound, and its schema lies where its first line says."""
    scaffold(tmp_path / "mine")
    file = tmp_path / "mine" / "steelyard.yaml"
    project = load_project(file).project
    assert project.name == "mine"
    assert project.sources.pairs is None
    schema = json.loads((tmp_path / "mine" / "steelyard.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(_with_dates_as_text(file))
    assert file.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=steelyard.schema.json\n")


class _AnyVariable(dict):
    """An environment in which every variable is set: no committed file needs one of ours."""

    def __contains__(self, name: object) -> bool:
        return True


class _TextDates(yaml.SafeLoader):
    """YAML as JSON sees it: dates stay text."""


_TextDates.yaml_implicit_resolvers = {
    key: [item for item in items if item[0] != "tag:yaml.org,2002:timestamp"]
    for key, items in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _with_dates_as_text(file: Path):
    return yaml.load(file.read_text(encoding="utf-8"), Loader=_TextDates)  # noqa: S506 - a SafeLoader


def test_gate_page_shows_settings_that_load():
    """The YAML of the page about the gate is a gate that a project file may hold."""
    page = (CONFIGS.parent / "docs/how-to/gate.md").read_text(encoding="utf-8")
    block = re.search(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    settings = GateSettings.model_validate(yaml.safe_load(block[1])["gate"])
    assert len(settings.guard_rails) == 4
    assert settings.model_copy(update={"guard_rails": (), "budgets": (), "cheaper_wins": None}) == GateSettings()
