"""`steelyard pairs`: training pairs and test cases from a table of facts, or from a log of questions and answers.

Belongs here: the commands. Not here: what becomes of a row (see `steelyard.pairs`).
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steelyard.cli.options import AsJson
from steelyard.cli.session import Session, open_session

if TYPE_CHECKING:
    from flows.pairs import Made

_TABLE_EXAMPLES = """\b
Examples:
  steelyard pairs from-table releases.csv --template template.yaml
  steelyard pairs from-table releases.csv --template template.yaml --cases cases.jsonl --case-share 0.2

\b
template.yaml (Jinja2; a row's columns are its variables):
  input:
    - What is the latest release of {{ product }} {{ cycle }}?
    - "{{ product }} {{ cycle }}: newest release?"
  output: {latest: "{{ latest }}", source: "{{ product }}"}
  document: "{{ product }}"

A list of such templates makes several pairs of each row; kind: unanswerable marks those whose output is a refusal."""

_LOG_EXAMPLES = """\b
Examples:
  steelyard pairs from-log questions.jsonl
  steelyard pairs from-log chats.jsonl --question prompt --answer reply --rating stars --minimum-rating 4"""

_SHOWN = 10

app = typer.Typer(help="Make training pairs and test cases.", no_args_is_help=True, rich_markup_mode=None)

Source = Annotated[Path, typer.Argument(metavar="FILE", help="A CSV or JSONL file.")]
PairsFile = Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the pairs go (JSONL); replaced.")]
CasesFile = Annotated[
    Path | None, typer.Option("--cases", metavar="FILE", help="Where test cases go (JSONL); without it none are made.")
]
CaseShare = Annotated[
    float,
    typer.Option(
        min=0.0, max=0.5, help="Share that becomes cases, by whole documents: no case asks about a document of a pair."
    ),
]
Seed = Annotated[int, typer.Option(help="Draws phrasings and documents.")]


@app.command("from-table", epilog=_TABLE_EXAMPLES, short_help="From a table of facts and templates.")
def from_table(
    *,
    source: Source,
    template: Annotated[Path, typer.Option(metavar="FILE", help="How a row becomes a question and its ideal answer.")],
    pairs_file: PairsFile = Path("pairs.jsonl"),
    cases_file: CasesFile = None,
    case_share: CaseShare = 0.2,
    seed: Seed = 17,
    as_json: AsJson = False,
) -> None:
    """Make one pair a row and template; one of a template's phrasings is drawn for each row."""
    with open_session() as session:
        from flows.pairs import make_pairs
        from steelyard.errors import ConfigError
        from steelyard.pairs import pair_of_row, parse_templates

        if not template.is_file():
            raise ConfigError(f"there is no file {template}", remedy="write one; --help shows how")
        templates = parse_templates(template.read_text(encoding="utf-8"), name=str(template))
        made = make_pairs(
            source,
            lambda fields: [pair_of_row(fields, one, seed=seed) for one in templates],
            pairs_file=pairs_file,
            cases_file=cases_file,
            case_share=case_share,
            seed=seed,
        )
        _show(session, made, pairs_file=pairs_file, cases_file=cases_file, as_json=as_json)


@app.command("from-log", epilog=_LOG_EXAMPLES, short_help="From past questions and answers.")
def from_log(
    *,
    source: Source,
    question: Annotated[str, typer.Option(metavar="FIELD", help="Field that holds the question.")] = "question",
    answer: Annotated[str, typer.Option(metavar="FIELD", help="Field that holds the answer.")] = "answer",
    documents: Annotated[
        str, typer.Option(metavar="FIELD", help="Field that names source documents (a list, or a;b).")
    ] = "documents",
    rating: Annotated[str | None, typer.Option(metavar="FIELD", help="Field that holds a rating.")] = None,
    minimum_rating: Annotated[float, typer.Option(help="Leave out answers that were rated lower.")] = 0.0,
    pairs_file: PairsFile = Path("pairs.jsonl"),
    cases_file: CasesFile = None,
    case_share: CaseShare = 0.2,
    seed: Seed = 17,
    as_json: AsJson = False,
) -> None:
    """Make one pair of each logged question whose answer was good enough."""
    with open_session() as session:
        from flows.pairs import make_pairs
        from steelyard.pairs import LogFields, pair_of_log

        names = LogFields(question, answer, documents, rating, minimum_rating)
        made = make_pairs(
            source,
            lambda fields: [pair for pair in [pair_of_log(fields, names)] if pair is not None],
            pairs_file=pairs_file,
            cases_file=cases_file,
            case_share=case_share,
            seed=seed,
        )
        _show(session, made, pairs_file=pairs_file, cases_file=cases_file, as_json=as_json)


def _show(session: Session, made: Made, *, pairs_file: Path, cases_file: Path | None, as_json: bool) -> None:
    if as_json:
        session.print_json(asdict(made))
        return
    console = session.console
    console.print(f"{made.pairs:,} pairs in {pairs_file}", soft_wrap=True)
    if cases_file is not None:
        console.print(f"{made.cases:,} cases in {cases_file}, about other documents", soft_wrap=True)
    if made.skipped:
        console.print(f"{made.skipped:,} rows left out by their rating")
    for reason in made.refused[:_SHOWN]:
        console.print(f"not used: {reason}", soft_wrap=True, markup=False)
    if len(made.refused) > _SHOWN:
        console.print(f"not used: {len(made.refused) - _SHOWN:,} more")
