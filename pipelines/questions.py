"""Training pairs and test cases out of JSONL and CSV files.

Belongs here: which fields a pair and a case have. Not here: rules that look at more than one table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

from pipelines.documents import SUFFIXES
from pipelines.files import list_files
from pipelines.rows import FieldError, Row, answer_field, list_field, read_rows, refuse, text_field
from pipelines.spec import CaseSource, PairSource
from steelyard.errors import DataError
from steelyard.fingerprint import digest
from steelyard.records import CASE_KINDS, Case, CaseKind, Pair, PairKind, Refusal
from steelyard.secrets import secret_kinds

PAIR_KINDS: tuple[PairKind, ...] = ("fact", "unanswerable")
_SHOWN_PLACES = 20
_Question = TypeVar("_Question", Pair, Case)


def read_pairs(source: PairSource, *, max_bytes: int) -> Iterator[Pair | Refusal]:
    """Yield the pairs of a source in order.

    A pair that seems to hold a key or a password is not yielded: what is trained on can be asked for. At the end
    `DataError` names the places of all of them, never the secrets. Raises `ConfigError` when the path is missing.
    """
    found: list[tuple[str, tuple[str, ...]]] = []
    for location, item in _read(source, "pairs", _pair, max_bytes=max_bytes):
        text = item.payload if isinstance(item, Refusal) else f"{item.input}\n{item.output}"
        kinds = secret_kinds(text)
        if kinds:
            found.append((location, kinds))
        else:
            yield item
    if found:
        raise _secrets_found(found)


def _secrets_found(found: Sequence[tuple[str, tuple[str, ...]]]) -> DataError:
    places = "\n".join(f"  {location}: {', '.join(kinds)}" for location, kinds in found[:_SHOWN_PLACES])
    more = f"\n  and {len(found) - _SHOWN_PLACES} more" if len(found) > _SHOWN_PLACES else ""
    return DataError(
        f"{len(found)} training pairs seem to hold a key or a password; nothing was loaded:\n{places}{more}",
        remedy="take them out of the pairs, and revoke the keys where they are real",
    )


def read_cases(source: CaseSource, *, max_bytes: int) -> Iterator[Case | Refusal]:
    """Yield the cases of a source in order; raises `ConfigError` when its path is missing."""
    return (item for _, item in _read(source, "cases", _case, max_bytes=max_bytes))


def _read(
    source: PairSource | CaseSource,
    table: str,
    build: Callable[[Mapping[str, Any]], _Question],
    *,
    max_bytes: int,
) -> Iterator[tuple[str, _Question | Refusal]]:
    """Yield every row with its place."""
    seen: dict[str, str] = {}
    for file in list_files(source.path, SUFFIXES[source.format], subject=table):
        for row in read_rows(file, source.format, table=table, max_bytes=max_bytes):
            if not isinstance(row, Row):
                yield row.location, row
                continue
            try:
                question = build(row.fields)
                if question.id in seen:
                    raise FieldError(f"the id {question.id!r} is already taken by {seen[question.id]}")
            except FieldError as error:
                yield row.location, refuse(table, row.location, str(error), _payload(row))
            else:
                seen[question.id] = row.location
                yield row.location, question


def _payload(row: Row) -> str:
    return ", ".join(f"{name}: {value}" for name, value in row.fields.items())


def _pair(fields: Mapping[str, Any]) -> Pair:
    input_ = text_field(fields, "input")
    output = answer_field(fields, "output")
    return Pair(
        id=text_field(fields, "id", default="") or digest(["pair", input_, output]),
        input=input_,
        output=output,
        kind=cast("PairKind", _choice(fields, "kind", PAIR_KINDS)),
        documents=list_field(fields, "documents"),
    )


def _case(fields: Mapping[str, Any]) -> Case:
    question = text_field(fields, "question")
    expected = answer_field(fields, "expected" if "expected" in fields or "answer" not in fields else "answer")
    documents = list_field(fields, "documents")
    id_ = text_field(fields, "id", default="") or digest(["case", question, expected])
    return Case(
        id=id_,
        question=question,
        kind=cast("CaseKind", _choice(fields, "kind", CASE_KINDS)),
        expected=expected,
        documents=documents,
        cluster=text_field(fields, "cluster", default="") or (documents[0] if documents else id_),
        forbidden=text_field(fields, "forbidden", default="") or None,
    )


def _choice(fields: Mapping[str, Any], name: str, choices: Sequence[str]) -> str:
    value = text_field(fields, name, default="") or choices[0]
    if value not in choices:
        raise FieldError(f"field {name!r} is {value!r}; expected one of {', '.join(choices)}")
    return value
