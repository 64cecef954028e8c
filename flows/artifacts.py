"""What a run leaves in the Prefect UI: one table.

Belongs here: the artifact. Not here: how the table is filled (see `steelyard.promote.verdict_table`).
"""

from __future__ import annotations

from prefect.artifacts import create_table_artifact

from flows.stages.dossier import Weighed

COLUMNS = (
    "fact", "format", "refusal", "citation", "prompt_tokens", "completion_tokens", "latency_p50_seconds",
    "setup_seconds", "update_seconds",
)  # fmt: skip


def verdict_artifact(project: str, weighed: Weighed) -> None:
    """Write the verdict table as a Prefect artifact."""
    rows = [
        {
            "arm": arm,
            **{name: _shown(card.metrics[name].value) for name in COLUMNS if name in card.metrics},
            "verdict": weighed.judgement.verdicts[arm].ruling,
            "reasons": "; ".join(weighed.judgement.verdicts[arm].reasons),
        }
        for arm, card in weighed.scorecards.items()
    ]
    promoted = weighed.promoted or "no arm"
    create_table_artifact(key=f"verdict-{project}", table=rows, description=f"{project}: {promoted} is promoted.")


def _shown(value: float | None) -> str:
    return "not scored" if value is None else f"{value:.3g}"
