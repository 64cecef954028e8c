"""How a run's outcome looks in a terminal: the table, the verdict in words, the work, and where to look next.

Belongs here: drawing a `RunReport`. Not here: making it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from steelyard.cli.words import count_of, duration, share
from steelyard.gate.power import power_in_words
from steelyard.metrics import metric
from steelyard.records import ARMS, Arm, Score
from steelyard.report import RunReport
from steelyard.words import quantity

_ACTIONS = {"run": "done", "reuse": "done before", "skip": "skipped"}
_UPKEEP = (
    "fresh_before_update", "fresh_after_update", "seconds_until_right", "cost_until_right", "cost_per_1000_queries",
    "cost_per_correct_answer", "break_even_queries_per_day",
)  # fmt: skip
_STYLES = {"promote": "bold green", "reject": "red", "cannot tell": "yellow"}


def show_report(console: Any, report: RunReport, *, project_file: Path, tracking_uri: str, data_docs: Path) -> None:
    """Print everything that a person wants to know at the end of a run."""
    console.print(verdict_table(report))
    console.print(promotion_in_words(report), style="bold", soft_wrap=True)
    for line in details(report):
        console.print(line, soft_wrap=True)
    console.print("\nNext:", style="bold")
    for line in next_steps(report, project_file=project_file, tracking_uri=tracking_uri, data_docs=data_docs):
        console.print(f"  {line}", soft_wrap=True)


def verdict_table(report: RunReport) -> Any:
    """Return the table of arms against scores and costs."""
    from rich.table import Table
    from rich.text import Text

    table = Table(
        header_style="bold", title=f"{report.project}, documents of {report.snapshot.date}", title_justify="left"
    )
    table.add_column("arm", no_wrap=True)
    for heading in ("fact", "format", "refusal", "citation", "tokens in + out", "p50 latency", "set-up", "update"):
        table.add_column(heading, justify="right")
    table.add_column("verdict", no_wrap=True)
    for arm in ARMS:
        if arm in report.scores:
            verdict = report.verdicts.get(arm)
            ruling = "not judged" if verdict is None else verdict.ruling
            table.add_row(arm, *_cells(report, arm), Text(ruling, style=_STYLES.get(ruling, "")))
    return table


def _cells(report: RunReport, arm: Arm) -> tuple[str, ...]:
    scores, intervals = report.scores[arm].get, report.intervals.get(arm, {})
    return (
        share(scores("fact"), intervals.get("fact")),
        *(share(scores(name)) for name in ("format", "refusal", "citation")),
        f"{count_of(scores('prompt_tokens'))} + {count_of(scores('completion_tokens'))}",
        *(duration(scores(name)) for name in ("latency_p50_seconds", "setup_seconds", "update_seconds")),
    )


def promotion_in_words(report: RunReport) -> str:
    """Return the outcome in one sentence."""
    version = report.model_version
    if report.promoted is None:
        return "No arm is promoted."
    if version is None:
        return f"{report.promoted} is promoted, but not registered."
    return f"{report.promoted} is promoted: {version.name} version {version.version}, {version.uri}"


def details(report: RunReport) -> Iterator[str]:
    """Yield why, what was done, what it is made of and how long it took."""
    for arm in ARMS:
        if arm in report.verdicts:
            verdict = report.verdicts[arm]
            yield f"  {arm}: {verdict.ruling} - {'; '.join(verdict.reasons)}"
    yield from upkeep_in_words(report)
    if report.power is not None:
        yield f"Power: {power_in_words(report.power)}"
    yield f"Baseline: {report.baseline}"
    decision = report.decision
    yield f"Tuning: {_ACTIONS[decision.action]} - {'; '.join(decision.reasons)}"
    for reason in decision.would_change:
        yield f"  would change: {reason}"
    for warning in report.warnings:
        yield f"Warning: {warning}"
    if report.refused:
        yield f"Refused: {report.refused:,} rows are in quarantine, with reasons"
    yield "Work: " + ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in _work(report))
    yield "Digests: " + ", ".join(f"{name} {value}" for name, value in asdict(report.digests).items() if value)
    stages = ", ".join(f"{stage} {seconds:,.1f}" for stage, seconds in report.seconds.items())
    yield f"Seconds: {stages}; precision {report.precision}"


def upkeep_in_words(report: RunReport) -> Iterator[str]:
    """Yield a line an arm on what an update brings and what asking costs; nothing of what was not measured."""
    for arm in ARMS:
        found = [(name, report.scores[arm].get(name)) for name in _UPKEEP] if arm in report.scores else []
        told = [_told(name, score, report.currency) for name, score in found if score is not None and score.n]
        if told:
            yield f"Upkeep of {arm}: {', '.join(told)}"


def _told(name: str, score: Score, currency: str) -> str:
    known = metric(name)
    worth = "never" if score.value is None else quantity(score.value, known.unit, currency=currency)
    return f"{known.label[0].lower()}{known.label[1:]} {worth}"


def _work(report: RunReport) -> list[tuple[str, int]]:
    """Return counts with the noun first, as they are read: "0 passages embedded"."""
    return [(name, int(count)) for name, count in asdict(report.work).items()]


def next_steps(report: RunReport, *, project_file: Path, tracking_uri: str, data_docs: Path) -> Iterator[str]:
    """Yield commands that work as they stand."""
    file = shlex.quote(str(project_file))
    if report.model_version is not None:
        alias = report.model_version.alias
        which = "" if alias in {"", "champion"} else f" --alias {alias}"
        yield f'steelyard ask "..." --project {file}{which}'
    if tracking_uri.startswith(("http:", "https:")):
        yield f"runs and models: {tracking_uri}"
    else:
        yield f"mlflow ui --backend-store-uri {shlex.quote(tracking_uri)}"
    if report.report:
        yield f"report: {report.report}"
    if (index := data_docs / "index.html").is_file():
        yield f"data docs: {index}"
