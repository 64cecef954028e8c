"""The dossier in Markdown: for the registry's description, a pull request, a mail.

Belongs here: the text. Not here: the page (see `page`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from steelyard.dossier.content import Dossier
from steelyard.dossier.criteria import Cell, decision_table
from steelyard.dossier.headline import headline, reason, what_would_change
from steelyard.dossier.views import break_even_words, rule_rows
from steelyard.words import arm_name

_MARKDOWN = re.compile(r"([\\`*_\[\]<>|#~])")
# What a registry's description has room for: one row a criterion, in the words of its metric.
_SUMMARY_METRICS = (
    "fact", "format", "refusal", "citation", "fresh_after_update", "seconds_until_right", "cost_per_1000_queries",
    "prompt_tokens", "latency_p50_seconds", "setup_seconds",
)  # fmt: skip


def summary_markdown(dossier: Dossier) -> str:
    """Return the verdict, a table of what was measured, and why each arm got its ruling: under 4,000 characters."""
    parts = [_verdict(dossier), *_table(dossier, only=_SUMMARY_METRICS), "", *_rulings(dossier)]
    return "\n".join(parts) + "\n"


def report_markdown(dossier: Dossier) -> str:
    """Return the whole report without its charts and answers."""
    lines = [
        f"# {escaped(dossier.project)}: {escaped(headline(dossier))}",
        "",
        _verdict(dossier),
        "## What each arm costs and gives",
        "",
        *_table(dossier),
        "",
        "## Verdict on every arm",
        "",
        *_rulings(dossier),
        "",
        "## Rules",
        "",
        "| arm | rule | measured | interval | limit | outcome |",
        "|---|---|---|---|---|---|",
        *(
            f"| {row.arm} | {escaped(row.label)} | {row.measured} | {row.interval or '–'} | {row.limit} | "
            f"{'pass' if row.is_passed else 'fail'} |"
            for row in rule_rows(dossier)
        ),
        "",
        *_section("What would change the verdict", what_would_change(dossier)),
        *_section(
            "Tuning", [*dossier.decision.reasons, *(f"would change: {w}" for w in dossier.decision.would_change)]
        ),
        *_section("Costs", [break_even_words(dossier)]),
        *_section("Warnings", list(dossier.warnings)),
        "## Where this comes from",
        "",
        *_lineage(dossier),
    ]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def _verdict(dossier: Dossier) -> str:
    first = headline(dossier)
    return f"**{escaped(first[:1].upper() + first[1:])}**: {escaped(reason(dossier))}.\n"


def _table(dossier: Dossier, *, only: tuple[str, ...] | None = None) -> Iterator[str]:
    yield f"| measured | {' | '.join(arm_name(arm) for arm in dossier.arms)} |"
    yield f"|---|{'---|' * len(dossier.arms)}"
    for criterion in decision_table(dossier):
        for row in criterion.rows:
            if only is None or (row.metric.name in only and row.is_measured):
                yield f"| {escaped(row.metric.label)} | {' | '.join(_cell(cell) for cell in row.cells)} |"


def _cell(cell: Cell) -> str:
    text = f"{cell.text} ({cell.interval})" if cell.interval else cell.text
    return escaped(f"{text}, {cell.note}" if cell.note else text)


def _rulings(dossier: Dossier) -> Iterator[str]:
    for arm in dossier.arms:
        verdict = dossier.judgement.verdicts.get(arm)
        told = escaped("; ".join(verdict.reasons)) if verdict else ""
        yield f"- **{arm_name(arm)}: {dossier.ruling(arm)}**. {told}".rstrip(". ") + "."


def _section(title: str, lines: list[str]) -> list[str]:
    return [f"## {title}", "", *(f"- {escaped(line)}" for line in lines), ""] if lines else []


def _lineage(dossier: Dossier) -> Iterator[str]:
    for group, entries in dossier.lineage.items():
        for name, value in entries.items():
            yield f"- {escaped(group)}, {escaped(name)}: {escaped(value)}"
