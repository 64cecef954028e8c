"""Decide: what the tuning rules ask for is measured, then ruled on.

Belongs here: measurements from what earlier stages left. Not here: the rules (see `steelyard.decide`).
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from flows.build import Job, prices, tuning_rules
from flows.parts import Parts
from flows.stages.contexts import Question
from flows.stages.data import evenly_spaced
from flows.stages.latency import measure_latencies
from flows.stages.remedies import Remedied
from flows.stages.tuning import last_training, make_examples, recorded_adapter
from pipelines.warehouse import Warehouse
from steelyard.decide import MEASURES, Measure, decide_tuning
from steelyard.evaluate.costs import Effort, effort_cost
from steelyard.records import Prompt, Scorecard, Snapshot, TuneDecision

_DAYS_PER_MONTH = 365.25 / 12
_SECONDS_PER_DAY = 86_400
_ROUGH_TOKENS_PER_SECOND = 700.0  # two cores and the default model, before anything was measured
_COUNTED_EXAMPLES = 64  # enough for a mean length


@dataclass(frozen=True, slots=True)
class Override:
    """A decision taken on the command line: tune in any case, or not at all; by whom and when."""

    is_forced: bool
    by: str
    at: str

    @property
    def text(self) -> str:
        """Who said what, and when."""
        return f"{'--force-tune' if self.is_forced else '--no-tune'} by {self.by} at {self.at}"


def decide(
    job: Job,
    parts: Parts,
    question: Question,
    remedied: Remedied,
    rag: Scorecard,
    *,
    snapshots: Sequence[Snapshot],
    override: Override | None = None,
) -> TuneDecision:
    """Decide whether tuning can pay, by the project's rules; only what they ask for is measured."""
    rules = tuning_rules(job)
    wanted: set[Measure] = {rule.measure for rule in rules} | {"retrieval_gap"}
    measured = measurements(job, parts, question, remedied, rag, snapshots=snapshots, wanted=wanted)
    mode = job.project.decide.tune
    if override is not None:
        mode = "always" if override.is_forced else "never"
    return decide_tuning(
        measured,
        rules,
        mode=mode,
        is_trained=recorded_adapter(job, question) is not None,
        override=None if override is None else override.text,
    )


def measurements(
    job: Job,
    parts: Parts,
    question: Question,
    remedied: Remedied,
    rag: Scorecard,
    *,
    snapshots: Sequence[Snapshot],
    wanted: set[Measure],
) -> dict[Measure, float | None]:
    """Return the measurements that are wanted; None where there is nothing to measure."""
    probe = remedied.probe
    ways: Mapping[Measure, Callable[[], float | None]] = {
        "usable_pairs": lambda: float(len(question.contract.pairs)),
        "format_gap": lambda: _format_gap(rag, target=job.project.decide.format_target),
        "behaviour_gap": lambda: None if probe is None or not probe.n else probe.behaviour_gap,
        "retrieval_gap": lambda: None if probe is None or not probe.n else probe.retrieval_gap,
        "saved_prompt_tokens": lambda: _saved_prompt_tokens(job, parts, question, rag),
        "training_tokens": lambda: _training_tokens(job, parts, question),
        "training_cost": lambda: _training_cost(job, parts, question),
        "break_even_queries_per_day": lambda: _break_even(job, parts, question, rag),
        "rag_latency_p95_seconds": lambda: _latency_p95(job, parts, question),
        "changed_documents_per_month": lambda: _changed_documents_per_month(job, snapshots),
        "days_since_training": lambda: _days_since(last_training(job)),
    }
    return {measure: ways[measure]() for measure in MEASURES if measure in wanted}


def _format_gap(rag: Scorecard, *, target: float) -> float | None:
    score = rag.metrics.get("format")
    return None if score is None or score.value is None else target - score.value


def _saved_prompt_tokens(job: Job, parts: Parts, question: Question, rag: Scorecard) -> float | None:
    """Return how much shorter a hybrid's prompt will be than RAG's, worked examples being what it does without."""
    score = rag.metrics.get("prompt_tokens")
    if score is None or score.value is None or not question.contract.pairs:
        return None
    return score.value - fmean(_prompt_lengths(job, parts, question))


def _training_tokens(job: Job, parts: Parts, question: Question) -> float | None:
    """Estimate how many tokens a training reads, from the lengths of some examples."""
    if not question.pairs.training:
        return None
    examples = make_examples(job, parts, question)
    some = evenly_spaced(examples, _COUNTED_EXAMPLES)
    counted = parts.generator(None).count_tokens([Prompt(example.messages) for example in some])
    share_of_epochs = job.project.tune.epochs / len(examples) * len(question.pairs.training)
    return fmean(counted) * len(examples) * share_of_epochs


def _training_cost(job: Job, parts: Parts, question: Question) -> float | None:
    """Estimate what a training costs; by time it is a guess until this project has trained once."""
    tokens = _training_tokens(job, parts, question)
    if tokens is None:
        return None
    record = job.workspace.ledger.find("last-training", job.project.name)
    speed = _ROUGH_TOKENS_PER_SECOND if record is None else record["tokens"] / record["seconds"]
    return effort_cost(Effort(training_seconds=tokens / speed, training_tokens=round(tokens)), prices(job))


def _break_even(job: Job, parts: Parts, question: Question, rag: Scorecard) -> float | None:
    """Return the questions a day from which on shorter prompts pay for a training.

    Cost of training / months it is paid off over / (tokens saved a question x price x days in a month).
    """
    price, cost = job.project.costs.million_prompt_tokens, _training_cost(job, parts, question)
    saved = _saved_prompt_tokens(job, parts, question, rag)
    if price is None or cost is None or saved is None or saved <= 0:
        return None
    return cost / job.project.costs.horizon_months / (saved * price / 1_000_000 * _DAYS_PER_MONTH)


def _latency_p95(job: Job, parts: Parts, question: Question) -> float:
    from numpy import percentile

    measured = measure_latencies(job, parts, ("base", "rag"), question, adapter=None)
    return float(percentile(list(measured.seconds["rag"]), 95))


def _prompt_lengths(job: Job, parts: Parts, question: Question) -> list[int]:
    some = evenly_spaced(make_examples(job, parts, question), _COUNTED_EXAMPLES)
    return parts.generator(None).count_tokens([Prompt(example.messages) for example in some])


def _changed_documents_per_month(job: Job, snapshots: Sequence[Snapshot]) -> float | None:
    """Return how many documents were new, changed or gone a month between the first snapshot and the last."""
    if len(snapshots) < 2:  # noqa: PLR2004 - a change needs a before
        return None
    warehouse = Warehouse(job.workspace.warehouse)
    states = [{item.id: item.content_hash for item in warehouse.documents(one.sequence)} for one in snapshots]
    changed = sum(len(dict(before.items() ^ after.items())) for before, after in itertools.pairwise(states))
    days = _days_between(snapshots[0].date, snapshots[-1].date)
    return None if days == 0 else changed * _DAYS_PER_MONTH / days


def _days_between(first: str, last: str) -> float:
    return (dt.datetime.fromisoformat(last) - dt.datetime.fromisoformat(first)).total_seconds() / _SECONDS_PER_DAY


def _days_since(moment: str | None) -> float:
    """Return the days since a moment; where there was none, it is long ago."""
    if moment is None:
        return float("inf")
    return (dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(moment)).total_seconds() / _SECONDS_PER_DAY
