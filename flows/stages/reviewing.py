"""A review carried out: from a reviewer's tag to a moved alias, with tags, an artifact and the audit record.

Belongs here: gathering what `steelyard.review` decides from, and doing what it decided. Not here: deciding.

Killed anywhere and called again, it ends in the same state: tags are set last, so what is not finished is looked at
again, and what is recorded is not recorded twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flows.build import Job, tracking
from flows.stages.recording import history, note, note_again, note_champion
from flows.stages.smoke import index_settings, smoke_test
from steelyard import audit
from steelyard.audit import Event, Happening, Voucher
from steelyard.errors import DataError
from steelyard.promote.aliases import make_champion, rollback, rollback_target
from steelyard.promote.bundle import bundle_from_json
from steelyard.promote.proposals import (
    BY_TAG,
    COMMENT_TAG,
    COMPARED_TAG,
    EVIDENCE_TAG,
    OUTCOME_TAG,
    REVIEW_TAG,
    ReviewedVersion,
    champion_of,
    drop_challenger,
    read_proposal,
    read_proposals,
    set_tags,
)
from steelyard.promote.seal import REVIEWS_FOLDER, evidence_digest, write_text
from steelyard.review.decision import Decision, Proposal, Situation, SnapshotState, decide, needs_a_look
from steelyard.review.smoke import SmokeResult, in_words, judge_smoke
from steelyard.serving.loading import read_model_file
from steelyard.serving.snapshots import snapshot_state


@dataclass(frozen=True, slots=True)
class Reply:
    """A reviewer's answer given in the shell, and how sure it is who that was."""

    version: str
    review: str
    comment: str | None
    by: str
    vouched_by: Voucher


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a version's review: the state that it is in now, and why."""

    version: str
    review: str
    reason: str
    champion: str | None


@dataclass(frozen=True, slots=True)
class Who:
    """Who answered, and who says so."""

    by: str | None
    vouched_by: Voucher


def settle_reviews(job: Job, *, reply: Reply | None = None, version: str | None = None) -> list[Outcome]:
    """Act on every answered review, or on one version's; `reply` is set as tags first."""
    uri, name = tracking(job).uri, job.project.name
    with job.workspace.moving_champion():
        note_champion(job, champion_of(name, uri))
        if reply is not None:
            _write_reply(job, reply)
            version = reply.version
        asked = [one for one in read_proposals(name, uri) if version in {None, one.version} and is_answered(one)]
        return [_settle(job, one, reply) for one in asked]


def is_answered(one: ReviewedVersion) -> bool:
    """Tell whether a version's tags ask for anything."""
    return needs_a_look(_proposal(one))


def undo(job: Job, *, by: str | None, vouched_by: Voucher, reason: str = "") -> Outcome:
    """Give `champion` back to the version before, once that one answers as it is served.

    Raises `ConfigError` when there is nothing to go back to and `DataError` when the version before does not answer.
    """
    uri, name = tracking(job).uri, job.project.name
    with job.workspace.moving_champion():
        champion = champion_of(name, uri)
        asked = audit.unfinished_roll_back(history(job).entries, name)
        if asked is not None and champion == asked.version:  # cut off between the move and its record
            rolled = asked.version
        else:
            note_champion(job, champion)
            target = rollback_target(name, uri)
            result = _test(job, read_proposal(name, target, uri))
            fault = judge_smoke(result, minimum=0.0)  # the facts may have changed since: answering is enough
            if fault is not None:
                raise DataError(
                    f"version {target} of {name} cannot be rolled back to: {fault}",
                    remedy="mend what is missing, or give the alias champion to another version in the MLflow UI",
                )
            reason = f"{reason}; {in_words(result)}" if reason else in_words(result)
            happening = Happening(
                "roll-back asked", name, target, champion, by=by, vouched_by=vouched_by, reason=reason
            )
            note_again(job, happening)
            asked = audit.read(job.workspace.audit).entries[-1]
            rolled = rollback(name, uri).version
        note_again(
            job,
            Happening("rolled back", name, rolled, asked.from_version, None, asked.by, asked.vouched_by, asked.reason),
        )
    return Outcome(rolled, "rolled back", asked.reason, rolled)


def _write_reply(job: Job, reply: Reply) -> None:
    read_proposal(job.project.name, reply.version, tracking(job).uri)
    comment = {} if reply.comment is None else {COMMENT_TAG: reply.comment}
    tags = {BY_TAG: reply.by, **comment, REVIEW_TAG: reply.review}
    set_tags(job.project.name, reply.version, tracking(job).uri, tags=tags)


