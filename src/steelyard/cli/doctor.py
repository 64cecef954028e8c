"""`steelyard doctor`: what is there, what is missing and what to do about it.

Belongs here: choosing what to look at and showing it. Not here: the looking (see `steelyard.doctor`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steelyard.cli.options import DEFAULT_FILE, AsJson, Overrides, Profile
from steelyard.cli.session import Session, open_session

if TYPE_CHECKING:
    from flows.build import Job
    from steelyard.doctor import Check

EXAMPLES = """\b
Examples:
  steelyard doctor                        this machine, and ./steelyard.yaml
  steelyard doctor mine/steelyard.yaml    this machine and that project
  steelyard doctor --json                 as one JSON object

Ends with 4 when something that a run needs is missing or cannot be reached."""

_OUTSIDE_SERVICE = 4
_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red"}
_Look = Callable[[], "Check"]


def doctor(
    *,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="The project file.  [default: steelyard.yaml, if it is there]")
    ] = None,
    profile: Profile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Look at versions, disk, memory, ports, models and stores; change nothing."""
    with open_session() as session:
        from flows.build import load_job
        from steelyard.doctor import safely, versions, worst
        from steelyard.models.cache import default_cache

        if file is None and DEFAULT_FILE.is_file():
            file = DEFAULT_FILE
        job = None if file is None else load_job(file, profile=profile, overrides=overrides or ())
        looks = dict(_machine(default_cache()))
        if job is not None:
            looks |= dict(_project(job))
        checks = [safely(name, look) for name, look in looks.items()]
        status = worst(checks)
        if as_json:
            session.print_json(_record(checks, status, versions(), None if job is None else job.project.name))
        else:
            _show(session, checks, versions())
    if status == "failed":
        raise typer.Exit(_OUTSIDE_SERVICE)


def _machine(cache: Path) -> Iterator[tuple[str, _Look]]:
    from steelyard import doctor as look

    yield "python", look.check_python
    yield "libraries", look.check_libraries
    yield "memory", look.check_memory
    yield "cache", partial(look.check_disk, "cache", cache)
    yield "precision", partial(look.check_precision, "auto")
    if url := os.environ.get("PREFECT_API_URL"):
        yield "prefect api", partial(look.check_prefect_api, url)
    prefect_start, mlflow_start = "prefect server start --port NUMBER", "mlflow server --port NUMBER"
    yield (
        "prefect port",
        partial(look.check_port, "prefect port", 4200, health="/api/health", expected=b"true", option=prefect_start),
    )
    yield (
        "mlflow port",
        partial(look.check_port, "mlflow port", 5000, health="/health", expected=b"OK", option=mlflow_start),
    )


def _project(job: Job) -> Iterator[tuple[str, _Look]]:
    from flows.build import tracking
    from steelyard import doctor as look

    generator, embedder = job.project.models.generator, job.project.models.embedder
    yield "workspace", partial(look.check_disk, "workspace", job.workspace.root)
    yield "precision", partial(look.check_precision, generator.precision)
    for name, model in (("generator", generator), ("embedder", embedder)):
        source = job.anchored(model.source)
        yield name, partial(look.check_model, name, source, sha256=model.sha256, cache=job.cache)
    yield "store", _store(job)
    yield "mlflow", partial(look.check_tracking, tracking(job).uri)


def _store(job: Job) -> _Look:
    from flows.parts import store_settings
    from steelyard import doctor as look
    from steelyard.index.weaviate_connection import Place

    settings = store_settings(job)
    if job.project.index.store.type == "lancedb":
        return partial(look.check_lancedb, Path(settings["path"]))
    key = settings.pop("api_key_env", None)
    return partial(look.check_weaviate, Place(**settings), api_key=None if key is None else os.environ.get(key))


def _record(checks: list[Check], status: str, versions: dict[str, str], project: str | None) -> dict[str, Any]:
    from dataclasses import asdict

    return {"status": status, "project": project, "versions": versions, "checks": [asdict(check) for check in checks]}


def _show(session: Session, checks: list[Check], versions: dict[str, str]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        table.add_row(Text(check.status, style=_STYLES[check.status]), check.name, check.message)
        if check.remedy is not None and check.status != "ok":
            table.add_row("", "", Text(f"To fix: {check.remedy}", style="italic"))
    session.console.print(table)
    session.console.print("\n" + ", ".join(f"{name} {version}" for name, version in versions.items()))
