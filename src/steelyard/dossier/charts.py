"""What a dossier draws: differences with their intervals, scores by kind of case, quality against cost, break-even.

Belongs here: one function a chart, from a dossier to SVG. Not here: style (see `drawing`), and numbers of its own: a
chart shows what the tables beside it say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from steelyard.dossier.content import Dossier
from steelyard.dossier.drawing import ARM_COLOURS, ARM_MARKERS, BAND, INK, LINE, MUTED, as_svg, drawing
from steelyard.metrics import metric
from steelyard.records import Arm, Comparison, Interval, Score
from steelyard.words import quantity

_WIDTH = 460
_ROW = 34  # pixels for one arm or one comparison
_FRAME = 56  # pixels for an axis with its label
_COSTS = ("cost_per_1000_queries", "latency_p50_seconds", "prompt_tokens")  # the first that was measured


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing with its title and what it shows, in words."""

    svg: str
    title: str
    caption: str


def differences_chart(dossier: Dossier, comparisons: Sequence[Comparison]) -> Chart | None:
    """Draw each comparison as a difference with its interval, and the margin inside which it does not count."""
    if not comparisons:
        return None
    title = f"Differences in {metric(dossier.objective.metric).label.lower()}"
    with drawing(_WIDTH, _FRAME + _ROW * len(comparisons)) as (figure, axes):
        margin = dossier.objective.margin * 100
        axes.axvspan(-margin, margin, color=BAND, linewidth=0)
        axes.axvline(0, color=MUTED, linewidth=1)
        for place, comparison in enumerate(comparisons):
            _whisker(axes, comparison.difference, comparison.interval, place, scale=100)
            axes.plot(comparison.difference * 100, place, marker="o", markersize=8, color=INK)
        axes.set_yticks(range(len(comparisons)), [f"{c.arm} − {c.baseline}" for c in comparisons])
        axes.set_ylim(len(comparisons) - 0.5, -0.5)
        axes.set_xlabel("percentage points")
        _bare(axes)
        svg = as_svg(figure, name="differences", title=title)
    caption = "Each dot is a difference between two arms on the same cases, with its interval where there is one; "
    return Chart(svg, title, caption + "inside the band it is within the margin and does not count.")


def kind_chart(dossier: Dossier, kind: str, scores: Sequence[tuple[Arm, Score, Interval | None]]) -> Chart:
    """Draw one kind of case: each arm's share of right answers."""
    name = dossier.deciding_metric(kind)  # type: ignore[arg-type]
    title = f"{kind.capitalize()}: {metric(name).label.lower()}"
    with drawing(340, _FRAME + _ROW * len(scores)) as (figure, axes):
        for place, (arm, score, interval) in enumerate(scores):
            if score.value is None:
                axes.annotate("not measured", (2, place), va="center", color=MUTED)
                continue
            axes.hlines(place, 0, score.value * 100, color=ARM_COLOURS[arm], linewidth=3, alpha=0.35)
            _whisker(axes, score.value, interval, place, scale=100, colour=ARM_COLOURS[arm])
            axes.plot(score.value * 100, place, marker=ARM_MARKERS[arm], markersize=9, color=ARM_COLOURS[arm])
        axes.set_yticks(range(len(scores)), [arm for arm, _, _ in scores])
        axes.set_ylim(len(scores) - 0.5, -0.5)
        axes.set_xlim(-3, 103)
        axes.set_xticks([0, 50, 100], ["0%", "50%", "100%"])
        _bare(axes)
        svg = as_svg(figure, name=f"kind-{kind}", title=title)
    return Chart(svg, title, f"{max(score.n for _, score, _ in scores)} cases")


