"""Numbers, shares and intervals as people read them."""

from __future__ import annotations

import pytest

from steelyard.metrics import metric
from steelyard.records import Interval
from steelyard.words import NOT_MEASURED, interval_in_words, listed, percent, points, quantity


@pytest.mark.parametrize(
    ("share", "words"), [(0.0, "0%"), (0.001, "<1%"), (0.126, "13%"), (0.999, ">99%"), (1.0, "100%")]
)
def test_percent_never_rounds_to_none_or_all(share, words):
    """One wrong answer in a thousand is not "100%"."""
    assert percent(share) == words


@pytest.mark.parametrize(
    ("difference", "words"),
    [(0.845, "+84 points"), (-0.01, "−1 point"), (0.004, "+0.4 points"), (0.0, "0 points"), (0.0099, "+1 point")],
)
def test_points_have_a_sign_and_a_number_that_agrees(difference, words):
    """A difference says which way it goes."""
    assert points(difference) == words


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (None, "share", NOT_MEASURED),
        (None, "money", NOT_MEASURED),
        (0.0, "share", "0%"),
        (0.0, "seconds", "0 s"),
        (75.0, "seconds", "1 min 15 s"),
        (577.3, "tokens", "577 tokens"),
        (3.5, "count", "3.5"),
        (2_400_000.0, "count", "2.4 million"),
        (0.00042, "money", "0.00042 EUR"),
        (12.5, "money", "12.50 EUR"),
        (0.0000042, "money", "4.2e-06 EUR"),
    ],
)
def test_quantity_has_its_unit_and_nothing_measured_is_never_zero(value, unit, words):
    """Every value reads with its unit."""
    assert quantity(value, unit, currency="EUR") == words


def test_interval_reads_as_a_range_with_one_unit():
    """Shares share their per cent sign; no interval is no text."""
    assert interval_in_words(Interval(0.82, 0.94, 0.95, ""), "share") == "82–94%"
    assert interval_in_words(Interval(1.0, 75.0, 0.95, ""), "seconds") == "1.0 s – 1 min 15 s"
    assert interval_in_words(Interval(280.2, 281.4, 0.95, ""), "tokens") == "280–281 tokens"
    assert interval_in_words(None, "share") == ""


def test_listed_joins_as_in_a_sentence():
    """Nothing, one, two and three."""
    assert [listed(["a", "b", "c"][:count]) for count in range(4)] == ["", "a", "a and b", "a, b and c"]


def test_metric_unknown_names_get_a_unit_from_their_ending():
    """A metric that nobody listed still reads well; a rule's name for one kind of case is understood."""
    assert (metric("warm_up_seconds").unit, metric("warm_up_seconds").label) == ("seconds", "Warm up")
    assert metric("field_accuracy.eol").label == "Right field: eol"
    assert metric("fact of fresh cases").label == "Right facts, fresh cases"
    assert metric("latency_p50_seconds of fresh cases").unit == "seconds"
