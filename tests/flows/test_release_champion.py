"""The champion as the baseline of a run: recognised among the arms, asked where it is none of them, or reported."""

from __future__ import annotations

import shutil

import pytest


@pytest.fixture(scope="module")
def promoted(make_project):
    """Return a project whose champion is its base arm with one worked example, and the report of that run."""
    project = make_project()
    return project, project.run("--set", "decide.tune=never")


def test_release_first_run_measures_from_rag_and_tells_power_first(promoted):
    """Without a champion RAG is the baseline; too few cases are a warning, and the run goes on."""
    _, first = promoted
    assert first["baseline"] == "rag"
    assert not any(comparison["baseline"] == "champion" for comparison in first["comparisons"])
    assert any("this gate can see" in warning for warning in first["warnings"])
    assert first["power"]["cases"] == sum(first["comparisons"][0][part] for part in ("wins", "losses", "ties"))


def test_release_changed_arms_are_compared_with_the_champion(promoted):
    """Arms with another prompt are none of the champion: it answers the cases itself, and nobody may be worse."""
    project, _ = promoted
    words = ("--set", "decide.tune=never", "--set", "task.instructions=Answer in one word.")
    second = project.run(*words)
    assert second["baseline"] == "champion"
    against = [comparison for comparison in second["comparisons"] if comparison["baseline"] == "champion"]
    assert {comparison["arm"] for comparison in against} == {"base", "rag"}
    rules = {rule["name"] for rule in second["verdicts"]["base"]["rules"]}
    assert "not worse than the champion" in rules
    again = project.run(*words)
    assert set(again["work"].values()) == {0}
    assert again["verdicts"] == second["verdicts"]
    assert again["run_id"] == second["run_id"]


def test_release_champion_whose_files_are_gone_is_reported(make_project):
    """RAG takes the place of a champion that cannot be opened, and the report says why."""
    project = make_project()
    project.run("--set", "decide.tune=never")
    workspace = project.file.parent / ".steelyard/lifecycle-smoke"
    shutil.rmtree(workspace / "mlflow-artifacts/models")
    shutil.rmtree(workspace / "ledger/bundle", ignore_errors=True)
    report = project.run("--set", "decide.tune=never", "--set", "task.instructions=Answer in one word.")
    assert report["baseline"] == "rag"
    assert any("cannot be asked, RAG is the baseline" in warning for warning in report["warnings"])


def test_release_required_power_refuses_before_anything_is_generated(make_project):
    """With gate.require_power too few cases end the run with the gate's exit code and a number of cases."""
    project = make_project()
    done = project.command("run", str(project.file), "--json", "--set", "gate.require_power=true")
    assert done.returncode == 5, done.stderr
    assert "gate.require_power asks for 15 points" in done.stdout
    assert not (project.file.parent / ".steelyard/lifecycle-smoke/answers.sqlite").exists()
