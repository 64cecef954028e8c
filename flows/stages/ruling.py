"""Gate: the judgement of an evaluation, made once against the champion of that time.

Belongs here: what is compared with what, and the ledger. Not here: ruling (see `steelyard.gate`) and asking the
champion (see `baseline`).
"""

from __future__ import annotations

from collections.abc import Mapping

from flows.build import Job, gate_rules
from flows.stages.baseline import Baseline
from flows.stages.contexts import Question
from flows.stages.power import remember_disagreement
from steelyard.fingerprint import digest
from steelyard.gate.judge import CODE_VERSION, judge
from steelyard.records import Arm, Judgement, Power, Scorecard
from steelyard.report import Digests


def rule_on_arms(
    job: Job,
    question: Question,
    scorecards: Mapping[Arm, Scorecard],
    digests: Digests,
    *,
    baseline: Baseline,
    power: Power,
) -> Judgement:
    """Rule on every arm; the same evaluation is judged once against the same champion.

    Where the champion came out of this very evaluation, the judgement that made it champion stands: there is nothing
    new to compare with.
    """
    from pydantic import TypeAdapter

    codec = TypeAdapter(Judgement)
    scores = {arm: card.metrics for arm, card in scorecards.items()}
    key = digest([digests, question.contract.cases_digest, scores, gate_rules(job), CODE_VERSION])
    record = job.workspace.ledger.find("gate", key)
    if record is not None and (record["champion"] == baseline.fingerprint or baseline.digests == digests):
        return codec.validate_python(record["judgement"])
    judgement = judge(
        scorecards, gate_rules(job), cases=question.contract.cases, champion=baseline.scorecard, power=power
    )
    plain = codec.dump_python(judgement, mode="json")
    job.workspace.ledger.record("gate", key, {"champion": baseline.fingerprint, "judgement": plain})
    remember_disagreement(job, scorecards, question.contract.cases)
    return judgement
