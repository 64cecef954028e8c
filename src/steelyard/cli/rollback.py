"""`steelyard rollback`: one step back to the champion before.

Belongs here: the command. Not here: how it is checked and done (see `flows.stages.reviewing`).
"""

from __future__ import annotations

from typing import Annotated

import typer

from steelyard.cli.options import DEFAULT_FILE, AsJson, Overrides, Profile, ProjectArgument
from steelyard.cli.session import open_session

EXAMPLES = """\b
Examples:
  steelyard rollback
  steelyard rollback mine/steelyard.yaml --comment "wrong dates since this morning"

The version before is asked a few questions first. A second roll-back goes forward again."""


def rollback(
    *,
    file: ProjectArgument = DEFAULT_FILE,
    comment: Annotated[str, typer.Option(metavar="TEXT", help="Why; kept on record.")] = "",
    profile: Profile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Give `champion` back to the version before, once that one answers."""
    with open_session() as session:
        from flows.build import load_job
        from flows.stages.reviewing import undo
        from steelyard.cli.ask import check_was_run
        from steelyard.cli.review import who_is_asking

        job = load_job(file, profile=profile, overrides=overrides or (), progress=session.progress)
        check_was_run(job)
        by, vouched_by = who_is_asking(job)
        outcome = undo(job, by=by, vouched_by=vouched_by, reason=comment)
        session.end_progress()
        if as_json:
            session.print_json({"model": job.project.name, "champion": outcome.version, "reason": outcome.reason})
        else:
            session.console.print(f"champion is version {outcome.version} again: {outcome.reason}", soft_wrap=True)
