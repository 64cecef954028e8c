"""`steelyard ask`: one question to the promoted arm.

Belongs here: the command and how an answer looks. Not here: answering (see `steelyard.promote.responder`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steelyard.cli.options import DEFAULT_FILE, AsJson, IsVerbose, Overrides, Profile, ProjectOption
from steelyard.cli.session import Session, open_session
from steelyard.errors import ConfigError

if TYPE_CHECKING:
    from flows.build import Job
    from steelyard.report import ModelVersion

EXAMPLES = """\b
Examples:
  steelyard ask "How long is version 3.12 supported?"
  steelyard ask "..." --project mine/steelyard.yaml
  steelyard ask "..." --alias challenger
  steelyard ask "..." --json       answer, citations, arm and version as JSON"""


def ask(
    *,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The question, in quotes.")],
    file: ProjectOption = DEFAULT_FILE,
    alias: Annotated[
        str, typer.Option(metavar="NAME", help="Which version: champion, challenger or previous.")
    ] = "champion",
    profile: Profile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    is_verbose: IsVerbose = False,
) -> None:
    """Answer a question with the promoted arm, and name the sources."""
    with open_session(is_verbose=is_verbose) as session:
        from flows.build import load_job, tracking
        from steelyard.promote.registry import resolve_alias
        from steelyard.promote.responder import check_questions

        check_questions([question])
        job = load_job(file, profile=profile, overrides=overrides or (), progress=session.progress)
        tracking_uri = tracking(job).uri
        check_was_run(job)
        version = resolve_alias(job.project.name, alias, tracking_uri)
        session.progress.note(f"opening {version.name} version {version.version}")
        reply = _answer(question, version, job, tracking_uri)
        session.end_progress()
        record = {
            "question": question,
            **reply,
            "model": version.name,
            "model_version": version.version,
            "alias": alias,
        }
        if as_json:
            session.print_json(record)
        else:
            _show(session, record)


def check_was_run(job: Job) -> None:
    """Raise `ConfigError` when the project's own registry is not there yet: opening it would make an empty one."""
    from steelyard.tracking import sqlite_path

    database = sqlite_path(job.tracking_uri)
    if database is not None and not database.is_file():
        raise ConfigError(
            f"{job.project.name} has no model yet: {database} is not there",
            remedy=f"steelyard run {job.loaded.file}",
        )


def _answer(question: str, version: ModelVersion, job: Job, tracking_uri: str) -> Mapping[str, Any]:
    """Answer through MLflow, as every other user of the registered model does."""
    from flows.stages.smoke import index_settings
    from steelyard.serving.loading import load_served

    settings = index_settings(job)
    served = load_served(version.name, version.version, tracking_uri, cache=job.cache, index_settings=settings)
    return served([question])[0]


def _show(session: Session, record: Mapping[str, Any]) -> None:
    console = session.console
    console.print(record["answer"], soft_wrap=True)
    console.print()
    for citation in record["citations"]:
        console.print(f"[{citation['title']}] {citation['uri']}", style="bold", soft_wrap=True)
        console.print("  " + citation["text"].replace("\n", "\n  "), soft_wrap=True)
    if not record["citations"]:
        console.print("No source is cited.", style="yellow")
    snapshot = "" if record["snapshot"] is None else f", snapshot {record['snapshot']}"
    console.print(f"{record['arm']}, {record['model']} version {record['model_version']}{snapshot}", style="dim")
