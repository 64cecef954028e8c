"""Commands that the documentation shows: they exist, with the options shown, and their targets are there."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import typer

from steelyard.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "src/steelyard/templates").rglob("*.md")),
]


def shell_lines(page: Path) -> list[str]:
    """Return the command lines in a page's shell blocks and inline code."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:sh|bash)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", prose)


def commands(program: str) -> list[tuple[str, list[str]]]:
    """Return (page, words) of every shown use of a program, without comments and settings in front of it."""
    found = []
    for page in PAGES:
        for line in shell_lines(page):
            for part in re.split(r"&&|\|\||;|\|", line):
                if use := re.match(rf"\s*(?:[A-Z_]+=\S*\s+)*{program}\s+(\S.*)", part):
                    found.append((page.name, shlex.split(use[1], comments=True)))
    return found


def test_readme_shows_the_commands_of_a_newcomer():
    """The tests below look at something."""
    shown = {words[0] for page, words in commands("steelyard") if page == "README.md"}
    assert {"run", "plan", "ask", "init", "doctor"} <= shown
    assert {"quickstart", "test"} <= {words[0] for page, words in commands("make") if page == "README.md"}


@pytest.mark.parametrize(("page", "words"), commands("steelyard"))
def test_shown_steelyard_command_parses(page, words):
    """Every `steelyard ...` line is one that the program takes."""
    group = typer.main.get_command(app)
    name, command, rest = group.resolve_command(group.make_context("steelyard", words, resilient_parsing=True), words)
    assert command is not None
    needs_more = name == "ask" and rest == []  # prose may call a command by its name alone
    if not needs_more:
        command.make_context(name, rest)


@pytest.mark.parametrize(("page", "words"), commands("make"))
def test_shown_make_target_is_there(page, words):
    """Every `make ...` line names a target that make knows."""
    make = shutil.which("make")
    assert make, "make is needed to run the tests as the README says"
    done = subprocess.run([make, "-n", *words], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_project_files_that_the_readme_names_are_there():
    """A command that names a file of ours names one that is committed."""
    named = {word for _, words in commands("steelyard") for word in words if word.startswith("configs/")}
    assert named
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_links_of_the_pages_lead_somewhere():
    """A relative link is a file or a folder in the repository."""
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            if "templates" not in page.parts:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_readme_tree_names_every_folder():
    """The tree in the README is the tree in the repository."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `([a-z/]+)/` \|", text, re.MULTILINE))
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    there = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    assert told == {"src/steelyard" if name == "src" else name for name in there if f"{name}/" not in ignored}
