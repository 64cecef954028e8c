"""What an evaluation keeps beside its scores."""

from __future__ import annotations

from steelyard.evaluate.kept import keep, read_kept, write_kept
from steelyard.records import Answer, Hit, Message, Passage, Prompt

PASSAGE = Passage("p1", "nginx", 0, "nginx", "nginx > 1.29", "1.29.1 <b>", "docs/nginx.md", 1)
SHARED = (Message("system", "be brief"), Message("user", "an example"))


def test_kept_answers_written_and_read_are_the_same(tmp_path):
    """Answers, whole prompts and each passage once come back as they were."""
    prompts = [Prompt((*SHARED, Message("user", f"question {number}\u2028é")), 2) for number in range(2)]
    answers = [Answer("rag", f"c{number}", "{}", ("p1",), ("nginx",), 9, 2, "d") for number in range(2)]
    hits = {"c0": [Hit(PASSAGE, 0.5)], "c1": [Hit(PASSAGE, 0.4)]}
    kept = keep(answers, prompts, hits)
    write_kept(tmp_path / "new/kept.json", kept)
    assert read_kept(tmp_path / "new/kept.json") == kept
    assert kept.passages == {"p1": PASSAGE}
    assert (tmp_path / "new/kept.json").read_text(encoding="utf-8").count("be brief") == 1


def test_kept_prompt_that_shares_nothing_comes_back_as_it_was(tmp_path):
    """A question asked without the task stands beside those of the task, in either order."""
    plain, task = Prompt((Message("user", "plain"),)), Prompt((*SHARED, Message("user", "question")), 2)
    answers = [Answer("base", f"c{number}", "{}", (), (), 9, 2, "d") for number in range(2)]
    for prompts in ([task, plain], [plain, task]):
        kept = keep(answers, prompts, {})
        write_kept(tmp_path / "kept.json", kept)
        assert read_kept(tmp_path / "kept.json") == kept


def test_kept_answers_of_no_case_are_empty(tmp_path):
    """Nothing asked is nothing kept, not an error."""
    write_kept(tmp_path / "kept.json", keep([], [], {}))
    assert read_kept(tmp_path / "kept.json") == keep([], [], {})
