"""The gate: pure, paired, and never generous to what is missing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from steelyard.errors import GateError
from steelyard.gate.judge import judge
from steelyard.gate.rules import Cheaper, GateRules, Limit
from steelyard.records import Case, Score, Scorecard

RULES = GateRules(metric="fact", margin=0.05, significance=0.05, minimum=0.2, draws=2_000, seed=1, power=0.8)


def card(arm, right, total=100, metric="fact", first=0, **metrics):
    """Make a scorecard with `right` of `total` cases right, from the `first` one on."""
    by_case = {f"case-{n:03}": {metric: float(first <= n < first + right)} for n in range(total)}
    scores = {metric: Score(right / total, total)} | {name: Score(value, total) for name, value in metrics.items()}
    return Scorecard(arm=arm, metrics=scores, by_kind={}, by_case=by_case)


def cases_of(cards, documents=None, kind="fact"):
    """Make the cases of scorecards, each of a document of its own unless fewer are asked for."""
    ids = sorted({case for c in cards for case in c.by_case})
    return [Case(id_, "?", kind, "!", cluster=f"doc-{n % (documents or len(ids))}") for n, id_ in enumerate(ids)]


def judged(cards, rules=RULES, **more):
    """Judge scorecards over cases of their own."""
    return judge({c.arm: c for c in cards}, rules, **({"cases": cases_of(cards)} | more))


def rulings(cards, rules=RULES, **more):
    """Return arm → ruling."""
    return {arm: verdict.ruling for arm, verdict in judged(cards, rules, **more).verdicts.items()}


def test_judge_clear_winner_is_promoted_and_the_rest_rejected():
    """An arm far ahead of all others is promoted; arms under the minimum are rejected with the number."""
    cards = [card("base", 0), card("rag", 10), card("tuned", 0), card("hybrid", 70)]
    assert rulings(cards) == {"base": "reject", "rag": "reject", "tuned": "reject", "hybrid": "promote"}
    reasons = judged(cards).verdicts["rag"].reasons
    assert "0.1 over 100" in reasons[0]


def test_judge_tie_goes_to_the_simpler_arm():
    """Equal scores promote the simpler arm."""
    assert rulings([card("rag", 60), card("hybrid", 60)]) == {"rag": "promote", "hybrid": "reject"}


def test_judge_small_lead_is_cannot_tell():
    """A lead beyond the margin that chance explains is no verdict on the better arm."""
    assert rulings([card("rag", 5, total=10), card("hybrid", 6, total=10)]) == {
        "rag": "promote",
        "hybrid": "cannot tell",
    }


def test_judge_guard_rail_vetoes_the_best_arm():
    """A failed guard-rail rejects an arm whatever it wins."""
    rules = replace(RULES, limits=(Limit("format", minimum=0.9),))
    cards = [card("rag", 40, format=0.95), card("hybrid", 90, format=0.5)]
    assert rulings(cards, rules) == {"rag": "promote", "hybrid": "reject"}


def test_judge_guard_rail_against_the_baseline_forbids_a_drop():
    """An arm may fall below RAG by the drop that is allowed, and no further; RAG keeps its own level."""
    rules = replace(RULES, limits=(Limit("refusal", drop=0.1),))
    near, far = card("hybrid", 90, refusal=0.41), card("hybrid", 90, refusal=0.39)
    rag = card("rag", 40, refusal=0.5)
    assert rulings([rag, near], rules) == {"rag": "reject", "hybrid": "promote"}
    assert rulings([rag, far], rules) == {"rag": "promote", "hybrid": "reject"}
    assert rulings([card("rag", 40), near], rules) == {"rag": "reject", "hybrid": "reject"}


def test_judge_unscored_guard_rail_counts_against_the_arm():
    """A metric that was not scored fails its rule."""
    rules = replace(RULES, limits=(Limit("citation", minimum=0.1),))
    assert rulings([card("rag", 90)], rules) == {"rag": "reject"}


def test_judge_missing_score_counts_as_wrong():
    """A case that the better arm has no score on is lost to it."""
    strong, weak = card("hybrid", 100), card("rag", 95)
    for case in list(strong.by_case)[:50]:
        strong.by_case[case]["fact"] = None
    assert rulings([weak, strong])["rag"] == "promote"


def test_judge_order_of_cases_does_not_matter():
    """Cases in another order give the same judgement, to the last digit."""
    cards = [card("rag", 40), card("hybrid", 70)]
    shuffled = [replace(c, by_case=dict(sorted(c.by_case.items(), reverse=True))) for c in cards]
    cases = cases_of(cards, documents=30)
    assert judged(cards, cases=cases) == judged(shuffled, cases=cases[::-1])


@pytest.mark.parametrize(("right", "ruling"), [(70, "promote"), (60, "promote"), (48, "cannot tell"), (42, "reject")])
def test_judge_same_verdict_over_five_bootstrap_seeds(right, ruling):
    """What the bootstrap draws moves the ends of intervals by a hair, and no verdict."""
    cards = [card("rag", 40), card("hybrid", right, first=8)]
    found = [judged(cards, replace(RULES, seed=seed)) for seed in range(5)]
    assert {judgement.verdicts["hybrid"].ruling for judgement in found} == {ruling}
    lows = [judgement.comparisons[0].interval.low for judgement in found]
    assert max(lows) - min(lows) < 0.02


def test_judge_no_arm_reaches_the_minimum_promotes_nothing():
    """Nobody is promoted for being the best of the bad."""
    assert set(rulings([card("base", 0), card("rag", 10)]).values()) == {"reject"}


def test_judge_without_a_scored_case_is_an_error():
    """A gate that cannot run is an error, not a verdict."""
    with pytest.raises(GateError, match="no case to compare"):
        judged([Scorecard("rag", {}, {}, {})])


def test_judge_five_cases_says_that_no_verdict_is_possible():
    """However clear five cases are, they promote nobody: below six discordant pairs no difference is significant."""
    judgement = judged([card("rag", 1, total=5), card("hybrid", 5, total=5)])
    assert {verdict.ruling for verdict in judgement.verdicts.values()} == {"cannot tell"}
    for verdict in judgement.verdicts.values():
        assert "no verdict is possible: 5 cases" in verdict.reasons[0]
        assert "6 discordant pairs" in verdict.reasons[0]


def test_judge_lead_in_fewer_than_six_cases_names_the_fewest():
    """Among many cases, five that differ tell as little as five cases."""
    verdict = judged([card("rag", 30, total=60), card("hybrid", 35, total=60)]).verdicts["hybrid"]
    assert verdict.ruling == "cannot tell"
    assert "only 5 cases tell them apart; 6 are the fewest that can" in verdict.reasons[0]


def test_judge_cannot_tell_says_how_many_cases_would_settle_it():
    """An open comparison ends with a number of cases; with that many, the same rates are a verdict."""
    verdict = judged([card("rag", 30, total=60), card("hybrid", 35, total=60)]).verdicts["hybrid"]
    assert "about 96 cases would settle it" in verdict.reasons[0]
    assert rulings([card("rag", 48, total=96), card("hybrid", 56, total=96)])["hybrid"] == "promote"


def test_judge_few_documents_tell_less_than_many_cases():
    """Twenty cases of five documents that all rise together are five observations, not twenty."""
    cards = [card("rag", 40), card("hybrid", 60)]
    assert rulings(cards)["hybrid"] == "promote"
    cases = [replace(case, cluster=f"doc-{n // 4}") for n, case in enumerate(cases_of(cards))]
    verdict = judged(cards, cases=cases).verdicts["hybrid"]
    assert verdict.ruling == "cannot tell"
    assert "only 5 documents tell them apart" in verdict.reasons[0]


def test_judge_guard_rail_on_one_kind_of_cases_looks_at_that_kind():
    """A limit on injection cases is not watered down by the others."""
    rag = replace(card("rag", 90), by_kind={"injection": {"fact": Score(0.5, 10)}})
    assert rulings([rag], replace(RULES, limits=(Limit("fact", minimum=0.6),))) == {"rag": "promote"}
    rules = replace(RULES, limits=(Limit("fact", minimum=0.6, kind="injection"),))
    verdict = judged([rag], rules).verdicts["rag"]
    assert verdict.ruling == "reject"
    assert verdict.reasons == ("fact of injection cases 0.5 over 10, asked at least 0.6",)


def test_judge_budget_rejects_what_costs_too_much():
    """An arm over its budget is rejected with what was measured and what was allowed."""
    rules = replace(RULES, limits=(Limit("latency_p95_seconds", maximum=2.0),))
    cards = [card("rag", 60, latency_p95_seconds=1.9), card("hybrid", 90, latency_p95_seconds=2.1)]
    assert rulings(cards, rules) == {"rag": "promote", "hybrid": "reject"}
    assert judged(cards, rules).verdicts["hybrid"].reasons == ("latency_p95_seconds 2.1 over 100, asked at most 2",)


def test_judge_ceiling_counts_what_was_not_scored_as_a_fault():
    """Under a maximum a missing score is the worst one, not a zero; a missing cost keeps no budget."""
    half = Score(0.5, 100, not_scored=50)
    rag = card("rag", 60)
    rag = replace(rag, metrics={**rag.metrics, "unsupported": half, "cost_per_1000_queries": half})
    for metric, measured in (("unsupported", 0.5), ("cost_per_1000_queries", None)):
        rule = judged([rag], replace(RULES, limits=(Limit(metric, maximum=0.2),))).verdicts["rag"].rules[1]
        assert (rule.measured, rule.is_passed) == (measured, False)


def test_judge_cheaper_arm_wins_only_when_it_is_shown_not_worse():
    """Equal on enough cases and cheaper beats the preferred arm; equal on few cases, or dearer, does not."""
    rules = replace(RULES, cheaper=Cheaper("prompt_tokens", 0.1))
    many = [card("rag", 250, 500, prompt_tokens=500.0), card("tuned", 250, 500, prompt_tokens=80.0)]
    assert rulings(many, rules) == {"rag": "reject", "tuned": "promote"}
    assert "not worse than rag" in judged(many, rules).verdicts["tuned"].reasons[0]
    few = [card("rag", 20, 40, prompt_tokens=500.0), card("tuned", 20, 40, prompt_tokens=80.0)]
    assert rulings(few, rules)["rag"] == "promote"
    dear = [many[0], card("tuned", 250, 500, prompt_tokens=460.0)]
    assert rulings(dear, rules)["rag"] == "promote"


def test_judge_circle_of_cheaper_arms_falls_back_to_being_better():
    """Three arms that beat one another in a circle leave the most preferred one that is not worse."""
    rules = replace(RULES, cheaper=Cheaper("prompt_tokens", 0.1), margin=0.05)
    cards = [
        card("base", 560, 1_000, prompt_tokens=10.0),
        card("rag", 600, 1_000, prompt_tokens=8.0),
        card("tuned", 640, 1_000, prompt_tokens=20.0),
    ]
    assert list(rulings(cards, rules).values()).count("promote") == 1


def test_judge_preference_decides_ties():
    """A project may prefer the tuned arm to RAG."""
    rules = replace(RULES, preference=("tuned", "rag", "base", "hybrid"))
    assert rulings([card("rag", 60), card("tuned", 60)], rules) == {"tuned": "promote", "rag": "reject"}


def test_judge_champion_is_the_baseline_of_drops():
    """Where there is a champion, a drop is measured from it and not from RAG."""
    rules = replace(RULES, limits=(Limit("refusal", drop=0.1),))
    cards = [card("rag", 40, refusal=0.5), card("hybrid", 90, refusal=0.41)]
    champion = card("hybrid", 90, refusal=0.8)
    judgement = judged(cards, rules, champion=champion)
    assert judgement.baseline == "champion"
    assert "asked at least 0.7 (0.1 below champion)" in judgement.verdicts["hybrid"].reasons[0]
    assert judged(cards, rules).baseline == "rag"


@pytest.mark.parametrize(("right", "ruling"), [(60, "reject"), (84, "cannot tell"), (86, "promote"), (95, "promote")])
def test_judge_winner_is_not_worse_than_the_champion(right, ruling):
    """Far behind the champion is rejected, behind by little more than the margin is open, within it is promoted."""
    verdict = judged([card("hybrid", right, first=100 - max(right, 90))], champion=card("rag", 90)).verdicts["hybrid"]
    assert verdict.ruling == ruling
    rule = verdict.rules[-1]
    assert (rule.name, rule.limit) == ("not worse than the champion", -0.05)
    assert rule.measured == pytest.approx((right - 90) / 100)


def test_judge_every_arm_and_comparison_has_an_interval():
    """Intervals hold what was measured, stay within 0 and 1 and do not shrink to a point when all cases agree."""
    judgement = judged([card("rag", 40), card("hybrid", 100)])
    for arm, share in (("rag", 0.4), ("hybrid", 1.0)):
        interval = judgement.intervals[arm]["fact"]
        assert 0 <= interval.low < interval.high <= 1
        assert interval.low <= share <= interval.high
        assert judgement.verdicts[arm].rules[0].interval == interval
    (comparison,) = judgement.comparisons
    assert (comparison.arm, comparison.baseline, comparison.wins, comparison.losses) == ("hybrid", "rag", 60, 0)
    assert comparison.interval.low < comparison.difference == 0.6 < comparison.interval.high
