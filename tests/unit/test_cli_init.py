"""`steelyard init`: a project of one's own."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from steelyard.cli.app import run_program
from steelyard.errors import ConfigError
from steelyard.scaffold import project_name, scaffold

FILES = {"README.md", "cases.csv", "docs/opening-hours.md", ".gitignore", "steelyard.yaml", "steelyard.schema.json"}


def test_init_writes_a_whole_project(tmp_path, capfd):
    """Everything that a first run needs is there, and no placeholder is left."""
    folder = tmp_path / "My Help Desk"
    assert run_program(["init", str(folder), "--json"]) == 0
    value = json.loads(capfd.readouterr().out)
    assert (value["name"], set(value["written"]), value["kept"]) == ("my-help-desk", FILES, [])
    assert {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()} == FILES
    assert [file for file in FILES if "{{" in (folder / file).read_text(encoding="utf-8")] == []
    assert "name: my-help-desk\n" in (folder / "steelyard.yaml").read_text(encoding="utf-8")


def test_init_tells_what_comes_next(tmp_path, capfd):
    """The last lines are commands to type."""
    assert run_program(["init", str(tmp_path / "a b")]) == 0
    shown = capfd.readouterr().out
    assert "wrote " in shown
    assert f"cd '{tmp_path / 'a b'}' && steelyard plan && steelyard run" in shown


def test_init_sample_cases_and_pages_belong_together(tmp_path):
    """The sample's answer stands in the page that the sample names."""
    scaffold(tmp_path / "mine")
    with (tmp_path / "mine" / "cases.csv").open(encoding="utf-8", newline="") as file:
        cases = list(csv.DictReader(file))
    assert [case["kind"] for case in cases] == ["fact", "unanswerable"]
    page = (tmp_path / "mine" / "docs" / f"{cases[0]['documents']}.md").read_text(encoding="utf-8")
    assert cases[0]["answer"] in page


def test_init_sample_is_read_whole_by_the_readers(tmp_path):
    """What init writes is what ingestion takes: nothing of it is refused."""
    from flows.build import ingest_spec, load_job
    from pipelines.documents import read_documents
    from pipelines.questions import read_cases
    from steelyard.records import Case, Document

    scaffold(tmp_path / "mine")
    spec = ingest_spec(load_job(tmp_path / "mine" / "steelyard.yaml"))
    documents = list(
        read_documents([(source, source.path) for source in spec.documents], max_bytes=spec.limits.max_document_bytes)
    )
    cases = list(read_cases(spec.cases, max_bytes=spec.limits.max_document_bytes))
    assert [type(item) for item in documents] == [Document]
    assert [type(item) for item in cases] == [Case, Case]
    assert cases[0].documents == (documents[0].id,)


def test_init_refuses_a_folder_that_holds_something(tmp_path, capfd):
    """Nothing is written among somebody's files unasked."""
    (tmp_path / "notes.txt").write_text("mine")
    assert run_program(["init", str(tmp_path)]) == 2
    assert "it holds notes.txt" in capfd.readouterr().err
    assert [item.name for item in tmp_path.iterdir()] == ["notes.txt"]


def test_init_forced_writes_only_what_is_missing(tmp_path, capfd):
    """With --force, what is there stays as it is, byte for byte."""
    (tmp_path / "steelyard.yaml").write_text("name: kept\n")
    assert run_program(["init", str(tmp_path), "--force", "--json"]) == 0
    value = json.loads(capfd.readouterr().out)
    assert (set(value["written"]), value["kept"]) == (FILES - {"steelyard.yaml"}, ["steelyard.yaml"])
    assert (tmp_path / "steelyard.yaml").read_text() == "name: kept\n"


def test_init_in_an_empty_folder_needs_no_force(tmp_path):
    """An empty folder is as good as none."""
    assert set(scaffold(tmp_path).written) == FILES


def test_init_refuses_a_file(tmp_path):
    """A file cannot become a folder."""
    (tmp_path / "mine").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        scaffold(tmp_path / "mine")


@pytest.mark.parametrize(
    ("folder", "name"),
    [("mine", "mine"), ("My Data_2", "my-data-2"), ("2024", "project-2024"), ("ÜÄ", "project"), ("--a--", "a")],
)
def test_project_name_is_one_that_the_project_file_allows(folder, name, tmp_path):
    """Any folder's name gives a name that loads."""
    assert project_name(Path(tmp_path / folder)) == name
    scaffold(tmp_path / folder)
    from steelyard.config.load import load_project

    assert load_project(tmp_path / folder / "steelyard.yaml").project.name == name
