import threading

import pytest

from steelyard.citations import cited_passages
from steelyard.errors import DataError
from steelyard.promote.responder import MAX_QUESTION_CHARACTERS, Responder, Retrieval
from steelyard.prompts import render_prompt
from steelyard.records import Completion, Hit, Passage


def a_hit(document_id: str) -> Hit:
    """Return a hit in a document."""
    passage = Passage(f"{document_id}-1", document_id, 0, f"Title of {document_id}", "", "Its text.", "file", 1)
    return Hit(passage, 1.0)


def echo_last_document(prompts) -> list[Completion]:
    """Stand in for a model: cite the last document of the prompt, or say nothing is known."""
    answers = []
    for prompt in prompts:
        parts = prompt.messages[-1].content.split('<document id="')
        answers.append(Completion(f"[{parts[-1].split(chr(34))[0]}]" if len(parts) > 1 else "unknown", 5, 2, 0.0))
    return answers


def a_responder(arm="rag", search=None, generate=echo_last_document) -> Responder:
    """Return a responder with real prompts and citations and a scripted model."""
    return Responder(
        arm=arm,
        generate=generate,
        render=lambda question, hits: render_prompt(question, instructions="Answer.", hits=hits),
        cite=lambda text, hits: cited_passages(text, hits, citation_field=None),
        search=search,
    )


def test_responder_retrieving_arm_cites_what_it_names():
    """A reply holds the cited passage in full and the ids of everything that was retrieved, best first."""
    responder = a_responder(search=lambda qs: Retrieval(7, [[a_hit(f"{q}-best"), a_hit(f"{q}-next")] for q in qs]))
    first, second = responder.answer(["a", "b"])
    assert first.answer == "[a-best]"
    assert first.plain() == {
        "answer": "[a-best]",
        "citations": [{"id": "a-best-1", "title": "Title of a-best", "uri": "file", "text": "Its text."}],
        "arm": "rag",
        "snapshot": 7,
        "retrieved": ["a-best-1", "a-next-1"],
    }
    assert second.citations[0].id == "b-best-1"


def test_responder_nothing_found_still_answers():
    """A search without hits is an answer without sources, not an error."""
    (reply,) = a_responder(search=lambda qs: Retrieval(1, [[] for _ in qs])).answer(["a"])
    assert (reply.answer, reply.citations, reply.retrieved, reply.snapshot) == ("unknown", (), (), 1)


def test_responder_arm_without_retrieval_has_no_snapshot():
    """The base arm neither searches nor cites."""
    (reply,) = a_responder(arm="base").answer(["a"])
    assert (reply.snapshot, reply.citations, reply.retrieved) == (None, (), ())


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        (None, "expected a list of texts, found NoneType"),
        ("one text", "expected a list of texts, found str"),
        ([], "the list is empty"),
        (["fine", None], "question 2: expected a text, found NoneType"),
        ([3], "question 1: expected a text, found int"),
        (["fine", " \n"], "question 2: the text is blank"),
        (["x" * (MAX_QUESTION_CHARACTERS + 1)], "question 1: 32,001 characters, expected at most 32,000"),
    ],
)
def test_responder_bad_question_named_before_any_work(questions, message):
    """What cannot be asked is refused by its place in the list, before the model runs."""

    def never(prompts):
        raise AssertionError("the model ran")

    with pytest.raises(DataError, match=message):
        a_responder(arm="base", generate=never).answer(questions)


def test_responder_second_thread_waits_for_its_turn():
    """A model in memory answers one batch at a time, however many threads ask."""
    second_generated, was_overtaken, threads = threading.Event(), [], []

    def generate(prompts):
        if prompts[0].messages[-1].content == "second":
            second_generated.set()
        else:
            threads.append(threading.Thread(target=responder.answer, args=(["second"],)))
            threads[0].start()
            was_overtaken.append(second_generated.wait(timeout=0.05))
        return echo_last_document(prompts)

    responder = a_responder(arm="base", generate=generate)
    responder.answer(["first"])
    threads[0].join()
    assert was_overtaken == [False]
    assert second_generated.is_set()
