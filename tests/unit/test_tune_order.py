"""The order in which examples are trained."""

from __future__ import annotations

from collections import Counter

import pytest

from steelyard.tune.examples import training_order

LENGTHS = [50 + index * 37 % 450 for index in range(640)]


def test_training_order_two_epochs_hold_every_example_twice():
    """Each epoch is a permutation of all examples."""
    order = training_order(LENGTHS, batch_size=8, epochs=2, seed=3)
    assert set(order[:640]) == set(order[640:]) == set(range(640))
    assert len(order) == 1280


def test_training_order_epochs_differ():
    """The second epoch sees other batches than the first."""
    order = training_order(LENGTHS, batch_size=8, epochs=2, seed=3)
    assert order[:640] != order[640:]


def test_training_order_same_seed_same_order():
    """A resumed training finds the same order."""
    again = [training_order(LENGTHS, batch_size=8, epochs=2, seed=seed) for seed in (3, 3, 4)]
    assert again[0] == again[1] != again[2]


def test_training_order_batches_of_similar_length():
    """Padding to the longest of a batch costs under a tenth."""
    order = training_order(LENGTHS, batch_size=8, epochs=1, seed=3)
    batches = [[LENGTHS[index] for index in order[start : start + 8]] for start in range(0, 640, 8)]
    padded = sum(max(batch) * len(batch) for batch in batches)
    assert padded < 1.1 * sum(LENGTHS)


def test_training_order_lengths_do_not_rise_with_time():
    """Batches are mixed: the first half of an epoch is about as long as the second."""
    order = training_order(LENGTHS, batch_size=8, epochs=1, seed=3)
    halves = sum(LENGTHS[index] for index in order[:320]), sum(LENGTHS[index] for index in order[320:])
    assert max(halves) < 1.2 * min(halves)


@pytest.mark.parametrize("epochs", [0.5, 1.5])
def test_training_order_part_of_an_epoch_cuts_it(epochs):
    """Half an epoch is half of the examples, none twice."""
    order = training_order(list(range(1, 11)), batch_size=4, epochs=epochs, seed=0)
    counts = Counter(order)
    assert len(order) == 10 * epochs
    assert max(counts.values()) - min(counts[index] for index in range(10)) == 1


def test_training_order_last_batch_small_loses_nothing():
    """Examples that fill no whole batch are trained too."""
    assert sorted(training_order([5] * 13, batch_size=4, epochs=1, seed=0)) == list(range(13))
