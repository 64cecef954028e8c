"""The page: one HTML file that needs nothing else.

Belongs here: putting the parts of a dossier into the template. Not here: what they say (see `headline`, `criteria`,
`views`, `flips`) and how they are drawn (see `charts`).

Everything from documents and models is escaped by the template engine; the page's content policy lets nothing run but
the one script that is in it, and nothing be fetched.
"""

from __future__ import annotations

import base64
import hashlib
from itertools import combinations
from pathlib import Path

from steelyard.dossier.charts import break_even_chart, cost_quality_chart, differences_chart, kind_chart
from steelyard.dossier.content import Dossier
from steelyard.dossier.criteria import decision_table
from steelyard.dossier.flips import MOST_CASES, compared_pair, flipped_cases
from steelyard.dossier.headline import headline, reason, what_would_change
from steelyard.dossier.views import (
    arm_cards,
    break_even_words,
    comparison_row,
    kind_rows,
    rule_rows,
    shown_comparisons,
)
from steelyard.metrics import metric
from steelyard.records import CASE_KINDS, Arm
from steelyard.words import level_in_words

_TEMPLATES = Path(__file__).with_name("templates")
_SECTIONS = (
    ("criteria", "Decision table"),
    ("comparisons", "Comparisons"),
    ("kinds", "By kind"),
    ("cost", "Quality and cost"),
    ("rules", "Rules"),
    ("change", "What would change it"),
    ("tuning", "Tuning"),
    ("flips", "Answers"),
    ("lineage", "Lineage"),
)


def render_page(dossier: Dossier) -> str:
    """Return the report as one HTML document; the same dossier gives the same text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)
    flips, comparisons = flipped_cases(dossier), shown_comparisons(dossier)
    pair, kinds = compared_pair(dossier), kind_rows(dossier)
    levels = [level_in_words(i) for some in dossier.judgement.intervals.values() for i in some.values()]
    page: str = environment.get_template("report.html.j2").render(
        dossier=dossier,
        headline=headline(dossier),
        reason=reason(dossier),
        sections=_SECTIONS,
        objective_label=metric(dossier.objective.metric).label,
        arms=arm_cards(dossier),
        level=f"{levels[0]} " if levels else "",
        criteria=decision_table(dossier),
        comparisons=[comparison_row(comparison) for comparison in comparisons],
        differences=differences_chart(dossier, comparisons),
        kinds=[kind_chart(dossier, row.kind, row.scores) for row in kinds],
        kind_rows=kinds,
        cost_quality=cost_quality_chart(dossier),
        break_even=break_even_chart(dossier),
        break_even_words=break_even_words(dossier),
        rules=rule_rows(dossier),
        changes=what_would_change(dossier),
        flips=flips[:MOST_CASES],
        flips_left_out=max(0, len(flips) - MOST_CASES),
        flip_kinds=[kind for kind in CASE_KINDS if any(flip.case.kind == kind for flip in flips)],
        pairs=_pairs(dossier, pair),
        first_pair="" if pair is None else "/".join(pair),
        script_hash=_policy_hash(environment.get_template("filter.js").render()),
    )
    return page


def _pairs(dossier: Dossier, first: tuple[Arm, Arm] | None) -> list[tuple[Arm, Arm]]:
    """Return all pairs of arms, the less simple one first; the pair to look at first stands as it is named."""
    pairs: list[tuple[Arm, Arm]] = [(second, first) for first, second in combinations(dossier.arms, 2)]
    return [first if first is not None and set(pair) == set(first) else pair for pair in pairs]


def _policy_hash(script: str) -> str:
    """Return how a content policy names the one script that may run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
