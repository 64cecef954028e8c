"""The report in a browser: looks, filter, phone, dark mode, print; nothing fetched, nothing complained about."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest
from dossier_sample import dossier

from steelyard.dossier.files import write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
LEAST_CONTRAST = 4.5  # WCAG 2.2, 1.4.3, text of normal size

CONTRASTS = Path(__file__).with_name("contrast.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def browser():
    """Start the machine's own Chromium."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser on PATH (looked for {', '.join(BROWSERS)}); `make browser` installs one on Debian")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    """Return the address of the sample's report."""
    return (write_report(tmp_path_factory.mktemp("reports"), dossier()) / "report.html").as_uri()


@pytest.fixture
def open_page(browser, address):
    """Return a function that opens the report in a new window; whatever it complains of or asks for fails the test."""
    heard, pages = [], []

    def opened(**settings):
        page = browser.new_page(**({"viewport": {"width": 1280, "height": 900}} | settings))
        pages.append(page)
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("request", lambda request: heard.append(request.url) if request.url != address else None)
        page.goto(address)
        return page

    yield opened
    for page in pages:
        page.close()
    assert heard == []


def shown(page) -> list[str]:
    """Return the ids of the cases that can be seen."""
    return [line.split(" · ")[1] for line in page.locator(".flip:visible > p.small").all_inner_texts()]


def test_report_shows_the_verdict_and_runs_no_script_of_the_data(open_page, tmp_path):
    """The page says who won; a script in a page, a question or an answer is text; the screenshot is not empty."""
    page = open_page()
    assert page.title() == "things: hybrid is promoted"
    assert page.locator("h1").inner_text() == "Hybrid is promoted"
    assert page.get_by_text("<script>document.title=").count() >= 3
    picture = page.screenshot(path=tmp_path / "report.png", full_page=True)
    assert len(picture) > 100_000


def test_filter_narrows_answers_by_arms_outcome_kind_and_words(open_page):
    """Each field of the filter does what it says, and the count is told."""
    page = open_page()
    pair, outcome, kind = (page.locator(f"select[name={name}]") for name in ("pair", "outcome", "kind"))
    words, told = page.locator("input[name=words]"), page.locator("#shown")
    assert pair.input_value() == "hybrid/rag"
    both = shown(page)
    assert told.inner_text() == f"Showing {len(both)} of 20 cases."
    assert page.locator("th[data-arm=base]:visible").count() == 0
    outcome.select_option("win")
    assert shown(page) == both  # RAG is never better here
    outcome.select_option("loss")
    assert shown(page) == []
    outcome.select_option("")
    kind.select_option("fresh")
    fresh = shown(page)
    assert fresh == [case for case in both if case.startswith("fresh-")]
    words.fill("THING 4")
    assert shown(page) == ["fresh-4"]
    words.fill("no such words")
    assert told.inner_text() == "Showing 0 of 20 cases."
    words.fill("")
    kind.select_option("")
    pair.select_option("")
    assert len(shown(page)) == 20
    assert page.locator(".flip").first.locator("th[data-arm]:visible").count() == 4


def test_report_without_scripts_is_a_plain_list(open_page):
    """Every case and every arm's answer can be read; the filter that would not work is not there."""
    page = open_page(java_script_enabled=False)
    assert page.locator(".flip:visible").count() == 20
    assert page.locator("#filter:visible").count() == 0
    assert page.locator(".flip").first.locator("th[data-arm]:visible").count() == 4


@pytest.mark.parametrize("has_scripts", [True, False])
def test_report_on_a_phone_scrolls_one_way_only(open_page, has_scripts):
    """At 390 pixels nothing is wider than the screen, with or without scripts."""
    page = open_page(viewport={"width": 390, "height": 844}, java_script_enabled=has_scripts)
    page.screenshot(full_page=True)
    assert page.locator("body").bounding_box()["width"] <= 390
    page.mouse.wheel(400, 0)
    wide = [
        box
        for selector in ("section", ".arm", "figure", "h1", "form")
        for item in page.locator(selector).all()
        if (box := item.bounding_box()) and box["x"] + box["width"] > 390
    ]
    assert wide == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_report_can_be_read_in_either_theme(open_page, scheme):
    """All text has the contrast that WCAG asks for, in charts too; the themes differ."""
    page = open_page(color_scheme=scheme)
    for details in page.locator("details").all():
        details.evaluate("item => item.open = true")
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 300
    assert [line for ratio, line in contrasts if ratio < LEAST_CONTRAST] == []
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(18, 22, 28)") == (scheme == "dark")


def test_report_prints_dark_on_white_with_everything_unfolded(open_page):
    """Paper is white in the dark theme too, has no filter, and shows the passages."""
    page = open_page(color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("#filter:visible, nav:visible").count() == 0
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
    assert page.pdf()[:5] == b"%PDF-"


def test_report_has_landmarks_captions_and_labels(open_page):
    """Who cannot see the page finds the parts, the tables' headings and the fields' names."""
    page = open_page()
    for landmark in ("header", "main", "nav[aria-label]", "footer", "html[lang]"):
        assert page.locator(landmark).count() == 1, landmark
    for selector, has_name in (
        ("table", "item.caption.textContent.trim()"),
        ("th", "item.scope"),
        ("select, input", "item.labels.length"),
        ("section", "document.getElementById(item.getAttribute('aria-labelledby'))"),
        ("svg", "item.querySelector('title').textContent"),
    ):
        assert page.evaluate(f"[...document.querySelectorAll('{selector}')].every(item => {has_name})"), selector
    headings = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(item => Number(item.tagName[1]))")
    assert headings[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))
