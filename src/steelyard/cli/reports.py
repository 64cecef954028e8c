"""`steelyard report`: where the report of the newest run is.

Belongs here: the command. Not here: making a report (see `steelyard.dossier`).
"""

from __future__ import annotations

from typing import Annotated

import typer

from steelyard.cli.options import DEFAULT_FILE, AsJson, Overrides, Profile, ProjectArgument
from steelyard.cli.session import open_session
from steelyard.errors import ConfigError

EXAMPLES = """\b
Examples:
  steelyard report                          path of the report of ./steelyard.yaml
  steelyard report mine/steelyard.yaml --open
  steelyard report --json                   as one JSON object

The page needs no network and can be sent as it is; report.md and scores.parquet lie beside it."""


def report(
    *,
    file: ProjectArgument = DEFAULT_FILE,
    is_opened: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
    profile: Profile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Print where the report of the newest run is."""
    with open_session() as session:
        from flows.build import load_job
        from steelyard.dossier.files import latest_report

        job = load_job(file, profile=profile, overrides=overrides or ())
        page = latest_report(job.workspace.reports)
        if page is None:
            raise ConfigError(f"{job.project.name} has no report yet", remedy=f"steelyard run {file}")
        if as_json:
            session.print_json({"project": job.project.name, "report": str(page)})
        else:
            session.console.print(str(page), soft_wrap=True)
    if is_opened:
        typer.launch(page.as_uri())
