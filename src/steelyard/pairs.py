"""Making training pairs and test cases, from a table of facts and templates or from a log of questions and answers.

Belongs here: pure functions from rows to pairs, and their split by source document. Not here: files.

Templates are Jinja2, in its sandbox. Whole documents become cases, whatever is asked about them, so that no case asks
about a document that a pair was made from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from steelyard.errors import ConfigError
from steelyard.fingerprint import digest
from steelyard.records import Pair, PairKind
from steelyard.training_set import hold_out

_TEMPLATE_KEYS = {"input", "output", "document", "kind"}
_PAIR_KINDS: tuple[PairKind, ...] = ("fact", "unanswerable")

Fields = Mapping[str, Any]


class RowError(ValueError):
    """Raised when a row does not give what a template or a log needs; the message names the field."""


@dataclass(frozen=True, slots=True)
class Template:
    """How a row becomes a pair: one of `inputs`, drawn; `output`, a text or a JSON object; its source document."""

    inputs: tuple[str, ...]
    output: str | Mapping[str, Any]
    document: str
    kind: PairKind = "fact"


@dataclass(frozen=True, slots=True)
class LogFields:
    """Which fields of a log hold what; with `rating`, answers rated below `minimum_rating` are left out."""

    question: str = "question"
    answer: str = "answer"
    documents: str = "documents"
    rating: str | None = None
    minimum_rating: float = 0.0


def parse_templates(text: str, *, name: str) -> tuple[Template, ...]:
    """Read templates from YAML: a mapping or a list of mappings with input (text or list), output, document, kind.

    Raises `ConfigError` that names the template and the field.
    """
    import yaml

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name} is not YAML: {error}", remedy="see steelyard pairs from-table --help") from None
    items = value if isinstance(value, list) else [value]
    return tuple(_template(item, where=f"{name}, template {number}") for number, item in enumerate(items, start=1))


def _template(value: Any, *, where: str) -> Template:
    remedy = "see steelyard pairs from-table --help"
    if not isinstance(value, dict):
        raise ConfigError(f"{where} is no mapping; expected input, output and document", remedy=remedy)
    missing, unknown = {"input", "output", "document"} - value.keys(), value.keys() - _TEMPLATE_KEYS
    if missing or unknown:
        said = [f"lacks {', '.join(sorted(missing))}"] if missing else []
        said += [f"has unknown {', '.join(sorted(map(str, unknown)))}"] if unknown else []
        raise ConfigError(f"{where} {' and '.join(said)}", remedy=remedy)
    inputs = value["input"] if isinstance(value["input"], list) else [value["input"]]
    kind = value.get("kind", "fact")
    if not inputs or not all(isinstance(text, str) for text in (*inputs, value["document"])):
        raise ConfigError(f"{where}: input and document are texts", remedy=remedy)
    if kind not in _PAIR_KINDS:
        raise ConfigError(f"{where}: kind is {kind!r}; expected one of {', '.join(_PAIR_KINDS)}", remedy=remedy)
    return Template(tuple(inputs), value["output"], value["document"], kind)


def pair_of_row(fields: Fields, template: Template, *, seed: int) -> Pair:
    """Return the pair that a template makes of a row of a table; raises `RowError` for a field that is not there."""
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)

    def fill(text: str) -> str:
        return str(environment.from_string(text).render(fields))

    chosen = int(digest([seed, sorted(fields.items(), key=str)])[:8], 16) % len(template.inputs)
    try:
        output = template.output
        if not isinstance(output, str):
            output = json.dumps(_filled(output, fill), ensure_ascii=False, separators=(",", ":"))
        else:
            output = fill(output)
        pair_input, document = fill(template.inputs[chosen]), fill(template.document)
    except TemplateError as error:
        raise RowError(f"{error}; the row has: {', '.join(map(str, fields))}") from None
    return _pair(pair_input, output, template.kind, (document,))


def _filled(value: Any, fill: Any) -> Any:
    """Fill the texts of a JSON value; a text that is left empty is null, which is how tables write "none"."""
    if isinstance(value, str):
        return fill(value) or None
    if isinstance(value, Mapping):
        return {key: _filled(item, fill) for key, item in value.items()}
    return [_filled(item, fill) for item in value] if isinstance(value, list) else value


def pair_of_log(fields: Fields, names: LogFields) -> Pair | None:
    """Return the pair of one logged question, None when its answer was not rated well enough.

    Raises `RowError` for a field that is not there.
    """
    if names.rating is not None:
        try:
            if float(_field(fields, names.rating)) < names.minimum_rating:
                return None
        except (TypeError, ValueError) as error:
            raise RowError(f"field {names.rating!r} is no number") from error
    answer = _field(fields, names.answer)
    if not isinstance(answer, str):
        answer = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
    documents = fields.get(names.documents) or ()
    if isinstance(documents, str):
        documents = [part.strip() for part in documents.split(";") if part.strip()]
    return _pair(str(_field(fields, names.question)), answer, "fact", tuple(map(str, documents)))


def _field(fields: Fields, name: str) -> Any:
    value = fields.get(name)
    if value is None or value == "":
        raise RowError(f"field {name!r} is missing; the row has: {', '.join(map(str, fields)) or 'nothing'}")
    return value


def _pair(pair_input: str, output: str, kind: PairKind, documents: tuple[str, ...]) -> Pair:
    if not pair_input.strip() or not output.strip():
        raise RowError("the input or the output is empty")
    return Pair(digest(["pair", pair_input, output])[:16], pair_input, output, kind, documents)


def split_by_document(
    documents: Sequence[tuple[str, ...]], *, share: float, seed: int
) -> tuple[Literal["pair", "case"], ...]:
    """Return for rows, by the documents that they are about, whether they become pairs or cases."""
    stubs = [Pair(str(place), "", "", documents=names) for place, names in enumerate(documents)]
    held = {pair.id for pair in hold_out(stubs, share=share, seed=seed).held_out}
    return tuple("case" if str(place) in held else "pair" for place in range(len(documents)))


def pair_line(pair: Pair) -> str:
    """Return a pair as a line of a pairs file."""
    fields = {"id": pair.id, "input": pair.input, "output": pair.output, "kind": pair.kind}
    return json.dumps({**fields, "documents": list(pair.documents)}, ensure_ascii=False)


def case_line(pair: Pair) -> str:
    """Return a pair as a line of a cases file."""
    fields = {"id": pair.id, "question": pair.input, "expected": pair.output, "kind": pair.kind}
    return json.dumps({**fields, "documents": list(pair.documents)}, ensure_ascii=False)
