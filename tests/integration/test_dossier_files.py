"""The report's files: self-contained, escaped, the same every time, whole or not there."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

import pytest
from dossier_sample import SCRIPT, dossier, scorecard
from lxml import etree

from steelyard.dossier.charts import break_even_chart, cost_quality_chart
from steelyard.dossier.files import latest_report, remember_latest, write_report
from steelyard.dossier.page import render_page
from steelyard.records import ARMS, Score


class Tags(HTMLParser):
    """Collects tags with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        """Note a tag."""
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def page() -> str:
    """Return the sample's page."""
    return render_page(dossier())


def test_page_needs_nothing_from_outside(page):
    """No link to a file, no image, one script of our own, and a policy that forbids the rest."""
    tags = Tags(page).found
    addresses = [value for _, attributes in tags for name, value in attributes.items() if name in {"src", "href"}]
    assert addresses
    assert [address for address in addresses if not address.startswith("#")] == []
    assert [tag for tag, _ in tags].count("script") == 1
    assert "default-src 'none'" in page
    assert re.findall(r"url\((?!#)|@import", page) == []


def test_page_escapes_what_comes_from_documents_questions_and_models(page):
    """The script stands in description, question, answer, passage and warning: five times as text, never as markup."""
    assert SCRIPT not in page
    assert page.count("&lt;script&gt;document.title=&#39;taken over&#39;&lt;/script&gt;") >= 5
    assert "a &lt;b&gt;guess&lt;/b&gt;" in page


def test_page_is_the_same_every_time_with_ids_that_are_there_once(page):
    """Same evidence, same bytes; charts do not share ids."""
    assert render_page(dossier()) == page
    counts = Counter(attributes["id"] for _, attributes in Tags(page).found if "id" in attributes)
    assert [name for name, count in counts.items() if count > 1] == []
    targets = {
        value[1:] for _, attributes in Tags(page).found if (value := attributes.get("href") or "").startswith("#")
    }
    assert targets <= set(counts)


def test_page_charts_are_text_in_the_pages_colours(page):
    """Labels stay text, colours are variables, and every chart has a name for those who do not see it."""
    charts = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(charts) == 5  # differences, three kinds, cost against quality
    for chart in charts:
        root = etree.fromstring(chart)
        assert root.get("role") == "img"
        assert root.findtext("{http://www.w3.org/2000/svg}title")
        assert "<text" in chart
        assert "var(--" in chart
        assert re.findall(r"#[0-9a-f]{6}", chart) == []


def test_page_of_money_draws_the_break_even():
    """With prices the cost is money and the break-even stands where both arms cost the same."""
    cards = {}
    for arm, cost in (("base", 0.1), ("rag", 0.6), ("tuned", 0.2), ("hybrid", 0.4)):
        card = scorecard(arm)
        priced = {"cost_per_1000_queries": Score(cost, 1)}
        if arm in {"tuned", "hybrid"}:
            priced["break_even_queries_per_day"] = Score(1_500.0 if arm == "tuned" else None, 1)
        cards[arm] = type(card)(arm, {**card.metrics, **priced}, card.by_kind, card.by_case)
    priced = dossier(scorecards=cards, currency="EUR")
    assert "0.4 EUR" in cost_quality_chart(priced).svg
    chart = break_even_chart(priced)
    assert "tuned: from 1,500 a day" in chart.svg
    assert "hybrid" not in chart.svg  # it never breaks even
    assert break_even_chart(dossier()) is None


def test_page_without_a_single_score_is_drawn():
    """Nothing measured is said, not an error."""
    cards = {arm: type(scorecard(arm))(arm, {}, {}, {}) for arm in ARMS}
    page = render_page(dossier(scorecards=cards))
    assert "Costs were not measured." in page
    assert "not measured" in page


def test_report_is_written_whole_once_and_found_again(tmp_path, monkeypatch):
    """A failure leaves no folder; a written report stays as it is; the newest is remembered."""
    reports = tmp_path / "reports"
    with monkeypatch.context() as patched:
        patched.setattr("steelyard.dossier.files.write_scores", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_report(reports, dossier())
    assert list(reports.iterdir()) == []
    assert latest_report(reports) is None
    folder = write_report(reports, dossier())
    assert {file.name for file in folder.iterdir()} == {"report.html", "report.md", "scores.parquet"}
    before = (folder / "report.html").stat().st_mtime_ns
    assert write_report(reports, dossier()) == folder
    assert (folder / "report.html").stat().st_mtime_ns == before
    remember_latest(reports, folder)
    assert latest_report(reports) == folder / "report.html"


def test_scores_have_a_row_for_every_case_arm_and_metric(tmp_path):
    """What was not scored is null and says so."""
    from pyarrow import parquet

    table = parquet.read_table(write_report(tmp_path, dossier()) / "scores.parquet").to_pylist()
    assert len({(row["case"], row["arm"], row["metric"]) for row in table}) == len(table)
    assert len(table) == sum(len(rows) for arm in ARMS for rows in scorecard(arm).by_case.values())
    (missing,) = [row for row in table if not row["is_scored"]]
    assert (missing["case"], missing["arm"], missing["metric"], missing["value"]) == ("fresh-7", "rag", "fact", None)
