import pytest

from steelyard.errors import DataError
from steelyard.records import Case
from steelyard.review.smoke import (
    SmokeResult,
    choose_cases,
    judge_smoke,
    smoke_cases_from_json,
    smoke_cases_to_json,
)

CASES = [Case(f"c{number}", f"Question {number}?", "fact", f"{number}", ("doc",)) for number in range(10)]


def test_choose_cases_takes_those_that_were_right_evenly_spaced():
    """What the arm got wrong before says nothing about how it is served."""
    scores = {f"c{number}": {"fact": float(number % 2)} for number in range(10)}
    chosen = choose_cases(CASES, scores, count=3)
    assert [one.case.id for one in chosen] == ["c1", "c3", "c7"]
    assert all(one.was_right for one in chosen)


def test_choose_cases_of_an_arm_that_got_nothing_right_takes_any():
    """Then being answered at all is what is left to look at."""
    chosen = choose_cases(CASES, {"c1": {"fact": None}}, count=2)
    assert [(one.case.id, one.was_right) for one in chosen] == [("c0", False), ("c5", False)]


def test_choose_cases_counts_a_refusal_that_was_due_as_right():
    """An unanswerable question has no fact, only a refusal."""
    (one,) = choose_cases(CASES[:1], {"c0": {"refusal": 1.0}}, count=1)
    assert one.was_right


@pytest.mark.parametrize(
    ("result", "passes"),
    [
        (SmokeResult(5, 5, 3), True),
        (SmokeResult(5, 5, 2), False),
        (SmokeResult(5, 0, 0), True),
        (SmokeResult(5, 0, 0, fault="its adapter is gone"), False),
    ],
)
def test_judge_smoke_asks_for_the_share_that_was_right(result, passes):
    """Enough right again, or nothing to be right about; a fault fails whatever the numbers."""
    assert (judge_smoke(result, minimum=0.6) is None) == passes


def test_smoke_cases_survive_the_file():
    """What is written is what is read; anything else is refused."""
    chosen = choose_cases(CASES, {}, count=2)
    assert smoke_cases_from_json(smoke_cases_to_json(chosen)) == chosen
    with pytest.raises(DataError, match="smoke cases"):
        smoke_cases_from_json('[{"case": 1}]')
