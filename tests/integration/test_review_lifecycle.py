"""From a proposed version to a moved champion: every way that a review can go, on a real registry, index and model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from reviewing import make_job, release, unreviewed

from flows.stages import reviewing
from flows.stages.recording import history
from flows.stages.reviewing import Reply, settle_reviews, undo
from steelyard import audit
from steelyard.errors import ConfigError, DataError
from steelyard.promote.proposals import champion_of, read_proposal, set_tags
from steelyard.tracking import open_client


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Path:
    """Return an empty tracking database: making one takes seconds, copying it does not."""
    file = tmp_path_factory.mktemp("tracking") / "mlflow.db"
    open_client(f"sqlite:///{file}")
    return file


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("STEELYARD_CACHE", str(tmp_path_factory.getbasetemp() / "models"))


@pytest.fixture
def job(tmp_path, database):
    """Return a project with one version that waits for review."""
    made = make_job(tmp_path, database)
    assert release(made, answers="first").alias == "challenger"
    return made


def tags_of(job, version):
    """Return a version's tags."""
    return open_client(job.tracking_uri).get_model_version("assistant", version).tags


def answer(job, version, review, **more):
    """Set the tag `review`, as the MLflow UI does, and let the flow's work follow."""
    set_tags("assistant", version, job.tracking_uri, tags={**more, "review": review})
    return settle_reviews(job)


def champion(job):
    """Return the version that is champion."""
    return champion_of("assistant", job.tracking_uri)


def test_review_approved_moves_champion_and_records_who_nobody_vouched_for(job):
    """A proposed version that is approved becomes champion; the record names the reviewer as far as it can."""
    proposed = tags_of(job, "1")
    assert (proposed["review"], proposed["verdict"], proposed["compared_with"]) == ("pending", "promote", "none")
    (outcome,) = answer(job, "1", "approved", **{"review.by": "ada"})
    assert (outcome.review, champion(job)) == ("promoted", "1")
    assert tags_of(job, "1")["review.outcome"].startswith("promoted: 2 smoke cases answered")
    events = [(entry.event, entry.by, entry.vouched_by) for entry in history(job).entries]
    assert events == [("proposed", None, "nobody"), ("approved", "ada", "tag"), ("promoted", "ada", "tag")]
    run = read_proposal("assistant", "1", job.tracking_uri).evidence_run
    files = {item.path for item in open_client(job.tracking_uri).list_artifacts(run, "reviews")}
    assert files == {"reviews/version-1.md"}


def test_review_approved_twice_promotes_once(job):
    """A second approval of a champion changes nothing and adds no entry."""
    answer(job, "1", "approved")
    before = history(job).entries
    (outcome,) = answer(job, "1", "approved")
    assert (outcome.review, champion(job)) == ("promoted", "1")
    assert history(job).entries == before
    assert settle_reviews(job) == []


def test_review_approved_while_another_is_approved_refuses_the_later_one(job):
    """Two were compared with the same champion: the first becomes champion, the second was not weighed against it."""
    release(job, answers="second")
    set_tags("assistant", "2", job.tracking_uri, tags={"review": "approved"})
    first, second = answer(job, "1", "approved")
    assert (first.review, second.review, champion(job)) == ("promoted", "refused", "1")
    assert "champion is now version 1" in second.reason
    assert tags_of(job, "2")["review"] == "refused"


def test_review_refused_version_is_proposed_again_by_the_next_release(job):
    """The next release weighs it against the new champion and puts it up again, without the old outcome."""
    release(job, answers="second")
    set_tags("assistant", "2", job.tracking_uri, tags={"review": "approved", "review.by": "ada"})
    answer(job, "1", "approved")
    release(job, answers="second")
    tags = tags_of(job, "2")
    assert (tags["review"], tags["compared_with"]) == ("pending", "1")
    assert not {"review.by", "review.outcome"} & set(tags)
    (outcome,) = answer(job, "2", "approved")
    assert (outcome.review, champion(job)) == ("promoted", "2")


def test_review_rejected_takes_challenger_away_and_stands(job):
    """A rejected version is nobody's challenger, and the same evidence does not bring it back."""
    (outcome,) = answer(job, "1", "rejected", **{"review.comment": "too few citations"})
    assert (outcome.review, champion(job)) == ("rejected", None)
    assert read_proposal("assistant", "1", job.tracking_uri).aliases == ()
    assert history(job).entries[-1].reason == "too few citations"
    release(job, answers="first")
    assert tags_of(job, "1")["review"] == "rejected"
    assert settle_reviews(job) == []


@pytest.mark.parametrize("edit", ["metric", "file", "tag", "tag and file"])
def test_review_of_edited_evidence_refused(job, edit):
    """What was reviewed is no longer there: an edited number, file or digest is seen."""
    client, run = open_client(job.tracking_uri), read_proposal("assistant", "1", job.tracking_uri).evidence_run
    if edit == "metric":
        client.log_metric(run, "rag/fact", 0.99)
    if "file" in edit:
        client.log_text(run, "All is well.", "verdict/verdict.md")
    more = {"evidence": reviewing.evidence_digest(run, job.tracking_uri) or ""} if edit == "tag and file" else {}
    more = {"evidence": "0" * 32} if edit == "tag" else more
    (outcome,) = answer(job, "1", "approved", **more)
    assert (outcome.review, champion(job)) == ("refused", None)
    assert "edited" in outcome.reason


