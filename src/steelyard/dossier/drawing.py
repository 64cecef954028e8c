"""Charts as inline SVG in a page's own colours.

Belongs here: a figure's size and style, and turning it into SVG that fits any page: text stays text, colours are CSS
variables, ids are its own. Not here: what is drawn (see `charts`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

from steelyard.records import Arm

# Matplotlib takes colours, not CSS variables: each stands for one here, and is put in its place in the SVG.
INK, MUTED, LINE, BAND = "#010203", "#010204", "#010205", "#010206"
ARM_COLOURS: dict[Arm, str] = {"base": "#01030a", "rag": "#01030b", "tuned": "#01030c", "hybrid": "#01030d"}
ARM_MARKERS: dict[Arm, str] = {"base": "o", "rag": "s", "tuned": "^", "hybrid": "D"}  # told apart without colour
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    BAND: "var(--band)",
    **{colour: f"var(--arm-{arm})" for arm, colour in ARM_COLOURS.items()},
}
_POINTS_PER_INCH = 72  # matplotlib's SVG counts points: one of them is one pixel of the page here
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "steelyard",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 12.0,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
}


@contextmanager
def drawing(width: int, height: int) -> Iterator[tuple[Any, Any]]:
    """Yield a figure of so many pixels and its axes, without any global state of matplotlib's."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(width / _POINTS_PER_INCH, height / _POINTS_PER_INCH), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure, figure.subplots()


def as_svg(figure: Any, *, name: str, title: str) -> str:
    """Return a figure as an `svg` element for a page; `name` keeps its ids apart from those of other charts.

    Call it inside `drawing`, whose style it needs.
    """
    from lxml import etree

    text = StringIO()
    figure.savefig(text, format="svg", dpi=_POINTS_PER_INCH, metadata={"Date": None, "Creator": None})
    root = etree.fromstring(text.getvalue().encode(), etree.XMLParser(resolve_entities=False, no_network=True))
    _drop(root, "metadata", "style")  # matplotlib's style is for `*`: it would reach the whole page
    _rename(root, name)
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    root.attrib.update({"class": "chart", "role": "img", "aria-labelledby": f"{name}-title"})
    label = etree.Element(f"{{{root.nsmap[None]}}}title", {"id": f"{name}-title"})
    label.text = title
    root.insert(0, label)
    svg: str = etree.tostring(root, encoding="unicode")
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    return svg


def _drop(root: Any, *names: str) -> None:
    for element in [item for item in root.iter() if isinstance(item.tag, str)]:
        if element.tag.rpartition("}")[2] in names:
            element.getparent().remove(element)


def _rename(root: Any, name: str) -> None:
    """Put the chart's name in front of its ids and of what refers to them; families of fonts are the page's."""
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif value.startswith("#") and key.endswith("href"):
                element.set(key, f"#{name}-{value[1:]}")
            elif value.startswith("url(#"):
                element.set(key, f"url(#{name}-{value[5:]}")
            elif key == "style" and "font:" in value:
                element.set(key, value.replace("sans-serif", "inherit"))
