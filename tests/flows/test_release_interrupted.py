"""kill -9 in any stage: the next run ends where an undisturbed one does."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("kill_driver.py")

STAGES = {
    "ingest": ("pipelines.load:Loader.register_snapshot", 1),
    "index": ("steelyard.index.lance:LanceIndex.write", 5),
    "evaluate": ("steelyard.evaluate.answers:AnswerStore.add", 4),
    "tune": ("steelyard.tune.folder:seal", 2),
}


@pytest.mark.parametrize("stage", STAGES)
def test_release_killed_in_a_stage_ends_as_if_undisturbed(stage, make_project, undisturbed):
    """The digests of warehouse, index, answers and adapter equal those of the undisturbed run."""
    project = make_project()
    target, count = STAGES[stage]
    killed = project.command(target, str(count), "run", str(project.file), driver=DRIVER)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    report = project.run()
    assert report["digests"] == undisturbed[1]["digests"]
    assert report["promoted"] == undisturbed[1]["promoted"]
    work, whole = report["work"], undisturbed[1]["work"]
    redone = {"ingest": (), "index": ("documents_loaded",), "evaluate": ("passages_embedded", "documents_loaded")}
    for counter in redone.get(stage, ("passages_embedded", "documents_loaded")):
        assert work[counter] < whole[counter], f"{counter} was done again"
    if stage == "tune":
        assert 0 < work["steps_trained"] < whole["steps_trained"]
