"""What a run would do, and why: each stage's fingerprint against the ledger, nothing loaded and nothing changed.

Belongs here: the steps of a plan with amounts and estimates. Not here: doing them (see `flows.stages`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from flows.build import Job, ingest_spec, load_job, remedies
from flows.parts import Parts, sealed_snapshots, split_settings
from flows.stages.contexts import Question, ask
from flows.stages.data import Contract, contract_fingerprint, evenly_spaced, pairs_snapshot, read_questions
from flows.stages.deciding import decide
from flows.stages.evaluation import arm_fingerprint, recorded_result
from flows.stages.index import IndexState
from flows.stages.power import power_for
from flows.stages.remedies import Remedied, recorded_remedy
from flows.stages.tuning import recorded_adapter
from pipelines.documents import read_documents
from pipelines.history import State, describe_states, states_to_load
from pipelines.ingest import source_digest
from pipelines.questions import read_cases, read_pairs
from pipelines.spec import IngestSpec
from pipelines.warehouse import Warehouse
from steelyard.records import Adapter, Arm, Case, Document, Pair, Power, Scorecard, Snapshot, TuneDecision

Action = Literal["run", "up to date", "depends"]

# Rough speeds of two cores with the small default models: a plan says "about".
PASSAGES_PER_SECOND = 60.0
_ANSWERS_PER_SECOND = 2.5
_TRAINED_EXAMPLES_PER_SECOND = 3.5
_INGEST_SECONDS, _VALIDATE_SECONDS, _LATENCY_SECONDS, _PROMOTE_SECONDS = 10.0, 15.0, 40.0, 10.0


@dataclass(frozen=True, slots=True)
class Step:
    """One stage: what would happen, why, how much of what ("passages": 12), and about how long it would take."""

    stage: str
    action: Action
    reason: str
    amounts: Mapping[str, int] = field(default_factory=dict)
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a run in their order, and how small a difference its gate will see."""

    project: str
    precision: str
    steps: tuple[Step, ...]
    power: Power


def make_plan(project_file: Path, *, profile: str | None = None, overrides: Sequence[str] = ()) -> Plan:
    """Return what a run would do; raises what is wrong with the project file or its sources."""
    job = load_job(project_file, profile=profile, overrides=overrides)
    precision = f"{job.precision.dtype} on {job.precision.device}"
    return Plan(job.project.name, precision, tuple(_steps(job)), power_for(job, _cases(job)))


def _cases(job: Job) -> list[Case]:
    """Return the cases as their file has them now."""
    spec = ingest_spec(job)
    rows = read_cases(spec.cases, max_bytes=spec.limits.max_document_bytes)
    return evenly_spaced([row for row in rows if isinstance(row, Case)], job.project.sources.cases.sample)


def _steps(job: Job) -> list[Step]:
    spec, warehouse = ingest_spec(job), Warehouse(job.workspace.warehouse)
    note = warehouse.last_ingest()
    if note is None or note.source_digest != source_digest(spec):
        return _steps_of_changed_sources(job, spec, warehouse)
    pairs, cases = read_questions(job, warehouse)
    snapshots = warehouse.snapshots()
    steps = [Step("ingest", "up to date", "the sources are as they were loaded")]
    record = job.workspace.ledger.find("validate", contract_fingerprint(job, pairs, cases, snapshots[-1]))
    if record is None:
        rows = {"pairs": len(pairs), "cases": len(cases)}
        return [
            *steps,
            Step("validate", "run", "these rows were not checked under these rules", rows, _VALIDATE_SECONDS),
            *_index_steps(job, warehouse, snapshots),
            *_unknown_steps(job, cases=len(cases), pairs=len(pairs), reason="depends on what validation accepts"),
        ]
    steps.append(Step("validate", "up to date", "the same rows were checked under the same rules"))
    index_steps = _index_steps(job, warehouse, snapshots)
    steps += index_steps
    if index_steps[0].action == "run":
        return [*steps, *_unknown_steps(job, cases=len(cases), pairs=len(pairs), reason="depends on what is found")]
    contract = Contract.accepted(pairs, cases, record, refused_at_ingest=note.refused)
    return [*steps, *_steps_after_index(job, contract, snapshots)]