def _settle(job: Job, one: ReviewedVersion, reply: Reply | None) -> Outcome:
    champion = champion_of(one.name, tracking(job).uri)
    decision = decide(_proposal(one), _situation(job, one, champion))
    who = _who(one, reply)
    if decision.action == "promote":
        return _promote(job, one, champion, who)
    if decision.action == "settle":
        return _finish(job, one, "promoted", decision.reason, champion)
    if decision.action == "reject":
        _note(job, one, "rejected", who, champion=champion, reason=one.tags.get(COMMENT_TAG, ""))
        drop_challenger(one.name, one.version, tracking(job).uri)
        return _finish(job, one, "rejected", decision.reason, champion)
    if decision.action == "ask again":
        return _finish(job, one, one.tags[REVIEW_TAG], decision.reason, champion)
    return _refuse(job, one, decision, champion, who)


def _promote(job: Job, one: ReviewedVersion, champion: str | None, who: Who) -> Outcome:
    _note(job, one, "approved", who, champion=champion, reason=one.tags.get(COMMENT_TAG, ""))
    result = _test(job, one)
    fault = judge_smoke(result, minimum=job.project.promotion.smoke_minimum)
    if fault is not None:
        return _refuse(job, one, Decision("refuse", fault), champion, who)
    make_champion(one.name, one.version, tracking(job).uri)
    reason = in_words(result)
    _note(job, one, "promoted", who, champion=champion, reason=reason)
    return _finish(job, one, "promoted", reason, one.version)


def _refuse(job: Job, one: ReviewedVersion, decision: Decision, champion: str | None, who: Who) -> Outcome:
    _note(job, one, "refused", who, champion=champion, reason=decision.reason)
    state = "promoted" if one.version == champion else "refused"
    return _finish(job, one, state, decision.reason, champion)


def _finish(job: Job, one: ReviewedVersion, state: str, reason: str, champion: str | None) -> Outcome:
    """Leave the outcome on the evidence's run and on the version; the state is set last."""
    uri = tracking(job).uri
    outcome = f"{state}: {reason}"
    if evidence_digest(one.evidence_run, uri) is not None:
        text = f"# {one.name} version {one.version}\n\n{outcome}\n\nChampion is version {champion or 'none'}.\n"
        write_text(one.evidence_run, f"{REVIEWS_FOLDER}/version-{one.version}.md", text, uri)
    set_tags(one.name, one.version, uri, tags={OUTCOME_TAG: outcome, REVIEW_TAG: state})
    return Outcome(one.version, state, reason, champion)


def _who(one: ReviewedVersion, reply: Reply | None) -> Who:
    if reply is not None:
        return Who(reply.by, reply.vouched_by)
    named = one.tags.get(BY_TAG)
    return Who(named, "tag" if named else "nobody")


def _note(job: Job, one: ReviewedVersion, event: Event, who: Who, *, champion: str | None, reason: str) -> None:
    note(
        job,
        Happening(event, one.name, one.version, champion, one.tags.get(EVIDENCE_TAG), who.by, who.vouched_by, reason),
    )


def _proposal(one: ReviewedVersion) -> Proposal:
    tags = one.tags
    return Proposal(
        version=one.version,
        review=tags[REVIEW_TAG].strip(),
        evidence=tags.get(EVIDENCE_TAG),
        compared_with=tags.get(COMPARED_TAG),
        is_settled=OUTCOME_TAG in tags,
    )


def _situation(job: Job, one: ReviewedVersion, champion: str | None) -> Situation:
    uri = tracking(job).uri
    return Situation(
        champion=champion,
        proposed_evidence=audit.proposed_evidence(history(job).entries, one.name, one.version),
        found_evidence=evidence_digest(one.evidence_run, uri),
        snapshot=_snapshot(job, one),
    )


def _snapshot(job: Job, one: ReviewedVersion) -> SnapshotState:
    try:
        bundle = bundle_from_json(read_model_file(one.source, "artifacts/bundle.json", tracking(job).uri))
    except DataError:
        return "not needed"  # the smoke test cannot load it either, and says why
    return snapshot_state(bundle, index_settings=index_settings(job))


def _test(job: Job, one: ReviewedVersion) -> SmokeResult:
    return smoke_test(job, version=one.version, evidence_run=one.evidence_run)


def review_table(versions: list[ReviewedVersion]) -> list[Mapping[str, str]]:
    """Return the rows that a list of reviews shows."""
    return [
        {
            "version": one.version,
            "review": one.tags[REVIEW_TAG],
            "aliases": ", ".join(one.aliases),
            "compared with": one.tags.get(COMPARED_TAG, ""),
            "by": one.tags.get(BY_TAG, ""),
            "outcome": one.tags.get(OUTCOME_TAG, ""),
        }
        for one in versions
    ]
