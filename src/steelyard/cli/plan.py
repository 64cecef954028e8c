"""`steelyard plan`: what a run would do and why, without doing it.

Belongs here: the command and its table. Not here: finding it out (see `flows.plan`).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from steelyard.cli.options import DEFAULT_FILE, AsJson, IsVerbose, Overrides, Profile, ProjectArgument
from steelyard.cli.session import Session, open_session
from steelyard.cli.words import seconds_in_words

if TYPE_CHECKING:
    from flows.plan import Plan

EXAMPLES = """\b
Examples:
  steelyard plan                                  plan for ./steelyard.yaml
  steelyard plan --set index.retrieval.top_k=5    what a change would cost
  steelyard plan mine/steelyard.yaml --json       as one JSON object"""

_STYLES = {"run": "yellow", "depends": "cyan", "up to date": "green"}


def plan(
    *,
    file: ProjectArgument = DEFAULT_FILE,
    profile: Profile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    is_verbose: IsVerbose = False,
) -> None:
    """Show what a run would do, why, and about how long it would take; nothing is loaded or changed."""
    with open_session(is_verbose=is_verbose) as session:
        from flows.plan import make_plan

        made = make_plan(file, profile=profile, overrides=tuple(overrides or ()))
        if as_json:
            session.print_json(plan_record(made))
        else:
            show_plan(session, made)


def plan_record(made: Plan) -> dict[str, Any]:
    """Return the plan as JSON-ready values."""
    return {**asdict(made), "is_up_to_date": all(step.action == "up to date" for step in made.steps)}


def show_plan(session: Session, made: Plan) -> None:
    """Print the plan as a table and in one sentence."""
    from rich.table import Table
    from rich.text import Text

    table = Table("stage", "would", "why", "how much", "about", header_style="bold")
    for step in made.steps:
        amounts = ", ".join(f"{count:,} {unit}" for unit, count in step.amounts.items())
        estimate = "" if step.seconds is None else seconds_in_words(step.seconds)
        table.add_row(step.stage, Text(step.action, style=_STYLES[step.action]), step.reason, amounts, estimate)
    session.console.print(table)
    session.console.print(_summary(made))
    from steelyard.gate.power import power_in_words

    session.console.print(f"{power_in_words(made.power)}.", soft_wrap=True)


def _summary(made: Plan) -> str:
    actions = [step.action for step in made.steps]
    if all(action == "up to date" for action in actions):
        return "Everything is up to date: a run would do no work."
    summary = f"{actions.count('run')} of {len(actions)} stages would run: about {_estimate(made, 'run')}."
    if "depends" in actions:
        summary += (
            f" {actions.count('depends')} more depend on what comes out: up to about {_estimate(made, 'depends')}."
        )
    return summary


def _estimate(made: Plan, action: str) -> str:
    return seconds_in_words(sum(step.seconds or 0.0 for step in made.steps if step.action == action))
