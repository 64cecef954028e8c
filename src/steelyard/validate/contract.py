"""Checking the contract: rows in, accepted rows and a report out.

Belongs here: the order of checking, quarantine and verdict. Not here: the rules, and how Great Expectations is driven.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steelyard.errors import DataError
from steelyard.fingerprint import canonical_json, digest, digest_lines, digest_text
from steelyard.progress import Progress
from steelyard.records import Case, Document, Pair, Refusal
from steelyard.validate import overlap
from steelyard.validate.rules import Check, Severity, Table, ValidationRules, row_checks, table_checks

if TYPE_CHECKING:
    from steelyard.validate.expectations import Outcome

_EXAMPLES = 3  # offending rows that a message names
_PAYLOAD_CHARACTERS = 300

Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """How one rule came out on one table; `offending` counts the rows that break it."""

    name: str
    table: Table
    severity: Severity
    success: bool
    observed: str
    expected: str
    offending: int


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """What was accepted, what was refused and why, and how every rule came out.

    `data_docs` is the first page of the static report; `digest` covers all but the page.
    """

    pairs: tuple[Pair, ...]
    cases: tuple[Case, ...]
    refusals: tuple[Refusal, ...]
    results: tuple[CheckResult, ...]
    data_docs: Path
    digest: str


class ContractError(DataError):
    """Raised when a critical rule is broken; `report` holds all results, and the rows for the quarantine."""

    def __init__(self, message: str, *, report: ValidationReport, remedy: str) -> None:
        super().__init__(message, remedy=remedy)
        self.report = report


def validate(
    documents: Iterable[Document],
    pairs: Sequence[Pair],
    cases: Sequence[Case],
    *,
    rules: ValidationRules,
    docs_folder: Path,
    progress: Progress,
) -> ValidationReport:
    """Check the rows of one snapshot against the contract, and write the report to `docs_folder`.

    Rows that break a rule go to `refusals`, the rest is accepted. Raises `ContractError`, with all critical failures,
    when too many rows do or when too few or too many are left.
    """
    from steelyard.validate.expectations import Suites

    progress.note("Checking the data contract")
    facts = _facts(documents, pairs, cases)
    suites = Suites()
    outcomes: dict[Check, Outcome] = {}
    for table, rows in facts.items():
        checks = [check for check in row_checks(rules) if check.table == table]
        if rows:
            outcomes |= suites.check(table, checks, rows)
    refused_pairs, refused_cases = _refused("pairs", outcomes, facts), _refused("cases", outcomes, facts)
    kept = {
        "accepted_pairs": [row for row in facts["pairs"] if row["row"] not in refused_pairs],
        "accepted_cases": [row for row in facts["cases"] if row["row"] not in refused_cases],
    }
    for table, rows in kept.items():
        checks = [one for one in table_checks(rules, pairs=len(pairs), cases=len(cases)) if one.table == table]
        if checks:
            outcomes |= suites.check(table, checks, rows)
    refusals = [
        *(_refusal("pairs", pairs[row], reason) for row, reason in sorted(refused_pairs.items())),
        *(_refusal("cases", cases[row], reason) for row, reason in sorted(refused_cases.items())),
    ]
    report = _report(
        pairs=[pairs[row["row"]] for row in kept["accepted_pairs"]],
        cases=[cases[row["row"]] for row in kept["accepted_cases"]],
        refusals=refusals,
        outcomes=outcomes,
        data_docs=suites.write_docs(docs_folder),
    )
    _stop_if_broken(report, outcomes, facts)
    return report


def _facts(
    documents: Iterable[Document], pairs: Sequence[Pair], cases: Sequence[Case]
) -> dict[str, list[dict[str, Any]]]:
    """Return what the rules look at: lengths, kinds and findings, no texts; a finding is a reason or None."""
    seen = [(document.id, len(document.text), digest_text(document.text)) for document in documents]
    known = frozenset(id_ for id_, _, _ in seen)
    columns = {
        "documents": {
            "id": [id_ for id_, _, _ in seen],
            "characters": [characters for _, characters, _ in seen],
            "duplicate": overlap.duplicates([(text,) for *_, text in seen], [id_ for id_, _, _ in seen], "document"),
        },
        "pairs": {
            "id": [pair.id for pair in pairs],
            "characters": [len(pair.input) for pair in pairs],
            "kind": [pair.kind for pair in pairs],
            "leak": overlap.leaks(pairs, cases),
            "contradiction": overlap.contradictions(pairs),
            "duplicate": overlap.duplicates(
                [(overlap.normalise(pair.input), pair.output) for pair in pairs], [pair.id for pair in pairs], "pair"
            ),
            "similar": overlap.similar(pairs, cases),
            "unknown": overlap.unknown_documents(pairs, known),
        },
        "cases": {
            "id": [case.id for case in cases],
            "characters": [len(case.question) for case in cases],
            "kind": [case.kind for case in cases],
            "duplicate": overlap.duplicates(
                [(overlap.normalise(case.question), case.kind) for case in cases], [case.id for case in cases], "case"
            ),
            "unknown": overlap.unknown_documents(cases, known),
        },
    }
    return {
        table: [
            {"row": row, **dict(zip(of, values, strict=True))}
            for row, values in enumerate(zip(*of.values(), strict=True))
        ]
        for table, of in columns.items()
    }


def _refused(table: Table, outcomes: Mapping[Check, Outcome], facts: Mapping[str, Sequence[Facts]]) -> dict[int, str]:
    """Return the rows that a quarantining rule found, with the first rule's reason."""
    refused: dict[int, str] = {}
    for check, outcome in outcomes.items():
        if check.table == table and check.is_quarantined:
            for row in outcome.rows:
                refused.setdefault(row, _reason(check, facts[table][row]))
    return refused


