"""The audit record of a project, kept in its workspace with its newest hash in the registry.

Belongs here: writing entries, and noticing a champion that was moved without one. Not here: the record's form (see
`steelyard.audit`).
"""

from __future__ import annotations

import datetime as dt

from flows.build import Job, tracking
from steelyard import audit
from steelyard.audit import AuditRecord, Happening
from steelyard.promote.proposals import read_anchor, write_anchor


def history(job: Job) -> AuditRecord:
    """Return the audit record, checked against itself and against what the registry knows of it."""
    return audit.read(job.workspace.audit, anchor=read_anchor(job.project.name, tracking(job).uri))


def note(job: Job, happening: Happening) -> None:
    """Record an event once: what a killed process recorded already is not recorded again."""
    entries = audit.read(job.workspace.audit).entries
    about = [entry for entry in entries if (entry.model, entry.version) == (happening.model, happening.version)]
    if about and (about[-1].event, about[-1].evidence) == (happening.event, happening.evidence):
        return
    _append(job, happening)


def note_again(job: Job, happening: Happening) -> None:
    """Record an event that may happen twice in a row."""
    _append(job, happening)


def note_champion(job: Job, champion: str | None) -> None:
    """Record that the champion is another than the record says.

    Either a promotion was cut off before it was recorded, which its approval tells, or somebody moved the alias.
    """
    entries = audit.read(job.workspace.audit).entries
    known = audit.recorded_champion(entries, job.project.name)
    if champion == known or audit.unfinished_roll_back(entries, job.project.name) is not None:
        return
    last = entries[-1] if entries else None
    if last is not None and last.event == "approved" and last.version == champion:
        happening = Happening(
            "promoted", last.model, last.version, last.from_version, last.evidence, last.by, last.vouched_by,
            reason="recorded afterwards: the review was cut off",
        )  # fmt: skip
    else:
        happening = Happening(
            "moved outside", job.project.name, champion or "none", known,
            reason="the alias was moved by hand, or a move was cut off before it was recorded",
        )  # fmt: skip
    _append(job, happening)


def _append(job: Job, happening: Happening) -> None:
    audit.append(job.workspace.audit, happening, now=dt.datetime.now(dt.UTC))
    anchor = audit.read(job.workspace.audit).anchor
    write_anchor(job.project.name, tracking(job).uri, anchor=anchor)