def _steps_of_changed_sources(job: Job, spec: IngestSpec, warehouse: Warehouse) -> list[Step]:
    """Compare the sources with the warehouse document by document, and what they are cut into."""
    history, note = warehouse.history(), warehouse.last_ingest()
    states = states_to_load(describe_states(spec), history, latest_read=None if note is None else note.state_digest)
    before = {item.id: item for item in warehouse.documents(history[-1].sequence)} if history else {}
    changed = passages = 0
    for state in states:
        after = {item.id: item for item in documents_of(state, spec)}
        differing = [key for key, item in after.items() if key not in before or before[key].text != item.text]
        changed += len(differing) + len(before.keys() - after.keys())
        passages += sum(len(content_keys(job, after[key]) - content_keys(job, before.get(key))) for key in differing)
        before = after
    pairs, cases = _count_questions(job, spec)
    reason = "nothing is loaded yet" if not history else "files have changed since the last load"
    return [
        Step("ingest", "run", reason, {"documents": changed, "snapshots": len(states)}, _INGEST_SECONDS),
        Step("validate", "run", "there is something new to check", {"pairs": pairs, "cases": cases}, _VALIDATE_SECONDS),
        Step("index", "run", "new passages", {"passages": passages}, passages / PASSAGES_PER_SECOND),
        *_unknown_steps(job, cases=cases, pairs=pairs, reason="depends on what is found: only changed prompts count"),
    ]


def documents_of(state: State, spec: IngestSpec) -> Iterable[Document]:
    """Yield the documents that a state's files hold."""
    rows = read_documents(state.sources, max_bytes=spec.limits.max_document_bytes)
    return (row for row in rows if isinstance(row, Document))


def content_keys(job: Job, document: Document | None) -> set[str]:
    """Return the keys of the passages that a document is cut into."""
    from dataclasses import asdict

    from steelyard.index.split import split_document

    if document is None:
        return set()
    return {draft.content_key for draft in split_document(document, **asdict(split_settings(job)))}


def _count_questions(job: Job, spec: IngestSpec) -> tuple[int, int]:
    """Return how many pairs and cases would be taken, samples considered."""
    sources, limit = job.project.sources, spec.limits.max_document_bytes
    cases = sum(isinstance(row, Case) for row in read_cases(spec.cases, max_bytes=limit))
    pairs = 0
    if spec.pairs is not None:
        pairs = sum(isinstance(row, Pair) for row in read_pairs(spec.pairs, max_bytes=limit))
    pair_sample = None if sources.pairs is None else sources.pairs.sample
    return min(pairs, pair_sample or pairs), min(cases, sources.cases.sample or cases)


def _index_steps(job: Job, warehouse: Warehouse, snapshots: Sequence[Snapshot]) -> list[Step]:
    sealed, _ = sealed_snapshots(job)
    missing = [snapshot for snapshot in snapshots if snapshot.sequence not in sealed]
    if not missing:
        return [Step("index", "up to date", f"all {len(snapshots)} snapshots are indexed")]
    count, before = 0, set[str]()
    for snapshot in snapshots:
        keys = {key for item in warehouse.documents(snapshot.sequence) for key in content_keys(job, item)}
        count += len(keys - before) if snapshot in missing else 0
        before = keys
    reason = f"{len(missing)} of {len(snapshots)} snapshots are not indexed with this splitter and embedder"
    return [Step("index", "run", reason, {"passages": count}, count / PASSAGES_PER_SECOND)]


def _unknown_steps(job: Job, *, cases: int, pairs: int, reason: str) -> list[Step]:
    steps = [
        Step(f"evaluate {arm}", "depends", reason, {"answers": cases}, cases / _ANSWERS_PER_SECOND)
        for arm in ("base", "rag")
    ]
    return [*steps, *_tune_steps(job, cases=cases, pairs=pairs), *_last_steps("depends", "depends on the arms")]


def _decision(
    job: Job, question: Question, remedied: Remedied | None, rag: Scorecard, snapshots: Sequence[Snapshot]
) -> TuneDecision:
    parts = Parts(job)
    try:
        return decide(job, parts, question, remedied or Remedied(None), rag, snapshots=snapshots)
    finally:
        parts.close()


def _remedies_step(job: Job, question: Question) -> Step:
    sample = min(len(question.pairs.held_out), job.project.prompt.held_out.sample)
    answers = sample * len(remedies(job))
    reason = "worked examples and held-to output are tried on held-out pairs before anything is trained"
    return Step("remedies", "run", reason, {"answers": answers}, answers / _ANSWERS_PER_SECOND)


