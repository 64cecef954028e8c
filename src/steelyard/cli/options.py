"""The options that commands share.

Belongs here: their names and help texts. Not here: what a command does with them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_FILE = Path("steelyard.yaml")

ProjectArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The project file.")]
ProjectOption = Annotated[Path, typer.Option("--project", "-p", metavar="FILE", help="The project file.")]
Profile = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Lay FILE's profile over it: steelyard.NAME.yaml beside steelyard.yaml."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Change one setting; may be given several times."),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout; everything else goes to stderr.")
]
IsVerbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the logs of the libraries at work.")]
