"""The sample project's committed data: what its pairs and cases claim must stand in its pages.

Everything here reads the committed files; only the tests that write them again need the release facts.
"""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = REPOSITORY / "configs" / "lifecycle"
OLD_PAGES, NEW_PAGES = PROJECT / "pages" / "2025-01-01", PROJECT / "pages" / "2026-08-22"
FACTS = REPOSITORY.parent / "shared" / "data" / "endoflife-date" / "facts.tsv.gz"
RECORD_KEYS = ["product", "cycle", "latest", "eol", "source"]
ANSWERED = {"fact", "fresh", "injection"}


def read_lines(name):
    """Read a JSONL file of the project."""
    return [json.loads(line) for line in (PROJECT / name).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def pairs():
    """Read all pairs, each with its ideal output parsed as `record`."""
    rows = read_lines("pairs.jsonl")
    return [row | {"record": json.loads(row["output"])} for row in rows]


@pytest.fixture(scope="module")
def all_cases():
    """Read all cases."""
    return read_lines("cases.jsonl")


@pytest.fixture(scope="module")
def cases(all_cases):
    """Return the cases about releases."""
    return [case for case in all_cases if case["kind"] != "retention"]


def has_token(token, text):
    """Tell whether a version stands in the text by itself: 3.1 is not in 3.11, 3.1.4 or 2023-1."""
    return re.search(rf"(?<![\w.-]){re.escape(token)}(?!\w|-\d|\.\d)", text) is not None


def release_line(folder, page_id, record):
    """Find the one line of a page that states the release, or None when the page has none."""
    text = (folder / f"{page_id}.md").read_text(encoding="utf-8")
    name = f"{record['product']} {record['cycle']}"
    lines = [line for line in text.splitlines() if not line.startswith("#") and has_token(name, line)]
    assert len(lines) <= 1, f"{page_id}: {name} is stated {len(lines)} times"
    return lines[0] if lines else None


def states(line, record):
    """Tell whether a line gives both values of a record."""
    return line is not None and has_token(record["latest"], line) and has_token(record["eol"], line)


def test_pairs_are_enough_to_tune_and_a_third_are_refusals(pairs):
    """At least 600 pairs, of which 25 to 40% must be refused."""
    refused = sum(pair["kind"] == "unanswerable" for pair in pairs)
    assert len(pairs) >= 600
    assert 0.25 <= refused / len(pairs) <= 0.4


def test_cases_cover_every_kind(cases):
    """At least 120 cases, with enough of each kind to compare arms on it."""
    kinds = Counter(case["kind"] for case in cases)
    assert len(cases) >= 120
    assert set(kinds) == {"fact", "fresh", "unanswerable", "injection"}
    assert min(kinds["fact"], kinds["fresh"], kinds["unanswerable"]) >= 30
    assert kinds["injection"] >= 8


def test_retention_cases_are_about_nothing_that_is_trained(all_cases, pairs):
    """A dozen questions of general knowledge, each with a text or a regular expression to find in the answer."""
    rows = [case for case in all_cases if case["kind"] == "retention"]
    assert len(rows) >= 12
    trained = " ".join(pair["input"] + " " + pair["output"] for pair in pairs)
    for row in rows:
        assert row["documents"] == []
        assert re.compile(row["expected"].strip("/")).groups <= 1
        assert row["question"] not in trained
    assert all_cases[-len(rows) :] == rows


def test_ids_and_questions_are_unique(pairs, all_cases):
    """No id and no question occurs twice, in pairs and cases taken together."""
    ids = [row["id"] for row in pairs + all_cases]
    questions = [pair["input"] for pair in pairs] + [case["question"] for case in all_cases]
    assert len(set(ids)) == len(ids)
    assert len(set(questions)) == len(questions)


def test_records_have_the_five_keys_in_order(pairs, cases):
    """Pairs and cases ask for the same object, keys in the order in which it is generated."""
    for record in [pair["record"] for pair in pairs] + [case["expected"] for case in cases]:
        assert list(record) == RECORD_KEYS


def test_pairs_and_cases_share_no_product(pairs, cases):
    """Neither a gold page, nor a product, nor a mention in a text is on both sides."""
    trained, tested = ({page for row in rows for page in row["documents"]} for rows in (pairs, cases))
    assert not trained & tested
    titles = {case["expected"]["product"] for case in cases}
    assert not titles & {pair["record"]["product"] for pair in pairs}
    text = "\n".join(pair["input"] + " " + pair["output"] for pair in pairs)
    assert [title for title in titles if re.search(rf"(?<!\w){re.escape(title)}(?!\w)", text)] == []


def test_snapshots_hold_one_page_a_product_and_the_gold_pages_exist(pairs, cases):
    """Both snapshots have the same page ids, the id in the front matter is the file name, and gold pages exist."""
    old, new = ({path.stem: path for path in folder.glob("*.md")} for folder in (OLD_PAGES, NEW_PAGES))
    assert len(new) >= 80
    assert old.keys() == new.keys()
    for page_id, path in [*old.items(), *new.items()]:
        assert path.read_text(encoding="utf-8").startswith(f"---\nid: {page_id}\ntitle: ")
    assert {page for row in pairs + cases for page in row["documents"]} <= new.keys()


def test_answered_pairs_are_stated_in_the_old_page(pairs):
    """Every trained value stands in its product's page of the old snapshot, in the release's line."""
    facts = [pair for pair in pairs if pair["kind"] == "fact"]
    assert facts
    for pair in facts:
        record = pair["record"]
        assert pair["documents"] == [record["source"]]
        assert states(release_line(OLD_PAGES, record["source"], record), record), pair["id"]


def test_answered_cases_are_stated_in_the_new_page(cases):
    """Every expected value stands in its product's page of the new snapshot, in the release's line."""
    for case in (case for case in cases if case["kind"] in ANSWERED):
        record = case["expected"]
        assert case["documents"] == [record["source"]] == [case["cluster"]]
        assert states(release_line(NEW_PAGES, record["source"], record), record), case["id"]


@pytest.mark.parametrize(("kind", "is_in_old_page"), [("fresh", False), ("fact", True)])
def test_only_fresh_cases_differ_from_the_old_page(cases, kind, is_in_old_page):
    """The old page gives a wrong answer or none to a fresh case, and the right one to a fact case."""
    for case in (case for case in cases if case["kind"] == kind):
        line = release_line(OLD_PAGES, case["cluster"], case["expected"])
        assert states(line, case["expected"]) == is_in_old_page, case["id"]


def test_unanswerable_questions_have_no_answer_in_any_page(pairs, cases):
    """The cycle stands nowhere on the product's pages, or no page is about the product; the record is null."""
    titles = {path.read_text(encoding="utf-8").split("\n# ")[1].split("\n")[0] for path in NEW_PAGES.glob("*.md")}
    rows = [(pair, pair["record"]) for pair in pairs] + [(case, case["expected"]) for case in cases]
    for row, record in ((row, record) for row, record in rows if row["kind"] == "unanswerable"):
        assert [record[key] for key in ("latest", "eol", "source")] == [None, None, None]
        assert (record["product"] in titles) == bool(row["documents"]), row["id"]
        for page_id in row["documents"]:
            for folder in (OLD_PAGES, NEW_PAGES):
                text = (folder / f"{page_id}.md").read_text(encoding="utf-8")
                assert not has_token(record["cycle"], text), row["id"]


def test_injection_cases_stand_beside_their_canary(cases):
    """The forbidden word is in the question's passage, only in the new snapshot, and in no right answer."""
    injections = [case for case in cases if case["kind"] == "injection"]
    assert len({case["forbidden"] for case in injections}) >= 4
    for case in injections:
        page = (NEW_PAGES / f"{case['cluster']}.md").read_text(encoding="utf-8")
        line = release_line(NEW_PAGES, case["cluster"], case["expected"])
        after = page.split(line)[1].splitlines()[1:4]
        assert any(case["forbidden"] in near for near in after), case["id"]
        assert case["forbidden"] not in (OLD_PAGES / f"{case['cluster']}.md").read_text(encoding="utf-8")
        assert case["forbidden"] not in json.dumps(case["expected"])


def test_most_paragraphs_survive_into_the_new_snapshot():
    """Releases that did not change keep their bytes, so that a later snapshot re-embeds what changed."""
    kept = total = 0
    for path in NEW_PAGES.glob("*.md"):
        before = set((OLD_PAGES / path.name).read_text(encoding="utf-8").split("\n\n"))
        after = path.read_text(encoding="utf-8").split("\n\n")
        total += len(after)
        kept += sum(block in before for block in after)
    assert kept / total > 0.5


@pytest.fixture
def generate():
    """Run the generator, where the release facts are at hand."""
    if not FACTS.is_file():
        pytest.skip(f"no release facts at {FACTS}")

    def run(*arguments):
        command = [sys.executable, str(REPOSITORY / "bench" / "lifecycle_data.py"), "--json", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


def test_generator_reproduces_the_committed_files(generate):
    """The same facts give the same bytes."""
    done = generate("--facts", str(FACTS), "--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_generator_check_names_a_file_that_differs(generate, tmp_path):
    """An edited and a missing file are both named, and the exit code is 1."""
    shutil.copytree(PROJECT, tmp_path, dirs_exist_ok=True)
    (tmp_path / "pages" / "2026-08-22" / "nginx.md").write_text("edited", encoding="utf-8")
    (tmp_path / "cases.jsonl").unlink()
    done = generate("--facts", str(FACTS), "--out", str(tmp_path), "--check")
    assert done.returncode == 1
    assert json.loads(done.stdout)["different"] == ["cases.jsonl", "pages/2026-08-22/nginx.md"]


def test_generator_with_unusable_facts_says_what_is_missing(tmp_path):
    """A table without the snapshots' columns is refused, and nothing is written."""
    table = tmp_path / "facts.tsv"
    table.write_text("product\ttitle\tcycle\tfield\t2025-01-01\n", encoding="utf-8")
    script = str(REPOSITORY / "bench" / "lifecycle_data.py")
    command = [sys.executable, script, "--facts", str(table), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "2026-08-22" in done.stderr
    assert not (tmp_path / "out").exists()


def test_generator_without_facts_says_which_file_is_missing(tmp_path):
    """A missing facts file is a usage error that names the file and the option."""
    missing = tmp_path / "none.tsv"
    command = [sys.executable, str(REPOSITORY / "bench" / "lifecycle_data.py"), "--facts", str(missing)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert str(missing) in done.stderr
    assert "--facts" in done.stderr
