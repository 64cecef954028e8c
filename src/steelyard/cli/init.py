"""`steelyard init`: a project of your own, ready to run.

Belongs here: the command. Not here: what a new project holds (see `steelyard.scaffold` and its templates).
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from steelyard.cli.options import AsJson
from steelyard.cli.session import Session, open_session

EXAMPLES = """\b
Examples:
  steelyard init mine          then put your documents and questions there
  cd mine && steelyard run

Files that are there already are never overwritten."""


def init(
    *,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make the project in.")],
    is_forced: Annotated[
        bool, typer.Option("--force", help="Also in a folder that holds files; none is overwritten.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a project: a commented steelyard.yaml, a folder for documents, a CSV of test cases."""
    with open_session() as session:
        from steelyard.scaffold import scaffold

        made = scaffold(folder, is_forced=is_forced)
        record = {"folder": str(folder), "name": made.name, "written": list(made.written), "kept": list(made.kept)}
        if as_json:
            session.print_json(record)
        else:
            _show(session, folder, record)


def _show(session: Session, folder: Path, record: dict[str, Any]) -> None:
    console = session.console
    for name in record["written"]:
        console.print(f"wrote {folder / name}", soft_wrap=True)
    for name in record["kept"]:
        console.print(f"kept  {folder / name}: it was there already", soft_wrap=True)
    console.print("\nNext:", style="bold")
    console.print("  1. put your documents (Markdown) into docs/ and your questions into cases.csv; see README.md")
    console.print(f"  2. cd {shlex.quote(str(folder))} && steelyard plan && steelyard run", soft_wrap=True)
