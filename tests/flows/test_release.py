"""The whole job on the smoke project: what it reports, what it does not do twice, what one change costs."""

from __future__ import annotations

import json
import re

import jsonschema
from projects import ROOT


def schema(name):
    """Return one of the documented output schemas."""
    return json.loads((ROOT / f"docs/schemas/{name}.schema.json").read_text())


def test_release_smoke_project_reports_every_stage(undisturbed):
    """The report has the documented form, four arms, and a promoted version."""
    _, report = undisturbed
    jsonschema.validate(report, schema("run"))
    assert set(report["scores"]) == {"base", "rag", "tuned", "hybrid"}
    assert report["promoted"] == "base"
    assert report["model_version"]["alias"] == "champion"
    assert report["work"]["steps_trained"] == 9  # 36 of 40 pairs, four a step
    assert all(report["digests"].values())


def test_release_repeated_run_does_no_work(undisturbed):
    """The same project again embeds, generates and trains nothing, and ends in the same state."""
    project, first = undisturbed
    second = project.run()
    assert set(second["work"].values()) == {0}
    for name in ("digests", "verdicts", "scores", "model_version", "run_id", "promoted"):
        assert second[name] == first[name], name


def test_plan_before_and_after_a_run_names_what_is_left(undisturbed, make_project):
    """A fresh project would run from ingest on; a finished one has nothing to do; neither plan changes anything."""
    fresh = make_project()
    before = fresh.command("plan", str(fresh.file), "--json")
    plan = json.loads(before.stdout)
    jsonschema.validate(plan, schema("plan"))
    assert plan["steps"][0]["action"] == "run"
    assert not (fresh.file.parent / ".steelyard").exists()
    after = json.loads(undisturbed[0].command("plan", str(undisturbed[0].file), "--json").stdout)
    assert {step["action"] for step in after["steps"]} == {"up to date"}


def test_ask_promoted_arm_answers(undisturbed):
    """The promoted arm answers from the shell, in the documented form."""
    project, _ = undisturbed
    done = project.command("ask", "Which patch of nginx 1.29 is the latest?", "--project", str(project.file), "--json")
    assert done.returncode == 0, done.stderr
    reply = json.loads(done.stdout)
    jsonschema.validate(reply, schema("ask"))
    assert reply["arm"] == "base"


def test_release_one_changed_page_redoes_only_what_depends_on_it(make_project):
    """One release's patch changes: its passage is embedded, cases that see it are answered, nothing is trained."""
    project = make_project()
    first = project.run()
    question = json.loads((project.file.parent / "cases.jsonl").read_text().splitlines()[0])
    page = project.file.parent / "pages/2026-08-22" / f"{question['documents'][0]}.md"
    text = page.read_text()
    old = question["expected"]["latest"]
    page.write_text(re.sub(rf"(?<![\d.]){re.escape(old)}(?![\d.])", f"{old}9", text))
    second = project.run()
    work = second["work"]
    assert work["documents_loaded"] == 1
    assert 1 <= work["passages_embedded"] <= 2
    assert 2 <= work["answers_generated"] < first["work"]["answers_generated"] / 4
    assert work["steps_trained"] == 0
    assert second["digests"]["index"] != first["digests"]["index"]
    assert second["digests"]["adapter"] == first["digests"]["adapter"]
