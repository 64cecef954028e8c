"""The release flow: from sources to a promoted model, on one screen.

Belongs here: the order of the stages, retries where the outside can fail, run names, the artifact, and running it in
this process. Not here: what a stage does (see `flows.stages`).
"""

from __future__ import annotations

import datetime as dt
import getpass
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.artifacts import verdict_artifact
from flows.build import Job, load_job
from flows.parts import Parts
from flows.progress import RunLog
from flows.stages.baseline import Baseline, champion_baseline
from flows.stages.contexts import Question, ask
from flows.stages.costs import with_costs
from flows.stages.data import accept, ingest_sources, pairs_snapshot
from flows.stages.deciding import Override
from flows.stages.deciding import decide as decide_tuning
from flows.stages.dossier import Weighed, make_report
from flows.stages.evaluation import ArmResult, evaluate_arm
from flows.stages.index import IndexState, index_documents
from flows.stages.judging import judge_answers, with_judge
from flows.stages.latency import measure_latencies
from flows.stages.power import announce_power, power_warnings
from flows.stages.promotion import record, register_winner
from flows.stages.remedies import Remedied, choose_remedy
from flows.stages.replay import Replay, replay_update
from flows.stages.ruling import rule_on_arms
from flows.stages.tuning import Tuned, tune
from flows.turns import take_turn
from pipelines.ingest import IngestReport
from steelyard.dossier.files import PAGE
from steelyard.errors import ServiceError
from steelyard.fingerprint import digest
from steelyard.progress import Progress
from steelyard.records import Arm
from steelyard.report import Digests, RunReport, Work

CHEAP_ARMS: tuple[Arm, ...] = ("base", "rag")
TRAINED_ARMS: tuple[Arm, ...] = ("tuned", "hybrid")
_listener: ContextVar[Progress | None] = ContextVar("listener", default=None)
_Result = TypeVar("_Result")
Tuning = Literal["auto", "force", "no"]


def _outside_failed(task: object, run: object, state: Any) -> bool:
    """Tell Prefect to retry what failed outside; bad data and bad settings stay bad."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, ServiceError | ConnectionError | TimeoutError)


def stage(name: str, *, retries: int = 0) -> Callable[[Callable[..., _Result]], Callable[..., _Result]]:
    """Make a task whose results and inputs stay in this process; what is finished is the ledger's business."""
    made: Callable[[Callable[..., _Result]], Callable[..., _Result]] = task(
        name=name,
        task_run_name=name,
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=retries,
        retry_delay_seconds=[2, 10][:retries] or None,
        retry_condition_fn=_outside_failed if retries else None,
    )
    return made


ingest = stage("ingest", retries=2)(ingest_sources)
validate = stage("validate")(accept)
index = stage("index", retries=2)(index_documents)
evaluate = stage("evaluate", retries=1)(evaluate_arm)
remedy = stage("remedies", retries=1)(choose_remedy)
decide = stage("decide")(decide_tuning)
train = stage("tune", retries=1)(tune)
replay = stage("replay", retries=1)(replay_update)
latency = stage("latency")(measure_latencies)
ask_judge = stage("judge", retries=1)(judge_answers)
compare_champion = stage("baseline", retries=1)(champion_baseline)
gate = stage("gate")(rule_on_arms)
report = stage("report")(make_report)
record_evidence = stage("record evidence", retries=2)(record)
promote = stage("promote", retries=2)(register_winner)


@flow(name="release", flow_run_name="release of {project_file}", validate_parameters=True)
def release(
    project_file: str,
    profile: str | None = None,
    overrides: list[str] | None = None,
    tuning: Tuning = "auto",
    tuning_by: str | None = None,
) -> dict[str, Any]:
    """Ingest, validate, index, try remedies, evaluate cheap arms, decide, tune, evaluate, gate, report, promote.

    Args:
        project_file: The project's YAML file.
        profile: Lay <stem>.<profile>.yaml over it.
        overrides: Settings of this run, as a.b=c.
        tuning: Set the tuning decision aside: `force` or `no`.
        tuning_by: Who does so; kept with the evidence.
    """
    progress = _listener.get() or RunLog()
    job = load_job(Path(project_file), profile=profile, overrides=overrides or (), progress=progress)
    result: dict[str, Any] = take_turn(job, lambda: _release(job, _override(tuning, tuning_by)).plain())
    return result


def _override(tuning: Tuning, by: str | None) -> Override | None:
    if tuning == "auto":
        return None
    return Override(tuning == "force", by or getpass.getuser(), dt.datetime.now(dt.UTC).isoformat(timespec="seconds"))