def cost_quality_chart(dossier: Dossier) -> Chart | None:
    """Draw quality against what a question costs: money where there are prices, else seconds or tokens."""
    name = next((cost for cost in _COSTS if any(_value(dossier, arm, cost) is not None for arm in dossier.arms)), None)
    objective = dossier.objective.metric
    if name is None:
        return None
    cost, quality = metric(name), metric(objective)
    title = f"{quality.label} against {_cost_words(name)}"
    largest = 0.0
    with drawing(_WIDTH, 300) as (figure, axes):
        for arm in dossier.arms:
            x, y = _value(dossier, arm, name), _value(dossier, arm, objective)
            if x is None or y is None:
                continue
            interval = dossier.judgement.intervals.get(arm, {}).get(objective)
            if interval is not None:
                axes.vlines(x, interval.low * 100, interval.high * 100, color=ARM_COLOURS[arm], linewidth=2)
            label = f"{arm}: {quantity(x, cost.unit, currency=dossier.currency)}"
            axes.plot(
                x, y * 100, marker=ARM_MARKERS[arm], markersize=10, color=ARM_COLOURS[arm], linestyle="", label=label
            )
            largest = max(largest, x)
        axes.set_xlabel(_axis_words(name, dossier.currency))
        axes.set_ylabel("% right")
        axes.set_ylim(-5, 108)
        axes.set_xlim(0, largest * 1.1 or 1)
        axes.grid(visible=True, axis="y")
        _legend(figure)
        _bare(axes, keep_left=True)
        svg = as_svg(figure, name="cost-quality", title=title)
    return Chart(svg, title, "Up and to the left is better: more right answers for less.")


def break_even_chart(dossier: Dossier) -> Chart | None:
    """Draw what a tuned arm saves against RAG in a day, over the questions asked in a day.

    The saving is a straight line through zero at the break-even b: q questions save (q - b) times the difference of
    the costs of one question, since at b they just pay for training and retraining.
    """
    lines = [(arm, *line) for arm in dossier.arms if (line := _saving(dossier, arm)) is not None]
    if not lines:
        return None
    title = "Saving against RAG by questions a day"
    end = 2 * max(even for _, even, _ in lines)
    with drawing(_WIDTH, 300) as (figure, axes):
        axes.axhline(0, color=MUTED, linewidth=1)
        for arm, even, per_query in lines:
            axes.plot([0, end], [-even * per_query, (end - even) * per_query], color=ARM_COLOURS[arm], linewidth=2)
            label = f"{arm}: from {quantity(even, 'count')} a day"
            axes.plot(
                even, 0, marker=ARM_MARKERS[arm], markersize=10, color=ARM_COLOURS[arm], linestyle="", label=label
            )
        axes.set_xlabel("questions a day")
        axes.set_ylabel(f"saved a day, {dossier.currency}".removesuffix(", "))
        _legend(figure)
        _bare(axes, keep_left=True)
        svg = as_svg(figure, name="break-even", title=title)
    return Chart(svg, title, "Above zero an arm is cheaper than RAG, training and retraining included.")


def _saving(dossier: Dossier, arm: Arm) -> tuple[float, float] | None:
    even, mine = (_value(dossier, arm, name) for name in ("break_even_queries_per_day", "cost_per_1000_queries"))
    rag = _value(dossier, "rag", "cost_per_1000_queries") if "rag" in dossier.scorecards else None
    if even is None or mine is None or rag is None or rag <= mine or even <= 0:
        return None
    return even, (rag - mine) / 1_000


def _value(dossier: Dossier, arm: Arm, name: str) -> float | None:
    score = dossier.scorecards[arm].metrics.get(name)
    return None if score is None else score.value


def _cost_words(name: str) -> str:
    words = {"cost_per_1000_queries": "the cost of 1,000 questions", "latency_p50_seconds": "latency"}
    return words.get(name, "the length of the prompt")


def _axis_words(name: str, currency: str) -> str:
    words = {
        "cost_per_1000_queries": f"cost of 1,000 questions, {currency}".removesuffix(", "),
        "latency_p50_seconds": "median seconds for one question",
    }
    return words.get(name, "prompt tokens of one question")


def _whisker(
    axes: Any, value: float, interval: Interval | None, place: float, *, scale: float, colour: str = INK
) -> None:
    if interval is not None:
        axes.hlines(place, interval.low * scale, interval.high * scale, color=colour, linewidth=2)
        axes.plot([interval.low * scale, interval.high * scale], [place, place], marker="|", linestyle="", color=colour)


def _legend(figure: Any) -> None:
    """Name the arms above the chart, where no label hides another."""
    figure.legend(loc="outside upper left", ncols=2, frameon=False, handletextpad=0.2, columnspacing=1.5)


def _bare(axes: Any, *, keep_left: bool = False) -> None:
    """Take away what says nothing."""
    axes.tick_params(length=0)
    if not keep_left:
        axes.spines["left"].set_visible(False)
        axes.grid(visible=True, axis="x")
    axes.set_axisbelow(True)
    axes.spines["bottom"].set_color(LINE)
