"""The program: its help, and how each way to end becomes an exit code, a message and a JSON object."""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path

import jsonschema
import pytest

from steelyard import __version__
from steelyard.cli import app as program
from steelyard.cli.app import run_program
from steelyard.errors import ConfigError, DataError, GateError, ServiceError

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
COMMANDS = ("run", "plan", "ask", "doctor", "rollback", "history", "up", "serve", "score", "init")


def validate(value: object, schema: str) -> None:
    """Check a value against one of the documented schemas."""
    text = (SCHEMAS / f"{schema}.schema.json").read_text(encoding="utf-8")
    jsonschema.Draft202012Validator(json.loads(text)).validate(value)


@pytest.fixture
def failing(monkeypatch):
    """Return a function that makes `steelyard init` raise what it is given."""

    def fail_with(error: BaseException) -> None:
        def fail(*args: object, **options: object) -> None:
            raise error

        monkeypatch.setattr("steelyard.scaffold.scaffold", fail)

    return fail_with


def test_schemas_are_schemas():
    """Each documented schema is one."""
    files = sorted(SCHEMAS.glob("*.schema.json"))
    assert {file.name.partition(".")[0] for file in files} >= {"run", "plan", "ask", "doctor", "error"}
    for file in files:
        jsonschema.Draft202012Validator.check_schema(json.loads(file.read_text(encoding="utf-8")))


@pytest.mark.parametrize("words", [["--help"], ["-h"], []])
def test_help_lists_commands_examples_and_exit_codes(words, capfd):
    """The first thing that a newcomer types teaches the rest."""
    assert run_program(words) == 0
    shown = capfd.readouterr().out
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", shown, re.MULTILINE)
    assert "steelyard init mine" in shown
    assert "Exit codes: 0 done" in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_shows_examples_that_parse(command, capfd):
    """Every example in a command's help uses options that the command has."""
    assert run_program([command, "--help"]) == 0
    shown = capfd.readouterr().out
    examples = re.findall(rf"steelyard {command}\b[^\n]*", shown.partition("Examples:")[2])
    assert examples
    options = set(re.findall(r"--[a-z-]+|(?<!\S)-[a-z](?!\S)", shown.partition("Examples:")[0]))
    assert {option for example in examples for option in re.findall(r"--[a-z-]+", example)} <= options


def test_version_is_printed(capfd):
    """`--version` prints the version and nothing else."""
    assert run_program(["--version"]) == 0
    assert capfd.readouterr().out == f"steelyard {__version__}\n"


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["run", "--nope"], "No such option: --nope"),
        (["rnu"], "Did you mean 'run'?"),
        (["ask"], "QUESTION"),
        (["run", "a.yaml", "b.yaml"], "b.yaml"),
    ],
)
def test_wrong_words_end_with_two_and_name_the_help(words, what, capfd):
    """Usage errors are told like all others, with the help to read."""
    assert run_program(words) == 2
    told = capfd.readouterr()
    assert what in told.err
    assert "--help" in told.err
    assert told.out == ""


def test_wrong_words_with_json_print_one_object(capfd):
    """A program that calls us can read usage errors too."""
    assert run_program(["run", "--nope", "--json"]) == 2
    value = json.loads(capfd.readouterr().out)
    validate(value, "error")
    assert value["error"]["type"] == "ConfigError"


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigError("c"), 2), (DataError("d"), 3), (ServiceError("s"), 4), (GateError("g"), 5)],
)
def test_error_of_ours_has_its_own_code_and_no_traceback(error, code, failing, tmp_path, capfd):
    """Each class of error ends with its code; the message is on stderr, the object on stdout."""
    error.remedy = "do that"
    failing(error)
    assert run_program(["init", str(tmp_path / "new"), "--json"]) == code
    told = capfd.readouterr()
    assert told.err == f"error: {error.args[0]}\n  To fix: do that\n"
    value = json.loads(told.out)
    validate(value, "error")
    assert value["error"] == {
        "type": type(error).__name__,
        "message": error.args[0],
        "remedy": "do that",
        "exit_code": code,
    }


def test_bug_ends_with_one_and_a_traceback(failing, tmp_path, capfd):
    """What is none of our errors is a bug, and is shown as one."""
    failing(ZeroDivisionError("by zero"))
    assert run_program(["init", str(tmp_path / "new"), "--json"]) == 1
    told = capfd.readouterr()
    assert "Traceback" in told.err
    assert "This is a bug in steelyard" in told.err
    validate(json.loads(told.out), "error")


def test_full_disk_is_no_bug(failing, tmp_path, capfd):
    """A full disk is told as such, wherever it is met."""
    failing(OSError(errno.ENOSPC, "No space left on device"))
    assert run_program(["init", str(tmp_path / "new")]) == 4
    told = capfd.readouterr()
    assert "the disk is full" in told.err
    assert "Traceback" not in told.err


def test_interruption_ends_with_130_and_tells_how_to_resume(failing, tmp_path, capfd):
    """Ctrl-C is answered with what to do next, not with a traceback."""
    failing(KeyboardInterrupt())
    assert run_program(["init", str(tmp_path / "new")]) == 130
    assert capfd.readouterr().err == "interrupted; run again to resume\n"


def test_markup_in_a_message_is_text(failing, tmp_path, capfd):
    """Square brackets in a file's content are shown, not obeyed."""
    failing(DataError("docs/a.md: [red]odd[/red] [/]"))
    assert run_program(["init", str(tmp_path / "new")]) == 3
    assert "[red]odd[/red] [/]" in capfd.readouterr().err


@pytest.mark.parametrize("command", ["run", "plan", "doctor"])
def test_bad_project_file_ends_with_two_and_every_error(command, tmp_path, capfd):
    """Commands that read a project file tell all that is wrong with it before any work."""
    file = tmp_path / "steelyard.yaml"
    file.write_text("name: Mine\nmodel: {}\n", encoding="utf-8")
    assert run_program([command, str(file), "--json"]) == 2
    told = capfd.readouterr()
    value = json.loads(told.out)
    validate(value, "error")
    assert f"{file}:1: name" in value["error"]["message"]
    assert f"{file}:2: model: unknown key; did you mean models?" in value["error"]["message"]
    assert "Traceback" not in told.err


def test_ask_before_the_first_run_says_so_and_makes_nothing(tmp_path, capfd):
    """Asking a project that has never run ends with the command to run, and leaves no empty database."""
    assert run_program(["init", str(tmp_path / "mine")]) == 0
    file = tmp_path / "mine" / "steelyard.yaml"
    before = sorted(tmp_path.rglob("*"))
    capfd.readouterr()
    assert run_program(["ask", "What?", "--project", str(file)]) == 2
    assert f"steelyard run {file}" in capfd.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_ask_blank_question_is_refused(tmp_path, capfd):
    """A blank question is data that is refused, whatever the project."""
    assert run_program(["ask", "  "]) == 3
    assert "the text is blank" in capfd.readouterr().err


def test_json_is_not_looked_for_behind_two_dashes():
    """A question may be called --json."""
    assert program._wants_json(["ask", "--json", "x"])
    assert not program._wants_json(["ask", "--", "--json"])