def _release(job: Job, override: Override | None) -> RunReport:
    clock, parts = _Clock(), Parts(job)
    try:
        with clock.time("ingest"):
            data = ingest(job)
        with clock.time("validate"):
            contract = validate(job, data)
        with clock.time("index"):
            state = index(job, parts, data)
        question = ask(job, contract, state, data.snapshots[-1], pairs_snapshot(job, data.snapshots, contract))
        power = announce_power(job, contract.cases)
        with clock.time("remedies"):
            remedied = remedy(job, parts, question)
        question = replace(question, remedy=remedied.remedy)
        with clock.time("evaluate cheap arms"):
            results = {arm: evaluate(job, parts, arm, question, adapter=None) for arm in CHEAP_ARMS}
        rag = results["rag"].scorecard
        decision = decide(job, parts, question, remedied, rag, snapshots=data.snapshots, override=override)
        tuned: Tuned | None = None
        if decision.is_tuning_worthwhile:
            with clock.time("tune"):
                tuned = train(job, parts, question)
            with clock.time("evaluate tuned arms"):
                for arm in TRAINED_ARMS:
                    results[arm] = evaluate(job, parts, arm, question, adapter=tuned.adapter)
        adapter = tuned.adapter if tuned else None
        with clock.time("replay"):
            replayed = replay(job, parts, results, question, data.snapshots, adapter=adapter)
        with clock.time("latency"):
            measured = latency(job, parts, list(results), question, adapter=adapter)
        with clock.time("judge"):
            judged = ask_judge(job, results, question)
        scorecards = with_judge(with_costs(job, results, measured, replayed, state=state, tuned=tuned), judged)
        digests = _digests(data, state, question, results, tuned)
        with clock.time("baseline"):
            champion = compare_champion(job, parts, question, scorecards, digests)
        judgement = gate(job, question, scorecards, digests, baseline=champion, power=power)
        weighed = Weighed(scorecards, judgement, digests, decision, adapter, results, judged.notes)
        with clock.time("report"):
            folder = report(job, question, weighed)
        with clock.time("promote"):
            run_id = record_evidence(job, question, weighed, folder)
            version = promote(job, parts, question, weighed, run_id)
    finally:
        parts.close()
    verdict_artifact(job.project.name, weighed)
    return RunReport(
        run_id=run_id,
        project=job.project.name,
        snapshot=question.latest,
        precision=f"{job.precision.dtype} on {job.precision.device}",
        promoted=weighed.promoted,
        decision=decision,
        verdicts=judgement.verdicts,
        comparisons=judgement.comparisons,
        intervals=judgement.intervals,
        power=judgement.power,
        baseline=judgement.baseline,
        scores={arm: card.metrics for arm, card in scorecards.items()},
        work=_work(data, state, [*results.values(), remedied, replayed, champion], measured.tokens_generated, tuned),
        digests=digests,
        seconds=clock.seconds,
        model_version=version,
        report=str(folder / PAGE),
        refused=contract.refused,
        warnings=(*contract.warnings, *judged.notes, *power_warnings(job, power), *champion.warnings),
        currency=job.project.costs.currency,
    )


def run_release(
    project_file: Path,
    *,
    profile: str | None = None,
    overrides: Sequence[str] = (),
    tuning: Tuning = "auto",
    progress: Progress | None = None,
) -> RunReport:
    """Run the flow in this process, against the Prefect server that is set or a temporary one of its own.

    Raises what the stages raise, see `steelyard.errors`.
    """
    from pydantic import TypeAdapter

    from flows.server import server_at_hand

    token = _listener.set(progress)
    try:
        with server_at_hand():
            plain = release(str(project_file), profile=profile, overrides=list(overrides), tuning=tuning)
    finally:
        _listener.reset(token)
    return TypeAdapter(RunReport).validate_python(plain)


class _Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - started, 2)


def _digests(
    data: IngestReport, state: IndexState, question: Question, results: dict[Arm, ArmResult], tuned: Tuned | None
) -> Digests:
    return Digests(
        warehouse=data.warehouse_digest,
        index=state.digests[question.latest.sequence],
        answers=digest({arm: result.digest for arm, result in results.items()}),
        adapter=tuned.adapter.digest if tuned else None,
    )


def _work(
    data: IngestReport,
    state: IndexState,
    answered: Sequence[ArmResult | Remedied | Replay | Baseline],
    latency_tokens: int,
    tuned: Tuned | None,
) -> Work:
    return Work(
        documents_loaded=data.documents_loaded,
        passages_embedded=state.passages_embedded,
        answers_generated=sum(item.answers_generated for item in answered),
        tokens_generated=sum(item.tokens_generated for item in answered) + latency_tokens,
        steps_trained=tuned.steps_trained if tuned else 0,
    )
