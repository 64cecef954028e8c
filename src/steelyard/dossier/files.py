"""The dossier's files: a page, Markdown, and a table of scores, written together or not at all.

Belongs here: the folder and what lies in it. Not here: what the files say.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from steelyard.dossier.content import Dossier
from steelyard.dossier.page import render_page
from steelyard.dossier.summary import report_markdown
from steelyard.metrics import metric
from steelyard.workspace import write_atomically

PAGE, MARKDOWN, SCORES = "report.html", "report.md", "scores.parquet"
CODE_VERSION = 1  # raise when the files say something else about the same evaluation
_LATEST = "latest"
_FOLDER_CHARACTERS = 12


def report_folder(reports: Path, fingerprint: str) -> Path:
    """Return the folder of one report."""
    return reports / fingerprint[:_FOLDER_CHARACTERS]


def write_report(reports: Path, dossier: Dossier) -> Path:
    """Write a dossier's files into a folder of their own below `reports`, and return it.

    The folder is there with all of its files, or not at all; what is there stays.
    """
    folder = report_folder(reports, dossier.fingerprint)
    if folder.is_dir():
        return folder
    reports.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=reports, prefix="."))
    try:
        aside.chmod(0o755)
        (aside / PAGE).write_text(render_page(dossier), encoding="utf-8")
        (aside / MARKDOWN).write_text(report_markdown(dossier), encoding="utf-8")
        write_scores(aside / SCORES, dossier)
        aside.replace(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def write_scores(path: Path, dossier: Dossier) -> None:
    """Write one row a case, arm and metric; `value` is null where an answer was not scored."""
    import pyarrow as pa
    from pyarrow import parquet

    rows = [
        {
            "project": dossier.project,
            "case": case.id,
            "kind": case.kind,
            "cluster": case.cluster or case.id,
            "arm": arm,
            "metric": name,
            "unit": metric(name).unit,
            "value": value,
            "is_scored": value is not None,
        }
        for case in dossier.cases
        for arm in dossier.arms
        for name, value in sorted(dossier.scorecards[arm].by_case.get(case.id, {}).items())
    ]
    texts = ("project", "case", "kind", "cluster", "arm", "metric", "unit")
    schema = pa.schema([*((name, pa.string()) for name in texts), ("value", pa.float64()), ("is_scored", pa.bool_())])
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def remember_latest(reports: Path, folder: Path) -> None:
    """Note which report belongs to the newest run."""
    write_atomically(reports / _LATEST, folder.name + "\n")


def latest_report(reports: Path) -> Path | None:
    """Return the page of the newest run, or None where there is none."""
    try:
        name = (reports / _LATEST).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    page = reports / name / PAGE
    return page if page.is_file() else None