def _remedy_in_words(question: Question, remedied: Remedied | None) -> str:
    if remedied is None or remedied.remedy is None:
        return "skipped: there are no held-out pairs to choose on"
    held = ", output held to its form" if remedied.remedy.is_constrained else ""
    return f"chosen on {remedied.trials[0].n} held-out pairs: {remedied.remedy.examples} worked examples{held}"


def _tune_steps(job: Job, *, cases: int, pairs: int, reason: str | None = None) -> list[Step]:
    minimum = job.project.validation.pairs.minimum
    if job.project.decide.tune == "never" or pairs < minimum:
        skipped = "decide.tune is never" if pairs >= minimum else f"{pairs} pairs; {minimum} are the fewest to tune on"
        return [Step("tune", "up to date", f"would be skipped: {skipped}")]
    examples = round(pairs * (1 - job.project.prompt.held_out.share) * job.project.tune.epochs)
    seconds = examples / _TRAINED_EXAMPLES_PER_SECOND
    return [
        Step(
            "tune",
            "depends" if reason is None else "run",
            reason or "only if a rule of tune.when gives a reason",
            {"examples": examples},
            seconds,
        ),
        *(
            Step(f"evaluate {arm}", "depends", "only if tuned", {"answers": cases}, cases / _ANSWERS_PER_SECOND)
            for arm in ("tuned", "hybrid")
        ),
    ]


def _last_steps(action: Action, reason: str) -> list[Step]:
    return [
        Step("replay", action, reason),
        Step("latency", action, reason, {}, None if action == "up to date" else _LATENCY_SECONDS),
        Step("gate", action, reason),
        Step("promote", action, reason, {}, None if action == "up to date" else _PROMOTE_SECONDS),
    ]


def _steps_after_index(job: Job, contract: Contract, snapshots: Sequence[Snapshot]) -> list[Step]:
    sealed, _ = sealed_snapshots(job)
    index = IndexState("", {item.sequence: sealed[item.sequence] for item in snapshots}, 0, 0.0, 0.0)
    question = ask(job, contract, index, snapshots[-1], pairs_snapshot(job, snapshots, contract, is_recorded=False))
    cases, pairs = len(contract.cases), len(contract.pairs)
    remedied = recorded_remedy(job, question)
    if question.pairs.held_out and remedies(job) and remedied is None:
        reason = "depends on which remedy is chosen"
        return [_remedies_step(job, question), *_unknown_steps(job, cases=cases, pairs=pairs, reason=reason)]
    steps = [Step("remedies", "up to date", _remedy_in_words(question, remedied))]
    question = replace(question, remedy=None if remedied is None else remedied.remedy)
    steps += [_arm_step(job, arm, question, None) for arm in ("base", "rag")]
    rag = recorded_result(job, arm_fingerprint(job, "rag", question, adapter=None))
    if rag is None:
        return [*steps, *_tune_steps(job, cases=cases, pairs=pairs), *_last_steps("depends", "depends on the arms")]
    decision = _decision(job, question, remedied, rag.scorecard, snapshots)
    if decision.is_tuning_worthwhile:
        adapter = recorded_adapter(job, question)
        if adapter is None:
            reason = "; ".join(decision.reasons)
            tuning = _tune_steps(job, cases=cases, pairs=pairs, reason=reason)
            return [*steps, *tuning, *_last_steps("depends", "depends on the arms")]
        why = "; ".join(decision.reasons)
        steps.append(Step("tune", "up to date", f"the same pairs, contexts and recipe were trained, because {why}"))
        steps += [_arm_step(job, arm, question, adapter) for arm in ("tuned", "hybrid")]
    else:
        steps.append(Step("tune", "up to date", f"skipped: {'; '.join(decision.reasons)}"))
    is_new = any(step.action == "run" for step in steps)
    if is_new:
        return [*steps, *_last_steps("depends", "depends on the arms")]
    return [*steps, *_last_steps("up to date", "the arms are as they were")]


def _arm_step(job: Job, arm: Arm, question: Question, adapter: Adapter | None) -> Step:
    if recorded_result(job, arm_fingerprint(job, arm, question, adapter=adapter)) is not None:
        return Step(
            f"evaluate {arm}", "up to date", "the same cases were answered by the same model from the same index"
        )
    count = len(question.contract.cases)
    reason = "not evaluated like this yet; only prompts without a stored answer are generated"
    return Step(f"evaluate {arm}", "run", reason, {"answers": count}, count / _ANSWERS_PER_SECOND)
