"""A user's own project: scaffolded, filled with pages and questions, no pairs; and what bad data ends with."""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil

import pytest
from projects import ROOT, Project

from pipelines.warehouse import Warehouse

SCIFACT = ROOT.parent / "shared/data/scifact/beir-form"


@pytest.fixture
def scifact():
    """Return (documents by id, claims with the id of the document that settles them)."""
    if not SCIFACT.is_dir():
        pytest.skip(f"no SciFact data in {SCIFACT}")
    with gzip.open(SCIFACT / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        documents = {row["_id"]: row for row in map(json.loads, file)}
    claims = {row["_id"]: row["text"] for row in map(json.loads, (SCIFACT / "queries.jsonl").open(encoding="utf-8"))}
    rows = [line.split("\t") for line in (SCIFACT / "qrels/test.tsv").read_text().splitlines()[1:]]
    return documents, [(claims[query], document) for query, document, _ in rows if query in claims]


def fill(folder, documents, claims):
    """Put 30 pages and 20 questions into a project; the answer to a claim is its paper's title."""
    chosen = {document: claim for claim, document in claims}  # one claim a document
    for document in list(chosen)[:30]:
        row = documents[document]
        (folder / "docs" / f"{document}.md").write_text(f"# {row['title']}\n\n{row['text']}\n", encoding="utf-8")
    with (folder / "cases.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "answer", "documents"])
        for document, claim in list(chosen.items())[:20]:
            question = f"What is the title of the paper about this: {claim}"
            writer.writerow([question, documents[document]["title"].rstrip("."), document])


def test_own_project_without_pairs_weighs_base_and_rag(scifact, prefect_server, tmp_path, monkeypatch):
    """Init, 30 pages, 20 cases, run: base and RAG are weighed, tuning is skipped with its reason."""
    monkeypatch.setenv("PREFECT_API_URL", prefect_server)
    project = Project(tmp_path / "mine/steelyard.yaml", dict(os.environ))
    assert project.command("init", str(tmp_path / "mine")).returncode == 0
    for sample in (tmp_path / "mine/docs").iterdir():
        sample.unlink()
    fill(tmp_path / "mine", *scifact)
    report = project.run()
    assert set(report["scores"]) == {"base", "rag"}
    assert report["decision"]["is_tuning_worthwhile"] is False
    assert "no training pairs" in report["decision"]["reasons"][0]
    assert report["scores"]["rag"]["retrieval_recall"]["value"] >= 0.8
    rag = report["verdicts"]["rag"]
    assert rag["ruling"] == "promote" or rag["reasons"]
    assert (report["promoted"] == "rag") == (rag["ruling"] == "promote")
    assert report["work"]["steps_trained"] == 0


def refuse_folder(project):
    """Point the pages to a folder that is not there."""
    shutil.rmtree(project.file.parent / "pages/2026-08-22")


def empty_corpus(project):
    """Leave no page in either snapshot."""
    for page in project.file.parent.glob("pages/*/*.md"):
        page.unlink()


def too_few_pairs(project):
    """Keep 19 pairs where 20 are asked for."""
    pairs = project.file.parent / "pairs.jsonl"
    pairs.write_text("\n".join(pairs.read_text().splitlines()[:19]) + "\n")


@pytest.mark.parametrize(
    ("spoil", "code", "told"),
    [
        (refuse_folder, 2, "pages/2026-08-22"),
        (empty_corpus, 3, "documents: there is none"),
        (too_few_pairs, 3, "pair_count"),
    ],
)
def test_release_bad_data_ends_with_its_exit_code_and_a_remedy(spoil, code, told, make_project):
    """What a user can mend is told without a traceback, as text and as JSON."""
    project = make_project()
    spoil(project)
    done = project.command("run", str(project.file), "--json")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    error = json.loads(done.stdout)["error"]
    assert told in error["message"]
    assert error["remedy"]


def test_release_quarantines_what_it_refuses_and_goes_on(make_project):
    """A malformed line, a page that is not UTF-8 and a pair that leaks a test product are refused, named and kept."""
    project = make_project()
    folder = project.file.parent
    case = json.loads((folder / "cases.jsonl").read_text().splitlines()[0])
    leak = {"id": "leak", "input": "What is new?", "output": case["expected"], "documents": case["documents"]}
    with (folder / "pairs.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"id": "cut off", "input": \n' + json.dumps(leak) + "\n")
    (folder / "pages/2026-08-22/broken.md").write_bytes(b"# caf\xe9\n")
    report = project.run("--set", "decide.tune=never", "--set", "sources.pairs.sample=null")
    assert report["refused"] == 3
    refusals = Warehouse(folder / ".steelyard/lifecycle-smoke/warehouse.duckdb").refusals()
    assert {refusal.table for refusal in refusals} == {"documents", "pairs"}
    told = [f"{refusal.location}: {refusal.reason}" for refusal in refusals]
    assert any("pairs.jsonl:641" in line for line in told)
    assert any("broken.md" in line for line in told)
    assert any("leak" in line and case["documents"][0] in line for line in told)
