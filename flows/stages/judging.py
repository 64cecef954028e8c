"""Judge: a model compares each arm's answers with RAG's, and shows on labelled items whether its word may count.

Belongs here: which answers are compared, and what the scorecards say of it. Not here: asking (see
`steelyard.evaluate.judge`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from flows.build import Job, ingest_spec
from flows.stages.contexts import Question
from flows.stages.data import evenly_spaced
from flows.stages.evaluation import ArmResult
from pipelines.labelled import read_labelled
from steelyard.config.load import resolve_secret
from steelyard.config.models import JudgeSettings
from steelyard.evaluate.answers import AnswerStore
from steelyard.evaluate.judge.endpoint import ChatEndpoint
from steelyard.evaluate.judge.licence import Floors, LabelledItem, Licence, licence
from steelyard.evaluate.judge.pairs import CODE_VERSION, Choice, Judged, Pairing, judge_pairings
from steelyard.evaluate.kept import read_kept
from steelyard.evaluate.scores import mean_score
from steelyard.fingerprint import digest
from steelyard.records import Arm, Case, Scorecard

_BASELINE: Arm = "rag"
_POINTS: Mapping[Choice | None, float | None] = {"first": 1.0, "tie": 0.5, "second": 0.0, None: None}


@dataclass(frozen=True, slots=True)
class Judging:
    """Scores by arm and case (None: not scored), their metric's name, what to tell, and requests made now."""

    metric: str = "judge"
    scores: Mapping[Arm, Mapping[str, float | None]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    requests: int = 0


def judge_answers(job: Job, results: Mapping[Arm, ArmResult], question: Question) -> Judging:
    """Return how often each arm's answer is better than RAG's: 1 better, 0.5 as good, 0 worse; RAG itself 0.5.

    The metric is `judge` where the judge is licensed, else `judge_not_licensed`, which no rule of the gate can name.
    Judged once for the same answers, labels and judge, unless something was not scored.
    """
    settings = job.project.evaluation.judge
    if settings is None:
        return Judging()
    items = _labelled(job, settings)
    fingerprint = _fingerprint(job, settings, items, results, question)
    record = job.workspace.ledger.find("judge", fingerprint)
    if record is not None:
        return Judging(record["metric"], record["scores"], tuple(record["notes"]))
    judging = _judge(job, settings, items, results, question)
    if all(score is not None for scores in judging.scores.values() for score in scores.values()):
        kept = {"metric": judging.metric, "scores": judging.scores, "notes": judging.notes}
        job.workspace.ledger.record("judge", fingerprint, kept)
    return judging


def with_judge(cards: Mapping[Arm, Scorecard], judging: Judging) -> dict[Arm, Scorecard]:
    """Return the scorecards with the judge's scores added, by case and as a mean."""
    return {arm: _with_scores(card, judging.metric, judging.scores.get(arm, {})) for arm, card in cards.items()}


def _with_scores(card: Scorecard, metric: str, scores: Mapping[str, float | None]) -> Scorecard:
    if not scores:
        return card
    by_case = {case: {**row, metric: scores[case]} if case in scores else row for case, row in card.by_case.items()}
    mean = mean_score(list(scores.values()), name=metric)
    return replace(card, metrics={**card.metrics, metric: mean}, by_case=by_case)


def _labelled(job: Job, settings: JudgeSettings) -> tuple[LabelledItem, ...]:
    if settings.labelled is None:
        return ()
    return read_labelled(job.loaded.folder / settings.labelled, max_bytes=ingest_spec(job).limits.max_document_bytes)


def _fingerprint(
    job: Job,
    settings: JudgeSettings,
    items: Sequence[LabelledItem],
    results: Mapping[Arm, ArmResult],
    question: Question,
) -> str:
    where = {"base_url", "api_key", "labelled", "timeout_seconds", "attempts", "concurrency"}
    return digest(
        {
            "judge": settings.model_dump(mode="json", exclude=where),
            "labelled": items,
            "answers": {arm: result.digest for arm, result in results.items()},
            "cases": question.contract.cases_digest,
            "code": CODE_VERSION,
        }
    )


def _judge(
    job: Job,
    settings: JudgeSettings,
    items: Sequence[LabelledItem],
    results: Mapping[Arm, ArmResult],
    question: Question,
) -> Judging:
    endpoint = ChatEndpoint(
        base_url=settings.base_url,
        model=settings.model,
        api_key=resolve_secret(settings.api_key),
        timeout_seconds=settings.timeout_seconds,
        attempts=settings.attempts,
    )
    try:
        granted, licensing = _license(job, settings, items, endpoint)
        pairings = _pairings(settings, results, question)
        unique = {pairing for sides in pairings.values() for pairing in sides.values()}
        judged = _ask(job, settings, list(unique), endpoint, repeats=1, task="judge answers")
    finally:
        endpoint.close()
    scores: dict[Arm, Mapping[str, float | None]] = {
        arm: {case: _POINTS[judged.choices[pairing, 0]] for case, pairing in sides.items()}
        for arm, sides in pairings.items()
    }
    name = "judge" if granted.is_granted else "judge_not_licensed"
    missing = sum(choice is None for choice in judged.choices.values())
    return Judging(name, scores, _notes(settings, granted, missing), licensing + judged.asked)


def _license(
    job: Job, settings: JudgeSettings, items: Sequence[LabelledItem], endpoint: ChatEndpoint
) -> tuple[Licence, int]:
    floors = Floors(settings.minimum_labelled, settings.minimum_repeatability, settings.minimum_agreement)
    repeats = range(settings.repeats)
    pairings = [item.pairing for item in items]
    judged = _ask(job, settings, pairings, endpoint, repeats=settings.repeats, task="judge labelled items")
    choices = [[judged.choices[pairing, repeat] for repeat in repeats] for pairing in pairings]
    return licence([item.better for item in items], choices, floors), judged.asked


def _ask(
    job: Job, settings: JudgeSettings, pairings: Sequence[Pairing], endpoint: ChatEndpoint, *, repeats: int, task: str
) -> Judged:
    return judge_pairings(
        pairings,
        repeats=repeats,
        endpoint=endpoint,
        store=AnswerStore(job.workspace.answers),
        concurrency=settings.concurrency,
        task=task,
        progress=job.progress,
    )


def _pairings(
    settings: JudgeSettings, results: Mapping[Arm, ArmResult], question: Question
) -> dict[Arm, dict[str, Pairing]]:
    """Return for every arm and sampled case its answer (first) beside RAG's (second)."""
    asked: list[Case] = [case for case in question.contract.cases if case.kind != "retention"]
    texts = {
        arm: {answer.case_id: answer.text for answer in read_kept(result.kept).answers}
        for arm, result in results.items()
    }
    return {
        arm: {
            case.id: Pairing(case.question, case.expected, texts[arm][case.id], texts[_BASELINE][case.id])
            for case in evenly_spaced(asked, settings.sample)
        }
        for arm in results
    }


def _notes(settings: JudgeSettings, granted: Licence, missing: int) -> tuple[str, ...]:
    notes = []
    if not granted.is_granted:
        notes.append(f"not licensed, so it may not gate: {'; '.join(granted.refusals)}")
    if missing:
        notes.append(f"{missing} comparisons are not scored and count against their arms; the next run asks them again")
    return tuple(f"judge {settings.model}: {note}" for note in notes)
