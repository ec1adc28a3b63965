"""The expected AP of a random order, against all orders."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from aimonk.evaluation.ranking import expected_random_ap


@pytest.mark.parametrize(("known", "positives"), [(2, 1), (4, 2), (5, 1), (6, 3), (7, 2), (7, 6)])
def test_expected_random_ap_is_the_mean_over_all_orders(known: int, positives: int) -> None:
    total = Fraction(0)
    orders = list(itertools.combinations(range(1, known + 1), positives))  # ranks of the positives
    for ranks in orders:
        total += sum(Fraction(i, rank) for i, rank in enumerate(ranks, start=1)) / positives
    expected = float(total / len(orders))
    assert expected_random_ap(np.array([known]), np.array([positives]))[0] == pytest.approx(
        expected, rel=1e-12
    )


@pytest.mark.slow
def test_random_scores_reach_the_expected_ap() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(200) < 4
    aps = [average_precision_score(labels, rng.random(200)) for _ in range(2000)]
    (expected,) = expected_random_ap(np.array([200]), np.array([4]))
    assert expected > 1.9 * 4 / 200  # far above the prevalence
    assert np.mean(aps) == pytest.approx(expected, abs=4 * np.std(aps) / np.sqrt(2000))


def test_expected_random_ap_needs_both_classes() -> None:
    known, positives = np.array([5, 5, 0, 5]), np.array([0, 5, 0, 1])
    assert np.isnan(expected_random_ap(known, positives)).tolist() == [True, True, True, False]
    assert expected_random_ap(np.array([], dtype=int), np.array([], dtype=int)).shape == (0,)
