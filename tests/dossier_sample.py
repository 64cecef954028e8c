"""A dossier of 24 made-up cases over four arms: what the tests of the report look at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from steelyard.dossier.content import Dossier, Objective
from steelyard.records import (
    ARMS,
    RETRIEVING_ARMS,
    Answer,
    Arm,
    Case,
    Comparison,
    Interval,
    Judgement,
    Passage,
    Power,
    Rule,
    Score,
    Scorecard,
    Snapshot,
    TuneDecision,
    TuneRule,
    Verdict,
)

SCRIPT = "<script>document.title='taken over'</script>"
KINDS = ("fact", "fresh", "unanswerable")
RIGHT: Mapping[Arm, int] = {"base": 0, "rag": 3, "tuned": 1, "hybrid": 5}  # of each 6 cases


def expected(number: int, *, is_null: bool = False) -> str:
    """Return the ideal answer to a case."""
    latest = None if is_null else f"1.{number}"
    return json.dumps(
        {"product": f"Thing {number}", "latest": latest, "source": None if is_null else f"thing-{number}"}
    )


def cases() -> tuple[Case, ...]:
    """Return 24 cases of three kinds; one question holds markup."""
    return tuple(
        Case(
            id=f"{KINDS[number % 3]}-{number}",
            question=f"What is the latest release of thing {number}?" + (f" {SCRIPT}" if number == 0 else ""),
            kind=KINDS[number % 3],
            expected=expected(number, is_null=number % 3 == 2),
            documents=(f"thing-{number}",),
            cluster=f"thing-{number}",
        )
        for number in range(24)
    )


def text_of(arm: Arm, case: Case, number: int) -> str:
    """Return what an arm answers: base writes prose, the others JSON that is right for some cases."""
    if arm == "base":
        return f"I think it is 0.9 {SCRIPT}" if number == 0 else "I think it is 0.9"
    if number % 6 < RIGHT[arm]:
        return case.expected
    return json.dumps({"product": f"Thing {number}", "latest": "0.9", "note": "a <b>guess</b>"})


def scored(arm: Arm, case: Case, number: int) -> dict[str, float | None]:
    """Return the scores of an answer; one of RAG's could not be scored."""
    is_right = float(number % 6 < RIGHT[arm])
    form = {"format": float(arm != "base"), "prompt_tokens": 100.0, "completion_tokens": 20.0}
    if case.kind == "unanswerable":
        return {**form, "refusal": is_right, "unsupported": 1 - is_right}
    fact = None if arm == "rag" and number == 7 else is_right
    return {**form, "fact": fact, "token_f1": is_right, "citation": is_right, "unsupported": 1 - is_right}


def scorecard(arm: Arm) -> Scorecard:
    """Return an arm's scores; latency, set-up and update were measured, money was not."""
    rows = {case.id: scored(arm, case, number) for number, case in enumerate(cases())}
    costs = {"latency_p50_seconds": 0.5 + ARMS.index(arm), "setup_seconds": 60.0 * ARMS.index(arm)}
    by_kind = {kind: means([rows[case.id] for case in cases() if case.kind == kind]) for kind in KINDS}
    metrics = means(list(rows.values())) | {name: Score(value, 4) for name, value in costs.items()}
    return Scorecard(arm, metrics | {"update_seconds": Score(None, 1)}, by_kind, rows)


def means(rows: list[dict[str, float | None]]) -> dict[str, Score]:
    """Average scores, a missing one as zero."""
    found = {}
    for name in sorted({name for row in rows for name in row}):
        values = [row[name] for row in rows if name in row]
        missing = sum(value is None for value in values)
        found[name] = Score(sum(value or 0.0 for value in values) / len(values), len(values), missing)
    return found


def interval(value: float, width: float = 0.08) -> Interval:
    """Return an interval around a share."""
    return Interval(max(0.0, value - width), min(1.0, value + width), 0.95, "cluster bootstrap, percentile")


def judgement() -> Judgement:
    """Return a judgement that promotes hybrid and cannot tell about RAG."""
    cards = {arm: scorecard(arm) for arm in ARMS}
    fact = {arm: cards[arm].metrics["fact"].value or 0.0 for arm in ARMS}

    def rules(arm: Arm) -> tuple[Rule, ...]:
        form = cards[arm].metrics["format"].value or 0.0
        return (
            Rule(
                "fact",
                fact[arm],
                0.3,
                fact[arm] >= 0.3,
                f"fact {fact[arm]:.2f}, asked at least 0.3",
                interval(fact[arm]),
            ),
            Rule("format", form, 0.95, form >= 0.95, f"format {form:.2f}, asked at least 0.95"),
        )

    verdicts = {
        "base": Verdict("base", "reject", ("fact 0.00, asked at least 0.3",), rules("base")),
        "rag": Verdict("rag", "cannot tell", ("hybrid is better, but not surely",), rules("rag")),
        "tuned": Verdict("tuned", "reject", ("fact 0.19, asked at least 0.3",), rules("tuned")),
        "hybrid": Verdict("hybrid", "promote", ("better than rag",), rules("hybrid")),
    }
    difference = fact["hybrid"] - fact["rag"]
    against_rag = Comparison(
        "fact", "rag", "hybrid", -difference, replace(interval(0.1), low=-0.6, high=-0.1), 0, 6, 10, 16, 0.031, 0.04
    )
    return Judgement(
        verdicts=verdicts,
        comparisons=(against_rag,),
        intervals={arm: {"fact": interval(fact[arm])} for arm in ARMS},
        power=Power(24, 24, 0.2, 0.05, 0.8, 0.31, 140),
        baseline="rag",
    )


def dossier(**changes) -> Dossier:
    """Return the sample; `changes` replace its fields."""
    passages = {
        f"p{number}": Passage(
            f"p{number}", f"thing-{number}", 0, f"Thing {number}", "Releases", f"Latest: 1.{number} {SCRIPT}",
            f"docs/thing-{number}.md", 1,
        )
        for number in range(24)
    }  # fmt: skip
    answers = {
        arm: {
            case.id: Answer(
                arm, case.id, text_of(arm, case, number), (f"p{number}",) if arm in RETRIEVING_ARMS else (),
                (f"thing-{number}",) if arm in RETRIEVING_ARMS else (), 100, 20, "d",
            )
            for number, case in enumerate(cases())
        }
        for arm in ARMS
    }  # fmt: skip
    fields = {
        "project": "things",
        "description": f"Releases of things {SCRIPT}",
        "fingerprint": "0123456789abcdef",
        "snapshot": Snapshot(2, "2026-08-22", "ab12", 24),
        "objective": Objective("fact", 0.05, 0.05, 0.3),
        "scorecards": {arm: scorecard(arm) for arm in ARMS},
        "judgement": judgement(),
        "decision": TuneDecision(
            True,
            ("RAG leaves a gap",),
            ("a stronger base checkpoint",),
            (TuneRule("format_gap", "reason", None, "above 0", False, "nothing to measure"),),
        ),
        "cases": cases(),
        "answers": answers,
        "passages": passages,
        "lineage": {"Data": {"warehouse": "8f09", "cases": "77aa"}, "Versions": {"steelyard": "0.1"}},
        "pairs": 600,
        "warnings": (f"few cases {SCRIPT}",),
    }
    return Dossier(**(fields | changes))