def _reason(check: Check, row: Facts) -> str:
    value = row[str(check.column)]
    if check.is_empty:
        return str(value)
    seen = repr(value) if isinstance(value, str) else f"{value:,}"
    return f"{row['id']!r}: {check.column} {seen}; expected {check.expected}"


def _refusal(table: Table, row: Pair | Case, reason: str) -> Refusal:
    text = row.input if isinstance(row, Pair) else row.question
    payload = text if len(text) <= _PAYLOAD_CHARACTERS else text[:_PAYLOAD_CHARACTERS] + "…"
    return Refusal(table, f"{table}: {row.id}", reason, payload)


def _report(
    *,
    pairs: Sequence[Pair],
    cases: Sequence[Case],
    refusals: Sequence[Refusal],
    outcomes: Mapping[Check, Outcome],
    data_docs: Path,
) -> ValidationReport:
    results = tuple(
        CheckResult(
            name=check.rule,
            table=check.table,
            severity=check.severity,
            success=outcome.success,
            observed=outcome.observed,
            expected=check.expected,
            offending=len(outcome.rows),
        )
        for check, outcome in outcomes.items()
    )
    return ValidationReport(
        pairs=tuple(pairs),
        cases=tuple(cases),
        refusals=tuple(refusals),
        results=results,
        data_docs=data_docs,
        digest=digest(
            {
                "pairs": digest_lines(map(canonical_json, pairs)),
                "cases": digest_lines(map(canonical_json, cases)),
                "refusals": list(refusals),
                "results": list(results),
            }
        ),
    )


def _stop_if_broken(
    report: ValidationReport, outcomes: Mapping[Check, Outcome], facts: Mapping[str, Sequence[Facts]]
) -> None:
    lines = []
    for check, outcome in outcomes.items():
        if check.severity == "critical" and not outcome.success:
            lines.append(f"  {check.table}, {check.rule}: {outcome.observed}; expected {check.expected}")
            if check.column is not None:
                lines += [f"      {_reason(check, facts[check.table][row])}" for row in outcome.rows[:_EXAMPLES]]
            lines.append(f"      To fix: {check.remedy}")
    if lines:
        raise ContractError(
            "the data breaks its contract:\n" + "\n".join(lines),
            report=report,
            remedy=f"correct the data as named above; {report.data_docs} shows how every rule came out",
        )
