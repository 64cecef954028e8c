"""`steelyard history`: who moved which version to where, checked against tampering.

Belongs here: the command and how the record looks. Not here: the record (see `steelyard.audit`).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from steelyard.cli.options import DEFAULT_FILE, AsJson, Overrides, Profile, ProjectArgument
from steelyard.cli.session import Session, open_session

if TYPE_CHECKING:
    from steelyard.audit import AuditRecord, Entry

EXAMPLES = """\b
Examples:
  steelyard history
  steelyard history mine/steelyard.yaml --json

Ends with 3 when the record was changed, and says where."""

_TAMPERED = 3


def history(
    *,
    file: ProjectArgument = DEFAULT_FILE,
    profile: Profile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Print the audit record of a project and check its chain."""
    with open_session() as session:
        from flows.build import load_job
        from flows.stages.recording import history as read_history
        from steelyard.cli.ask import check_was_run

        job = load_job(file, profile=profile, overrides=overrides or (), progress=session.progress)
        check_was_run(job)
        record = read_history(job)
        if as_json:
            entries = [asdict(entry) for entry in record.entries]
            session.print_json({"model": job.project.name, "entries": entries, "faults": list(record.faults)})
        else:
            _show(session, record)
    if record.faults:
        raise typer.Exit(_TAMPERED)


def _show(session: Session, record: AuditRecord) -> None:
    for entry in record.entries:
        session.console.print(line_of(entry), soft_wrap=True)
    for fault in record.faults:
        session.console.print(f"tampered: {fault}", style="bold red", soft_wrap=True)
    if not record.faults:
        session.console.print(f"{len(record.entries)} entries, the chain holds.", style="green")


def line_of(entry: Entry) -> str:
    """Return one entry as a sentence."""
    from steelyard.audit import VOUCHERS

    came = f" after version {entry.from_version}" if entry.from_version else ""
    evidence = f", evidence {entry.evidence}" if entry.evidence else ""
    who = f"by {entry.by}" if entry.by else "by nobody named"
    reason = f": {entry.reason}" if entry.reason else ""
    return (
        f"{entry.number}. {entry.at} version {entry.version} {entry.event}{came}{evidence}, "
        f"{who} ({VOUCHERS[entry.vouched_by]}){reason}"
    )
