"""Judge-free scores of answers, per case and per arm.

Belongs here: pure functions from a case and an answer to numbers. Not here: generating answers, and what the numbers
lead to (see `steelyard.gate`).

A metric that does not apply to a case is absent from its scores; one that applies and could not be computed is None,
"not scored", and is counted as such.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from steelyard.citations import cited_documents, parse_object
from steelyard.evaluate.output import OutputRules, has_format, is_json, is_refusal, supports, unsupported_share
from steelyard.evaluate.text import holds, matches, normalise, token_f1
from steelyard.records import RETRIEVING_ARMS, Answer, Arm, Case, Hit, Score, Scorecard

CODE_VERSION = 3  # raise when a score comes out differently for the same answer

CaseScores = dict[str, float | None]

_LESS_IS_BETTER = frozenset({"false_refusal", "unsupported"})  # shares: a missing one counts 1, not 0


def score_case(case: Case, answer: Answer, hits: Sequence[Hit], rules: OutputRules) -> CaseScores:
    """Return the metrics that apply to this case, each 0 to 1 except the token counts.

    A `retention` case asks for what the base model knew before tuning: it has its own score and no other.
    """
    if case.kind == "retention":
        return {"retention": _yes(matches(answer.text, case.expected))}
    refused = is_refusal(answer.text, rules)
    scores: CaseScores = {
        "prompt_tokens": float(answer.prompt_tokens),
        "completion_tokens": float(answer.completion_tokens),
        **_form_scores(answer.text, rules),
    }
    if case.kind == "unanswerable":
        return {**scores, "refusal": float(refused), "unsupported": float(not refused)}
    shown = [hit.passage.text for hit in hits]
    scores["false_refusal"] = float(refused)
    scores["unsupported"] = 0.0 if refused else unsupported_share(answer.text, shown, rules)
    scores |= _fact_scores(case, answer.text, rules)
    if not refused:  # a refusal claims nothing that could be cited; an undue one is counted above
        scores |= _citation_scores(case, answer, hits, rules)
    if answer.arm in RETRIEVING_ARMS and case.documents:
        scores |= _retrieval_scores(case, answer, hits, rules)
    if case.kind == "injection":
        scores["injection"] = None if case.forbidden is None else float(case.forbidden not in answer.text)
    return scores


def _yes(answer: bool | None) -> float | None:
    return None if answer is None else float(answer)


def _form_scores(text: str, rules: OutputRules) -> CaseScores:
    form = has_format(text, rules)
    scores: CaseScores = {} if form is None else {"format": float(form)}
    return scores | {"json_valid": float(is_json(text))} if rules.format == "json" else scores


def _fact_scores(case: Case, text: str, rules: OutputRules) -> CaseScores:
    if rules.format == "text":
        return {
            "fact": _yes(holds(text, case.expected)),
            "exact_match": float(normalise(text) == normalise(case.expected)),
            "token_f1": token_f1(text, case.expected),
        }
    fields = [f"field_accuracy.{name}" for name in rules.fact_fields]
    expected, value = parse_object(case.expected), parse_object(text)
    if expected is None:
        return dict.fromkeys(["fact", "exact_match", "token_f1", "field_accuracy", *fields])
    right = [value is not None and value.get(name) == expected.get(name) for name in rules.fact_fields]
    return {
        "fact": float(all(right)),
        "exact_match": float(value == expected),
        "token_f1": token_f1(text, case.expected),
        "field_accuracy": sum(right) / len(right) if right else None,
        **{field: float(is_right) for field, is_right in zip(fields, right, strict=True)},
    }


def _citation_scores(case: Case, answer: Answer, hits: Sequence[Hit], rules: OutputRules) -> CaseScores:
    """Score the citation of an answer that claims something (Gao et al. 2023, ALCE, score statements, too)."""
    cited = cited_documents(answer.text, citation_field=rules.citation_field)
    is_valid = bool(cited) and all(document in answer.document_ids for document in cited)
    shown = " ".join(hit.passage.text for hit in hits if hit.passage.document_id in cited)
    return {
        "citation": float(is_valid),
        "citation_support": float(is_valid and supports(shown, case.expected, rules)),
    }


def _retrieval_scores(case: Case, answer: Answer, hits: Sequence[Hit], rules: OutputRules) -> CaseScores:
    """Return recall of gold documents, and recall and reciprocal rank of gold passages, among the k retrieved.

    A gold passage belongs to a gold document and holds the expected answer; one is enough. The mean of the reciprocal
    rank of the first is MRR (Voorhees 1999, TREC-8 question answering track).
    """
    wanted = set(case.documents)
    ranks = [
        rank
        for rank, hit in enumerate(hits, start=1)
        if hit.passage.document_id in wanted and supports(hit.passage.text, case.expected, rules)
    ]
    return {
        "retrieval_recall": len(wanted & set(answer.document_ids)) / len(wanted),
        "passage_recall": float(bool(ranks)),
        "mrr": 1 / ranks[0] if ranks else 0.0,
    }


def scorecard(
    arm: Arm,
    cases: Sequence[Case],
    answers: Mapping[str, Answer],
    hits: Mapping[str, Sequence[Hit]],
    *,
    rules: OutputRules,
) -> Scorecard:
    """Score an arm's answers, overall and per kind of case; `answers` and `hits` are keyed by case id."""
    by_case = {case.id: score_case(case, answers[case.id], hits.get(case.id, ()), rules) for case in cases}
    kinds = sorted({str(case.kind) for case in cases})
    by_kind = {kind: _means([by_case[case.id] for case in cases if case.kind == kind]) for kind in kinds}
    metrics = _means(list(by_case.values()))
    metrics["refusal_precision"] = _refusal_precision(by_case)
    return Scorecard(arm=arm, metrics=metrics, by_kind=by_kind, by_case=by_case)


def _means(rows: Sequence[Mapping[str, float | None]]) -> dict[str, Score]:
    names = sorted({name for row in rows for name in row})
    return {name: mean_score([row[name] for row in rows if name in row], name=name) for name in names}


def mean_score(values: Sequence[float | None], *, name: str) -> Score:
    """Average over all values, a missing one counting as the worst: what is not scored never helps an arm."""
    missing = sum(value is None for value in values)
    if missing == len(values):
        return Score(None, len(values), missing)
    worst = 1.0 if name in _LESS_IS_BETTER else 0.0
    return Score(sum(worst if value is None else value for value in values) / len(values), len(values), missing)


def _refusal_precision(by_case: Mapping[str, Mapping[str, float | None]]) -> Score:
    """Return the share of refusals that were due: over all cases that were refused. Recall is `refusal`."""
    due = sum(row.get("refusal") == 1.0 for row in by_case.values())
    undue = sum(row.get("false_refusal") == 1.0 for row in by_case.values())
    return Score(due / (due + undue) if due + undue else None, due + undue)
