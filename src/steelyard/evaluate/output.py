"""What an answer of a project looks like: its form, a refusal, and the facts that it claims.

Belongs here: pure functions of one answer and the agreed output. Not here: whether an answer is right (see `scores`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from steelyard.citations import parse_object, without_citations
from steelyard.evaluate.text import holds, normalise, stands_in, token_precision


@dataclass(frozen=True, slots=True)
class OutputRules:
    """What an answer should look like, in plain values (see `steelyard.config.models.Output`)."""

    format: Literal["text", "json"]
    json_schema: Mapping[str, Any] | None
    fact_fields: tuple[str, ...]
    citation_field: str | None
    refusal_fields: tuple[str, ...]
    refusal_text: str
    pattern: str | None
    max_characters: int | None


def is_refusal(text: str, rules: OutputRules) -> bool:
    """Tell whether an answer declines to answer in the agreed form."""
    if rules.format == "json":
        value = parse_object(text)
        return value is not None and all(name in value and value[name] is None for name in rules.refusal_fields)
    return normalise(rules.refusal_text) in normalise(text)


def is_json(text: str) -> bool:
    """Tell whether a text is JSON (RFC 8259, which knows neither NaN nor Infinity), surrounding space aside."""
    try:
        json.loads(text.strip(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def has_format(text: str, rules: OutputRules) -> bool | None:
    """Tell whether an answer has the agreed form; None when no form was agreed."""
    if rules.format == "json":
        import jsonschema

        value = parse_object(text)
        return value is not None and jsonschema.Draft202012Validator(rules.json_schema or {}).is_valid(value)
    if rules.pattern is None and rules.max_characters is None:
        return None
    fits_pattern = rules.pattern is None or re.fullmatch(rules.pattern, text.strip(), re.DOTALL) is not None
    return fits_pattern and (rules.max_characters is None or len(text.strip()) <= rules.max_characters)


def supports(context: str, expected: str, rules: OutputRules) -> bool:
    """Tell whether a text holds the expected answer: every fact field's value (json), or the answer (text)."""
    if rules.format == "text":
        return holds(context, expected) is not False
    return all(stands_in(value, context) for value in _claims(parse_object(expected) or {}, rules))


def unsupported_share(text: str, passages: Sequence[str], rules: OutputRules) -> float:
    """Return how much of an answer that is no refusal stands in no passage that was shown, 0 to 1.

    json: 1 unless one passage holds all facts that the answer claims (its fact fields that are not null); what is no
    JSON object claims who knows what, and counts 1. text: the share of its words, citations aside, that the passages
    do not hold (1 - K-Precision, see `token_precision`). Without passages every claim is unsupported.
    """
    if rules.format == "text":
        return 1 - token_precision(without_citations(text), "\n".join(passages))
    value = parse_object(text)
    if value is None:
        return 1.0
    claims = _claims(value, rules)
    return float(bool(claims) and not any(all(stands_in(claim, shown) for claim in claims) for shown in passages))


def _claims(record: Mapping[str, Any], rules: OutputRules) -> list[Any]:
    return [record[name] for name in rules.fact_fields if record.get(name) is not None]


def refusal_of(expected: str, rules: OutputRules) -> str:
    """Return the refusal in the form of an ideal answer: the same object with its refusal fields null, or the text."""
    if rules.format == "text":
        return rules.refusal_text
    value = parse_object(expected) or {}
    refused = {name: None if name in rules.refusal_fields else item for name, item in value.items()}
    return json.dumps(refused, ensure_ascii=False, separators=(",", ":"))
