"""The verdict table as files: JSON for programs, Markdown for people.

Belongs here: the two forms of one table. Not here: what the scores mean, and how a terminal shows them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import NamedTuple

from steelyard.records import ARMS, Arm, Score, Scorecard, Verdict


class VerdictTable(NamedTuple):
    """One table in two forms."""

    json: str
    markdown: str


def verdict_table(scorecards: Mapping[Arm, Scorecard], verdicts: Mapping[Arm, Verdict]) -> VerdictTable:
    """Return arms × metrics with rulings and reasons; arms in their fixed order, metrics as the first arm has them."""
    arms = [arm for arm in ARMS if arm in scorecards]
    metrics = list(dict.fromkeys(name for arm in arms for name in scorecards[arm].metrics))
    return VerdictTable(
        json=_as_json(arms, scorecards, verdicts), markdown=_as_markdown(arms, metrics, scorecards, verdicts)
    )


def _as_json(arms: list[Arm], scorecards: Mapping[Arm, Scorecard], verdicts: Mapping[Arm, Verdict]) -> str:
    rows = {
        arm: {
            "verdict": asdict(verdicts[arm]) if arm in verdicts else None,
            "scores": {name: asdict(score) for name, score in scorecards[arm].metrics.items()},
            "by_kind": {
                kind: {name: asdict(score) for name, score in scores.items()}
                for kind, scores in scorecards[arm].by_kind.items()
            },
        }
        for arm in arms
    }
    return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"


def _as_markdown(
    arms: list[Arm], metrics: list[str], scorecards: Mapping[Arm, Scorecard], verdicts: Mapping[Arm, Verdict]
) -> str:
    lines = [
        f"| arm | verdict | {' | '.join(map(_cell, metrics))} |",
        f"|---|---|{'---:|' * len(metrics)}",
    ]
    for arm in arms:
        scores = [_shown(scorecards[arm].metrics.get(name)) for name in metrics]
        ruling = verdicts[arm].ruling if arm in verdicts else "not judged"
        lines.append(f"| {arm} | {ruling} | {' | '.join(scores)} |")
    for arm in arms:
        if arm in verdicts:
            lines += ["", f"**{arm}: {verdicts[arm].ruling}**", ""]
            lines += [f"- {_cell(reason)}" for reason in verdicts[arm].reasons]
    return "\n".join(lines) + "\n"


def _shown(score: Score | None) -> str:
    if score is None or score.value is None:
        return "not scored"
    missing = f" ({score.not_scored} of {score.n} not scored)" if score.not_scored else ""
    return f"{score.value:.4g}{missing}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
