"""`steelyard serve` and `steelyard score`: the champion over HTTP, and for a file of questions.

Belongs here: the commands. Not here: answering (see `steelyard.serving`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steelyard.cli.options import DEFAULT_FILE, AsJson, Overrides, Profile, ProjectArgument, ProjectOption
from steelyard.cli.session import open_session

if TYPE_CHECKING:
    from flows.build import Job
    from steelyard.review.webhook import Answered
    from steelyard.serving.champion import Champion

SERVE_EXAMPLES = """\b
Examples:
  steelyard serve
  steelyard serve mine/steelyard.yaml --port 8400
  curl http://127.0.0.1:8321/v1/chat/completions -H 'Content-Type: application/json' \\
       -d '{"messages": [{"role": "user", "content": "..."}]}'

A new champion is taken without a restart. Nobody is asked for a password: stay on loopback, behind a proxy."""

SCORE_EXAMPLES = """\b
Examples:
  steelyard score questions.jsonl answers.jsonl
  steelyard score questions.jsonl answers.jsonl --project mine/steelyard.yaml --alias challenger

Each line of the questions is {"question": "..."}; other fields are kept. Interrupted, the same command goes on."""

DEFAULT_PORT = 8321
SECRET_VARIABLE = "STEELYARD_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable


def serve(
    *,
    file: ProjectArgument = DEFAULT_FILE,
    host: Annotated[str, typer.Option(metavar="NAME", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="NUMBER", help="The port to listen on.")] = DEFAULT_PORT,
    profile: Profile = None,
    overrides: Overrides = None,
) -> None:
    """Answer questions over HTTP as the champion does, in the form that OpenAI's clients speak."""
    with open_session() as session:
        import uvicorn

        from flows.build import load_job
        from steelyard.serving.app import make_app

        job = load_job(file, profile=profile, overrides=overrides or ())
        session.progress.note(f"http://{host}:{port}/v1 answers as the champion of {job.project.name}")
        session.end_progress()
        champion = open_champion(job)
        secret = os.environ.get(SECRET_VARIABLE)
        app = make_app(champion, model=job.project.name, secret=secret, on_answer=_starter(job) if secret else None)
        try:
            uvicorn.run(app, host=host, port=port, log_level="warning")
        finally:
            champion.close()


def open_champion(job: Job) -> Champion:
    """Return a project's champion; it is loaded with the first question."""
    from flows.stages.smoke import index_settings
    from steelyard.promote.proposals import champion_of
    from steelyard.serving.champion import Champion
    from steelyard.serving.loading import load_served

    name, uri, settings = job.project.name, job.tracking_uri, index_settings(job)
    return Champion(
        current=lambda: champion_of(name, uri),
        load=lambda version: load_served(name, version, uri, cache=job.cache, index_settings=settings),
    )


def _starter(job: Job) -> Callable[[Answered], None]:
    def start(answer: Answered) -> None:
        from flows.trigger import start_review

        start_review(job.project.name, version=answer.version, delivery=answer.delivery)

    return start


def score(
    *,
    questions: Annotated[Path, typer.Argument(metavar="QUESTIONS", help="JSONL: one question a line.")],
    answers: Annotated[Path, typer.Argument(metavar="ANSWERS", help="JSONL to write, or to go on with.")],
    file: ProjectOption = DEFAULT_FILE,
    alias: Annotated[str, typer.Option(metavar="NAME", help="Which version: champion, challenger or previous.")] = (
        "champion"
    ),
    profile: Profile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Answer a file of questions."""
    with open_session() as session:
        from flows.build import load_job
        from flows.stages.smoke import index_settings
        from steelyard.cli.ask import check_was_run
        from steelyard.promote.registry import resolve_alias
        from steelyard.serving.batch import answer_file
        from steelyard.serving.loading import load_served

        job = load_job(file, profile=profile, overrides=overrides or (), progress=session.progress)
        check_was_run(job)
        version = resolve_alias(job.project.name, alias, job.tracking_uri)
        served = load_served(
            version.name, version.version, job.tracking_uri, cache=job.cache, index_settings=index_settings(job)
        )
        done = answer_file(questions, answers, served, version=version.version, progress=session.progress)
        session.end_progress()
        if as_json:
            session.print_json({"answered": done.answered, "earlier": done.earlier, "model_version": version.version})
        else:
            session.console.print(f"{done.answered} answered, {done.earlier} were before: {answers}", soft_wrap=True)
