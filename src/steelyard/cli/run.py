"""`steelyard run`: the whole job, from sources to a promoted model.

Belongs here: the command. Not here: the job (see `flows.release`) and how its outcome looks (see `report`).
"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from steelyard.cli.options import DEFAULT_FILE, AsJson, IsVerbose, Overrides, Profile, ProjectArgument
from steelyard.cli.plan import plan
from steelyard.cli.session import open_session

EXAMPLES = """\b
Examples:
  steelyard run                          run ./steelyard.yaml
  steelyard run mine/steelyard.yaml
  steelyard run --dry-run                only what it would do, like `plan`
  steelyard run --profile production     lay steelyard.production.yaml over it
  steelyard run --set decide.tune=never --set index.retrieval.top_k=5

  steelyard run --no-tune                weigh base and RAG only, whatever tune.when says

What is done already is not done again; after an interruption the same command resumes."""


_TUNING: dict[bool | None, Literal["auto", "force", "no"]] = {None: "auto", True: "force", False: "no"}


def run(
    *,
    file: ProjectArgument = DEFAULT_FILE,
    profile: Profile = None,
    overrides: Overrides = None,
    is_dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be done, as `plan` does.")
    ] = False,
    tuning: Annotated[
        bool | None,
        typer.Option(
            "--force-tune/--no-tune",
            help="Set the tuning decision aside; who did so and when is kept.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    is_verbose: IsVerbose = False,
) -> None:
    """Ingest, validate, index, weigh the arms, tune where that can pay, and promote the winner."""
    if is_dry_run:
        plan(file=file, profile=profile, overrides=overrides, as_json=as_json, is_verbose=is_verbose)
        return
    with open_session(is_verbose=is_verbose) as session:
        from flows.build import load_job, tracking

        words = tuple(overrides or ())
        job = load_job(file, profile=profile, overrides=words)  # what is wrong with the project file is told at once
        from flows.release import run_release

        report = run_release(file, profile=profile, overrides=words, tuning=_TUNING[tuning], progress=session.progress)
        session.end_progress()
        if as_json:
            session.print_json(report.plain())
            return
        from steelyard.cli.report import show_report

        show_report(
            session.console,
            report,
            project_file=file,
            tracking_uri=tracking(job).uri,
            data_docs=job.workspace.data_docs,
        )