def test_review_of_deleted_evidence_refused(job):
    """Evidence that nobody can read any more promotes nothing."""
    open_client(job.tracking_uri).delete_run(read_proposal("assistant", "1", job.tracking_uri).evidence_run)
    (outcome,) = answer(job, "1", "approved")
    assert (outcome.review, champion(job)) == ("refused", None)
    assert "gone" in outcome.reason


def test_review_after_champion_was_moved_by_hand_refused_and_recorded(job):
    """A champion set in the MLflow UI is on record as moved by nobody known."""
    release(job, answers="second")
    open_client(job.tracking_uri).set_registered_model_alias("assistant", "champion", "1")
    (outcome,) = answer(job, "2", "approved")
    assert outcome.review == "refused"
    moved = [entry for entry in history(job).entries if entry.event == "moved outside"]
    assert [(entry.version, entry.by) for entry in moved] == [("1", None)]


def test_review_with_vanished_index_snapshot_refused(job):
    """The documents that the evidence was gathered on are not there any more."""
    for file in job.workspace.index.glob("*.snapshots.json"):
        file.write_text(json.dumps({}))
    (outcome,) = answer(job, "1", "approved")
    assert (outcome.review, champion(job)) == ("refused", None)
    assert "snapshot" in outcome.reason


def test_review_with_vanished_model_files_refused(job):
    """A version that cannot be loaded as it would be served is not promoted."""
    shutil.rmtree(next((job.workspace.mlflow_artifacts / "models").iterdir()))
    (outcome,) = answer(job, "1", "approved")
    assert (outcome.review, champion(job)) == ("refused", None)
    assert "gone" in outcome.reason


def test_review_from_the_shell_records_the_shells_user(job):
    """The command's own reply is set as tags and settled in one step."""
    (outcome,) = settle_reviews(job, reply=Reply("1", "approved", "fine", "grace", "shell"))
    assert outcome.review == "promoted"
    assert tags_of(job, "1")["review.by"] == "grace"
    assert history(job).entries[-1].vouched_by == "shell"


def test_review_cut_off_between_move_and_record_is_recorded_afterwards(job, monkeypatch):
    """Killed right after the alias moved: the next review tells who approved it."""

    def die(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(reviewing, "_finish", die)
    real = reviewing._note
    monkeypatch.setattr(reviewing, "_note", lambda *a, **n: die() if a[2] == "promoted" else real(*a, **n))
    with pytest.raises(KeyboardInterrupt):
        answer(job, "1", "approved", **{"review.by": "ada"})
    monkeypatch.undo()
    settle_reviews(job)
    assert (champion(job), tags_of(job, "1")["review"]) == ("1", "promoted")
    assert [(entry.event, entry.by) for entry in history(job).entries[1:]] == [("approved", "ada"), ("promoted", "ada")]


def test_rollback_returns_to_previous_and_stands(job):
    """One step back is tested, recorded, and not undone by the next release; a second step goes forward."""
    answer(job, "1", "approved")
    release(job, answers="second")
    answer(job, "2", "approved")
    outcome = undo(job, by="ada", vouched_by="shell", reason="wrong dates")
    assert (outcome.version, champion(job)) == ("1", "1")
    assert "wrong dates; 2 smoke cases answered" in history(job).entries[-1].reason
    assert [entry.event for entry in history(job).entries[-2:]] == ["roll-back asked", "rolled back"]
    assert release(job, answers="second").alias == "challenger"
    assert champion(job) == "1"
    assert undo(job, by="ada", vouched_by="shell").version == "2"


def test_rollback_to_a_version_that_cannot_answer_refused(job):
    """The champion stays when the way back is broken."""
    answer(job, "1", "approved")
    with pytest.raises(ConfigError, match="no previous champion"):
        undo(job, by=None, vouched_by="nobody")
    release(job, answers="second")
    answer(job, "2", "approved")
    source = open_client(job.tracking_uri).get_model_version("assistant", "1").source
    shutil.rmtree(source.removeprefix("file://"))
    with pytest.raises(DataError, match="cannot be rolled back to"):
        undo(job, by=None, vouched_by="nobody")
    assert champion(job) == "2"


def test_release_without_review_promotes_and_leaves_a_rolled_back_winner_alone(tmp_path, database, monkeypatch):
    """`review: none` moves the champion itself; after a roll-back the same winner is put up once, then left alone."""
    job = unreviewed(make_job(tmp_path, database))
    assert release(job, answers="first").alias == "champion"
    assert release(job, answers="second").alias == "champion"
    assert tags_of(job, "2")["review"] == "not required"
    undo(job, by=None, vouched_by="nobody")
    assert release(job, answers="second").alias == "challenger"
    before = history(job).entries
    monkeypatch.setattr("flows.stages.promotion.register", None)  # would be called for a version that has to change
    assert release(job, answers="second").alias == "challenger"
    assert (champion(job), history(job).entries) == ("1", before)


def test_history_of_a_tampered_record_tells_where(job):
    """An edited reviewer, and a record that was cut off, are both found."""
    answer(job, "1", "approved", **{"review.by": "ada"})
    file = job.workspace.audit
    whole = file.read_text()
    file.write_text(whole.replace('"by":"ada"', '"by":"eve"', 1))
    assert history(job).faults == ("entry 2 was changed after it was written",)
    file.write_text("".join(whole.splitlines(keepends=True)[:1]))
    assert "cut off" in history(job).faults[0]
    file.write_text(whole)
    assert history(job).faults == ()
    assert audit.recorded_champion(history(job).entries, "assistant") == "1"
