"""The program `steelyard`: its commands, and how each way to end becomes an exit code.

Belongs here: the list of commands and the border where errors are told. Not here: a command's work.
"""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from steelyard import __version__
from steelyard.cli import ask, doctor, history, init, pairs, plan, reports, review, rollback, run, serve, up
from steelyard.cli.interruption import EXIT_CODE, tell_interruption
from steelyard.cli.streams import error_record, print_json, silence_exit, tell_error
from steelyard.errors import ConfigError, ServiceError, SteelyardError

_BUG = 1
_SHOWN_FRAMES = 12  # the innermost ones, where the bug is; the outer ones are the command line's own

_EXAMPLES = """\b
Examples:
  steelyard init mine          a project of your own
  steelyard plan               what a run would do, why, and how long it takes
  steelyard run                weigh the arms, promote the winner
  steelyard report --open      the verdict with its evidence, in a browser
  steelyard review approve 3   approve what waits for review
  steelyard ask "How long?"    ask the promoted arm
  steelyard doctor             what is missing on this machine

\b
Exit codes: 0 done, 1 a bug, 2 usage or project file, 3 data refused,
4 outside service, 5 gate could not run, 130 interrupted."""

app = typer.Typer(
    name="steelyard",
    help="Weighs base, RAG, tuned and hybrid on your own data and promotes the arm that the evidence favours.",
    epilog=_EXAMPLES,
    rich_markup_mode=None,  # plain help is there in half the time, and pastes well
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run", short_help="Weigh the arms and promote the winner.", epilog=run.EXAMPLES)(run.run)
app.command("plan", short_help="Show what a run would do, and why.", epilog=plan.EXAMPLES)(plan.plan)
app.command("report", short_help="Find the report of the newest run.", epilog=reports.EXAMPLES)(reports.report)
app.command("ask", short_help="Ask the promoted arm a question.", epilog=ask.EXAMPLES)(ask.ask)
app.command("doctor", short_help="Look for what is missing here.", epilog=doctor.EXAMPLES)(doctor.doctor)
app.command("up", short_help="Start Prefect, MLflow and the assistant.", epilog=up.EXAMPLES)(up.up)
app.command("serve", short_help="Answer over HTTP.", epilog=serve.SERVE_EXAMPLES)(serve.serve)
app.command("score", short_help="Answer a file of questions.", epilog=serve.SCORE_EXAMPLES)(serve.score)
app.add_typer(review.app, name="review", short_help="See what waits for approval, and answer it.")
app.command("rollback", short_help="Go back to the champion before.", epilog=rollback.EXAMPLES)(rollback.rollback)
app.command("history", short_help="Show who promoted what, and check it.", epilog=history.EXAMPLES)(history.history)
app.add_typer(pairs.app, name="pairs", short_help="Make training pairs and test cases.")
app.command("init", short_help="Make a project of your own.", epilog=init.EXAMPLES)(init.init)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"steelyard {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that stand before a command; without one, print the help."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> NoReturn:
    """Run the program with the process's own words and exit."""
    silence_exit()
    sys.exit(run_program(sys.argv[1:]))


def run_program(words: Sequence[str]) -> int:
    """Run one command and return its exit code; errors are told on stderr, with `--json` on stdout too."""
    try:
        code = app(list(words), prog_name="steelyard", standalone_mode=False)
    except TyperException as error:
        return _end(ConfigError(error.format_message(), remedy=f"see {_help_of(words)}"), words)
    except SteelyardError as error:
        return _end(error, words)
    except Exception as error:  # the outermost border: whatever is left is a bug, and told as one
        code = _end_unforeseen(error, words)
    if code == EXIT_CODE:
        tell_interruption()
    return int(code or 0)


def _end_unforeseen(error: Exception, words: Sequence[str]) -> int:
    if _followed_interruption(error):
        return EXIT_CODE
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return _end(ServiceError("the disk is full", remedy="free some space; then run again to resume"), words)
    return _end_with_bug(error, words)


def _followed_interruption(error: BaseException) -> bool:
    """Tell whether an error came up while Ctrl-C was answered: it also stops the server that Prefect would tell."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, KeyboardInterrupt):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _end(error: SteelyardError, words: Sequence[str]) -> int:
    tell_error(error)
    if _wants_json(words):
        message = str(error.args[0]) if error.args else type(error).__name__
        record = error_record(type(error).__name__, message, remedy=error.remedy, exit_code=error.exit_code)
        print_json(record, sys.stdout)
    return error.exit_code


def _end_with_bug(error: Exception, words: Sequence[str]) -> int:
    traceback.print_exception(error, limit=-_SHOWN_FRAMES)
    sys.stderr.write(f"This is a bug in steelyard {__version__}. Please report it with the lines above.\n")
    if _wants_json(words):
        print_json(error_record(type(error).__name__, str(error), exit_code=_BUG), sys.stdout)
    return _BUG


def _wants_json(words: Sequence[str]) -> bool:
    options = words[: words.index("--")] if "--" in words else words
    return "--json" in options


def _help_of(words: Sequence[str]) -> str:
    commands = {command.name for command in app.registered_commands}
    command = next((word for word in words if word in commands), None)
    return f"steelyard {command} --help" if command else "steelyard --help"


if __name__ == "__main__":
    main()
