"""The rules of the data contract as settings and as checks.

Belongs here: names, severities, limits, and what to do when one is broken. Not here: running them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from steelyard.errors import ConfigError
from steelyard.records import CASE_KINDS

Severity = Literal["critical", "warning"]
Table = Literal["documents", "pairs", "cases", "accepted_pairs", "accepted_cases"]

# Every rule with the severity it has unless a project says otherwise.
RULES: Mapping[str, Severity] = {
    "document_length": "warning",
    "duplicate_documents": "warning",
    "known_kind": "critical",
    "question_length": "critical",
    "leaking_pairs": "critical",
    "contradicting_pairs": "critical",
    "duplicate_pairs": "warning",
    "similar_pairs": "warning",
    "duplicate_cases": "warning",
    "unknown_documents": "warning",
    "accepted_share": "critical",
    "pair_count": "critical",
    "case_count": "critical",
}


@dataclass(frozen=True, slots=True)
class ValidationRules:
    """Limits of the contract; `severity` overrides those of `RULES` by name.

    `max_refused_share` is the share of a table's rows that may break a critical rule (they go to quarantine) before
    the run stops.
    """

    min_pairs: int = 500
    max_pairs: int = 50_000
    min_cases: int = 10
    max_question_characters: int = 4_000
    min_document_characters: int = 20
    max_refused_share: float = 0.1
    severity: Mapping[str, Severity] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.severity) - set(RULES))
        if unknown:
            raise ConfigError(
                f"there is no validation rule {', '.join(map(repr, unknown))}",
                remedy=f"name one of: {', '.join(RULES)}",
            )

    def severity_of(self, rule: str) -> Severity:
        """Return how much breaking a rule weighs."""
        return self.severity.get(rule, RULES[rule])


@dataclass(frozen=True, slots=True)
class Check:
    """One rule on one table: a column's values lie in a range or a set, or (`is_empty`) the column finds nothing.

    Without a column the number of rows lies in the range. `is_quarantined`: rows that break the rule are taken out.
    """

    rule: str
    table: Table
    severity: Severity
    column: str | None = None
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[str, ...] | None = None
    is_empty: bool = False
    is_quarantined: bool = False
    mostly: float = 1.0
    remedy: str = ""

    @property
    def expected(self) -> str:
        """What the rule asks for, in words."""
        if self.is_empty:
            return "none"
        if self.choices is not None:
            return f"one of {', '.join(self.choices)}"
        if self.minimum is not None and self.maximum is not None:
            return f"{self.minimum:,} to {self.maximum:,}"
        return f"at least {self.minimum:,}" if self.minimum is not None else f"at most {self.maximum:,}"


def row_checks(rules: ValidationRules) -> tuple[Check, ...]:
    """Return the checks of single rows, as they come from the warehouse."""

    def check(
        rule: str,
        table: Table,
        column: str,
        remedy: str,
        *,
        minimum: int | None = None,
        maximum: int | None = None,
        choices: tuple[str, ...] | None = None,
        is_quarantined: bool = True,
    ) -> Check:
        severity = rules.severity_of(rule)
        return Check(
            rule=rule,
            table=table,
            severity=severity,
            column=column,
            minimum=minimum,
            maximum=maximum,
            choices=choices,
            is_empty=minimum is None and maximum is None and choices is None,
            is_quarantined=is_quarantined,
            mostly=round(1 - rules.max_refused_share, 9) if severity == "critical" else 1.0,
            remedy=remedy,
        )

    longest = rules.max_question_characters
    return (
        check(
            "document_length",
            "documents",
            "characters",
            "remove empty pages, or lower validation.minimum_document_characters",
            minimum=rules.min_document_characters,
            is_quarantined=False,
        ),
        check(
            "duplicate_documents",
            "documents",
            "duplicate",
            "keep one of the documents with the same text",
            is_quarantined=False,
        ),
        check("known_kind", "pairs", "kind", "correct the kind", choices=("fact", "unanswerable")),
        check(
            "question_length",
            "pairs",
            "characters",
            "shorten the input, or raise validation.max_question_characters",
            maximum=longest,
        ),
        check(
            "leaking_pairs",
            "pairs",
            "leak",
            "train on documents and questions that no case uses: a tuned arm that has seen the answers proves nothing",
        ),
        check(
            "contradicting_pairs",
            "pairs",
            "contradiction",
            "give the same input one ideal output",
        ),
        check("duplicate_pairs", "pairs", "duplicate", "keep each pair once"),
        check(
            "similar_pairs",
            "pairs",
            "similar",
            "see whether these inputs are cases in other words",
            is_quarantined=False,
        ),
        check(
            "unknown_documents",
            "pairs",
            "unknown",
            "correct the pairs' documents, or add the documents",
            is_quarantined=False,
        ),
        check("known_kind", "cases", "kind", "correct the kind", choices=CASE_KINDS),
        check(
            "question_length",
            "cases",
            "characters",
            "shorten the question, or raise validation.max_question_characters",
            maximum=longest,
        ),
        check("duplicate_cases", "cases", "duplicate", "keep each case once"),
        check(
            "unknown_documents",
            "cases",
            "unknown",
            "correct the cases' documents, or add the documents: a search cannot find them",
            is_quarantined=False,
        ),
    )


def table_checks(rules: ValidationRules, *, pairs: int, cases: int) -> tuple[Check, ...]:
    """Return the checks of what is left of `pairs` and `cases` rows once the quarantined ones are out.

    Without any pairs there is nothing to check about them: a project may weigh base and RAG alone.
    """

    def check(rule: str, table: Table, minimum: int, maximum: int | None, remedy: str) -> Check:
        return Check(rule, table, rules.severity_of(rule), None, minimum, maximum, remedy=remedy)

    shared = "correct the quarantined rows, or raise sources.max_refused_share"
    of_pairs = (
        check("accepted_share", "accepted_pairs", _least(pairs, rules), None, shared),
        check(
            "pair_count",
            "accepted_pairs",
            rules.min_pairs,
            rules.max_pairs,
            "add pairs, lower validation.pairs.minimum, or remove sources.pairs to weigh base and RAG without tuning"
            if pairs <= rules.max_pairs
            else "take fewer pairs (sources.pairs.sample), or raise validation.pairs.maximum",
        ),
    )
    of_cases = (
        check("accepted_share", "accepted_cases", _least(cases, rules), None, shared),
        check(
            "case_count",
            "accepted_cases",
            rules.min_cases,
            None,
            "add cases: few cases settle nothing; or lower validation.minimum_cases for a trial",
        ),
    )
    return (*(of_pairs if pairs else ()), *of_cases)


def _least(rows: int, rules: ValidationRules) -> int:
    return math.ceil(rows * (1 - rules.max_refused_share) - 1e-9)  # 90% of 640 is 576, whatever floats say
