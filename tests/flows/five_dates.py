"""The lifecycle project with all five dates of its facts, written by the same page maker as the two that it ships."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from projects import ROOT

DATES = ("2023-01-01", "2024-01-01", "2025-01-01", "2026-01-01", "2026-08-22")
FACTS = ROOT.parent / "shared/data/endoflife-date/facts.tsv.gz"
_PRODUCTS = 12  # enough to change from date to date, few enough to be quick


def page_maker() -> Any:
    """Return the module that writes the sample project's pages."""
    spec = importlib.util.spec_from_file_location("lifecycle_data", ROOT / "bench/lifecycle_data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def add_dates(file: Path) -> None:
    """Give a copy of the smoke project the pages of all five dates; skips where the facts are not at hand."""
    if not FACTS.is_file():
        pytest.skip(f"no facts in {FACTS}")
    maker, pages = page_maker(), file.parent / "pages"
    slugs = [*maker.TRAIN_PRODUCTS, *maker.CASE_PRODUCTS]
    for folder in pages.iterdir():
        for page in sorted(folder.glob("*.md"))[_PRODUCTS:]:
            page.unlink()
    kept = {page.stem for folder in pages.iterdir() for page in folder.iterdir()}
    for date in DATES:
        if (pages / date).exists():
            continue
        maker.OLD = date
        facts = maker.read_facts(FACTS)
        shutil.rmtree(pages / date, ignore_errors=True)
        (pages / date).mkdir()
        for position, slug in enumerate(slugs):
            product = maker.read_product(facts, slug, position)
            if slug in kept and product.old:
                (pages / date / f"{slug}.md").write_text(maker.page(product, date), encoding="utf-8")
    lines = "".join(f"        - {{date: {date}, path: pages/{date}}}\n" for date in DATES)
    text = file.read_text(encoding="utf-8")
    head, _, rest = text.partition("      snapshots:\n")
    tail = rest[rest.index("  pairs:") :]
    file.write_text(f"{head}      snapshots:\n{lines}{tail}", encoding="utf-8")
