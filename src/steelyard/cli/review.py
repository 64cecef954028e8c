"""`steelyard review`: what waits for approval, and answering it from the shell.

Belongs here: the commands and how a review looks. Not here: what follows from an answer (see `steelyard.review`).
"""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steelyard.cli.options import DEFAULT_FILE, AsJson, Overrides, Profile, ProjectOption
from steelyard.cli.session import Session, open_session

if TYPE_CHECKING:
    from flows.build import Job
    from flows.stages.reviewing import Outcome
    from steelyard.promote.proposals import ReviewedVersion

EXAMPLES = """\b
Examples:
  steelyard review list                                   what waits, and what came of the others
  steelyard review show 3                                 evidence and tags of one version
  steelyard review approve 3 --comment "read the report"
  steelyard review reject 3 --comment "cites too little"

The same is done in the MLflow UI by setting the tag `review` of a version."""

app = typer.Typer(
    help="See what waits for approval, and answer it.",
    epilog=EXAMPLES,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Version = Annotated[str, typer.Argument(metavar="VERSION", help="The version's number.")]
Comment = Annotated[str | None, typer.Option(metavar="TEXT", help="Why; kept with the version and on record.")]
_STYLES = {"pending": "yellow", "promoted": "green", "refused": "red", "rejected": "red"}


@app.command("list", short_help="What waits, and what came of the others.")
def list_reviews(
    *,
    file: ProjectOption = DEFAULT_FILE,
    profile: Profile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """List the versions that were put up for review, oldest first."""
    with open_session() as session:
        from flows.build import tracking
        from flows.stages.reviewing import review_table
        from steelyard.promote.proposals import read_proposals

        job = _job(session, file, profile, overrides)
        rows = review_table(read_proposals(job.project.name, tracking(job).uri))
        if as_json:
            session.print_json({"model": job.project.name, "reviews": rows})
        else:
            _show_rows(session, job.project.name, rows)


@app.command("show", short_help="Evidence and tags of one version.")
def show_review(
    *,
    version: Version,
    file: ProjectOption = DEFAULT_FILE,
    profile: Profile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show what a reviewer reads about one version."""
    with open_session() as session:
        from flows.build import tracking
        from steelyard.promote.proposals import read_proposal

        job = _job(session, file, profile, overrides)
        one = read_proposal(job.project.name, version, tracking(job).uri)
        if as_json:
            session.print_json(_record(one))
        else:
            _show_one(session, one)


@app.command("approve", short_help="Approve a version: it becomes champion if nothing has changed.")
def approve(
    *,
    version: Version,
    comment: Comment = None,
    file: ProjectOption = DEFAULT_FILE,
    profile: Profile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Approve a version; the same checks follow as after an approval in the MLflow UI."""
    _answer("approved", version, comment, file, profile, overrides, as_json=as_json)


@app.command("reject", short_help="Reject a version: it is challenger no more.")
def reject(
    *,
    version: Version,
    comment: Comment = None,
    file: ProjectOption = DEFAULT_FILE,
    profile: Profile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Reject a version; it is not proposed again on the same evidence."""
    _answer("rejected", version, comment, file, profile, overrides, as_json=as_json)


def _answer(  # noqa: PLR0917 - the options of two commands, passed on
    review: str, version: str, comment: str | None, file: Any, profile: Any, overrides: Any, *, as_json: bool
) -> None:
    with open_session() as session:
        from flows.stages.reviewing import Reply, settle_reviews

        job = _job(session, file, profile, overrides)
        by, vouched_by = who_is_asking(job)
        session.progress.note(f"checking {job.project.name} version {version}")
        outcomes = settle_reviews(job, reply=Reply(version, review, comment, by, vouched_by))
        session.end_progress()
        if as_json:
            session.print_json({"model": job.project.name, "outcomes": [_outcome_record(one) for one in outcomes]})
        else:
            _show_outcomes(session, job.project.name, outcomes)
    if any(one.review == "refused" for one in outcomes):
        raise typer.Exit(_REFUSED)


_REFUSED = 3  # as for data that is refused


def who_is_asking(job: Job) -> tuple[str, Any]:
    """Return the user at the keyboard, and who vouches: the MLflow server that checked a password, or nobody."""
    from flows.build import tracking
    from steelyard.promote.account import account_of

    account = account_of(tracking(job).uri)
    return (account, "account") if account else (getpass.getuser(), "shell")


def _job(session: Session, file: Any, profile: Any, overrides: Any) -> Job:
    from flows.build import load_job
    from steelyard.cli.ask import check_was_run

    job = load_job(file, profile=profile, overrides=overrides or (), progress=session.progress)
    check_was_run(job)
    return job


def _record(one: ReviewedVersion) -> dict[str, Any]:
    return {
        "model": one.name,
        "version": one.version,
        "aliases": list(one.aliases),
        "evidence_run": one.evidence_run,
        "tags": dict(one.tags),
        "description": one.description,
    }


def _outcome_record(one: Outcome) -> dict[str, Any]:
    return {"version": one.version, "review": one.review, "reason": one.reason, "champion": one.champion}


def _show_rows(session: Session, name: str, rows: Any) -> None:
    from rich.table import Table
    from rich.text import Text

    if not rows:
        session.console.print(f"No version of {name} was put up for review yet.")
        return
    table = Table(*rows[0], header_style="bold")
    for row in rows:
        cells = {**row, "review": Text(row["review"], style=_STYLES.get(row["review"], ""))}
        table.add_row(*cells.values())
    session.console.print(table)


def _show_one(session: Session, one: ReviewedVersion) -> None:
    console = session.console
    aliases = f" ({', '.join(one.aliases)})" if one.aliases else ""
    console.print(f"{one.name} version {one.version}{aliases}", style="bold")
    for name in sorted(one.tags):
        console.print(f"  {name}: {one.tags[name]}", soft_wrap=True)
    console.print(f"  run of the evidence: {one.evidence_run}\n")
    console.print(one.description, soft_wrap=True)


def _show_outcomes(session: Session, name: str, outcomes: list[Outcome]) -> None:
    for one in outcomes:
        session.console.print(f"{name} version {one.version}: {one.review} - {one.reason}", soft_wrap=True)
        session.console.print(f"champion is version {one.champion or 'none'}")
