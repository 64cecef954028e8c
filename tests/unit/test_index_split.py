import pytest

from steelyard.errors import ConfigError
from steelyard.index.split import Draft, split_document
from steelyard.records import Document

TABLE_ROWS = [f"| {cycle} | 2024-04-{cycle} | {cycle}.1.0 |" for cycle in range(10, 24)]
PAGE = "\n".join(
    [
        "# Node.js",
        "",
        "Node.js is a runtime. It has releases.",
        "",
        "## Releases",
        "",
        "| Cycle | Released | Latest |",
        "|---|---|---|",
        *TABLE_ROWS,
        "",
        "## Notes",
        "",
        "```",
        "# not a heading",
        "```",
        "",
        "### Support",
        "",
        "Support ends when the next cycle is two years old. Nobody is told twice.",
        "",
    ]
)


def a_document(text: str, *, id_: str = "nodejs", title: str = "Node.js") -> Document:
    """Return a document that differs in what the test is about."""
    return Document(id=id_, source="pages", uri="nodejs.md", title=title, text=text, content_hash="")


def split(text: str, *, size: int = 100, minimum: int = 60, overlap: int = 0, **changes) -> tuple[Draft, ...]:
    """Split a text into small passages."""
    document = a_document(text, **changes)
    return split_document(document, max_characters=size, min_characters=minimum, overlap=overlap)


def test_split_table_in_pieces_repeats_its_header_row():
    """Every passage that holds a row of the table holds the header row above it, and every row comes once."""
    rows = [draft for draft in split(PAGE) if "2024-04" in draft.text]

    assert len(rows) > 3
    for draft in rows:
        header, delimiter, *body = [line for line in draft.text.splitlines() if line.startswith("|")]
        assert (header, delimiter) == ("| Cycle | Released | Latest |", "|---|---|---|")
        assert set(body) <= set(TABLE_ROWS)
    assert [line for draft in rows for line in draft.text.splitlines() if "2024-04" in line] == TABLE_ROWS


def test_split_passage_begins_with_the_headings_above_it():
    """The first line names the document and its headings, outermost first; a heading in a code block is none."""
    support = next(draft for draft in split(PAGE) if "Nobody is told twice" in draft.text)

    assert support.heading_path == "Notes > Support"
    assert support.text.splitlines()[0] == "Node.js > Notes"
    assert support.text.splitlines()[1] == "### Support"
    assert not any("not a heading" in draft.heading_path for draft in split(PAGE))


def test_split_passage_that_starts_with_the_title_does_not_repeat_it():
    """A passage that holds the title as its own first heading has nothing put before it."""
    assert split(PAGE)[0].text == "# Node.js\n\nNode.js is a runtime. It has releases."


def test_split_heading_alone_makes_no_passage():
    """A chunk that holds only a heading is left out: the next passage names the heading."""
    assert not any(draft.text.splitlines()[-1].startswith("#") for draft in split(PAGE))


def test_split_last_heading_without_text_is_kept():
    """A heading with nothing below it is content of its own and is not lost."""
    drafts = split("Some text that is long enough to fill a passage by itself, and then more.\n\n## To be written\n")

    assert any("To be written" in draft.text for draft in drafts)


def test_split_unchanged_part_keeps_its_content_key():
    """Editing one section leaves the keys of the others alone, whatever their place."""
    before = {draft.content_key for draft in split(PAGE)}
    after = {draft.content_key for draft in split(PAGE.replace("told twice", "told thrice"))}

    assert len(before - after) == len(after - before) == 1


def test_split_identical_passages_get_keys_of_their_own():
    """The same paragraph twice gives two passages, told apart by their count."""
    paragraph = "The same words again, and they are long enough to stand alone in a passage."
    drafts = split(f"{paragraph}\n\n{paragraph}\n", title="")

    assert [draft.text for draft in drafts] == [paragraph, paragraph]
    assert len({draft.content_key for draft in drafts}) == 2


def test_split_same_text_in_two_documents_has_two_keys():
    """A key belongs to one document."""
    first, second = split("Shared text.", id_="a"), split("Shared text.", id_="b")

    assert first[0].content_key != second[0].content_key


@pytest.mark.parametrize("text", ["", "  \n\n \t\n"])
def test_split_document_without_text_gives_nothing(text):
    """Nothing to say makes no passage."""
    assert split(text) == ()


@pytest.mark.parametrize("newline", ["\r\n", "\r"])
def test_split_other_line_ends_give_the_same_passages(newline):
    """Files from other systems are split alike."""
    assert split(PAGE.replace("\n", newline)) == split(PAGE)


def test_split_setext_headings_and_unicode_are_read():
    """Underlined headings count as headings, and no character is lost."""
    drafts = split("Überblick\n=========\n\nStraße 🚲 und 日本語のテキスト.\n", title="Führer")

    assert drafts[0].heading_path == "Überblick"
    assert "Straße 🚲 und 日本語のテキスト." in drafts[0].text


def test_split_long_document_loses_nothing():
    """A document above the size that the splitter takes at once gives each of its lines once, under its heading."""
    sections = [f"## Section {n}\n\nStatement number {n} about the matter, stated once.\n" for n in range(4000)]
    drafts = split("\n".join(sections))

    assert len("\n".join(sections)) > 200_000
    found = [draft for draft in drafts if "Statement" in draft.text]
    assert len(found) == 4000
    assert all(f"Statement number {draft.heading_path.split()[-1]} " in draft.text for draft in found)


def test_split_long_line_is_cut_within_the_size():
    """A long text without any structure is still cut, and all of it is kept."""
    drafts = split("x" * 250_000, size=1000, minimum=1000, title="")

    assert max(len(draft.text) for draft in drafts) <= 1000
    assert sum(len(draft.text) for draft in drafts) == 250_000


@pytest.mark.parametrize(("size", "minimum", "overlap"), [(100, 0, 0), (100, 101, 0), (100, 50, 50), (100, 50, -1)])
def test_split_sizes_that_contradict_are_refused(size, minimum, overlap):
    """The message names the three numbers and how they must relate."""
    with pytest.raises(ConfigError, match=r"max_characters 100(.|\n)*0 < min_characters <= max_characters"):
        split(PAGE, size=size, minimum=minimum, overlap=overlap)


def test_split_overlap_repeats_the_end_of_the_last_passage():
    """With overlap, neighbours share words."""
    text = " ".join(f"word{n}" for n in range(60))
    first, second = split(text, overlap=30, title="")[:2]

    assert set(first.text.split()) & set(second.text.split())
