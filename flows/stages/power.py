"""Power: what the gate will be able to see, told before anything is generated or trained.

Belongs here: expectations from settings or earlier evaluations, the warning and the refusal. Not here: the formulas
(see `steelyard.gate.power`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flows.build import Job, gate_rules
from steelyard.errors import GateError
from steelyard.gate.expectation import Expectation, compared_clusters, measured
from steelyard.gate.power import Criterion, expected_power, power_in_words
from steelyard.records import Arm, Case, Power, Scorecard

_STAGE, _LATEST = "disagreement", "latest"  # in the ledger: what the newest evaluation showed


def power_for(job: Job, cases: Sequence[Case]) -> Power:
    """Return what the gate can see on these cases; nothing is changed."""
    settings, objective = job.project.gate.power, job.project.gate.objective
    known = job.workspace.ledger.find(_STAGE, _LATEST)
    expected = Expectation(**known) if known else Expectation(settings.disagreement, settings.correlation)
    return expected_power(
        compared_clusters(cases),
        difference=settings.difference,
        disagreement=expected.disagreement,
        correlation=expected.correlation,
        power=settings.target,
        test=Criterion(objective.significance, objective.margin),
    )


def announce_power(job: Job, cases: Sequence[Case]) -> Power:
    """Tell what the gate can see; raises `GateError` where that is too little and the project requires more."""
    power = power_for(job, cases)
    job.progress.note(power_in_words(power))
    if job.project.gate.require_power and is_too_little(job, power):
        raise GateError(
            f"{power_in_words(power)}; gate.require_power asks for {_asked(job)}",
            remedy=f"{_more_cases(power)}, raise gate.power.difference, or set gate.require_power: false",
        )
    return power


def is_too_little(job: Job, power: Power) -> bool:
    """Tell whether the difference that matters to the project would be missed too often."""
    return power.detectable is None or power.detectable > job.project.gate.power.difference


def power_warnings(job: Job, power: Power) -> tuple[str, ...]:
    """Return what a reader of the verdict should know about its power."""
    if not is_too_little(job, power):
        return ()
    return (f"{power_in_words(power)}; gate.power asks it to see {_asked(job)}: {_more_cases(power)}",)


def _asked(job: Job) -> str:
    return f"{100 * job.project.gate.power.difference:.0f} points"


def _more_cases(power: Power) -> str:
    if power.cases_to_settle is None:
        return "no number of cases shows them"
    return f"have about {power.cases_to_settle:,} cases"


def remember_disagreement(job: Job, scorecards: Mapping[Arm, Scorecard], cases: Sequence[Case]) -> None:
    """Keep what this evaluation shows, for the power of the next one."""
    found = measured(scorecards, gate_rules(job), cases=cases)
    if found is not None and job.workspace.ledger.find(_STAGE, _LATEST) != found._asdict():
        job.workspace.ledger.record(_STAGE, _LATEST, found._asdict())
