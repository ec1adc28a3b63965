"""Tests against chance, against scipy, and how often they err."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from aimonk.evaluation.significance import holm, rank_test


def test_holm_by_hand():
    assert holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([None]) == [None]


def test_rank_test_equals_scipy_also_with_ties():
    rng = np.random.default_rng(0)
    labels, mask = (rng.random((80, 3)) < 0.3).astype(float), rng.random((80, 3)) < 0.8
    probs = np.round(rng.random((80, 3)) + 0.2 * labels, 1)
    for a, p in enumerate(rank_test(labels, mask, probs, None)):
        y, x = labels[mask[:, a], a] == 1, probs[mask[:, a], a]
        expected = mannwhitneyu(x[y], x[~y], method="asymptotic", use_continuity=False).pvalue
        assert p == pytest.approx(expected, rel=1e-9)


def test_copies_count_once():
    rng = np.random.default_rng(1)
    labels = (rng.random((40, 1)) < 0.5).astype(float)
    probs, mask = rng.random((40, 1)) + 0.3 * labels, np.ones((40, 1), bool)
    once = rank_test(labels, mask, probs, None)[0]
    twice = [np.repeat(x, 2, axis=0) for x in (labels, mask, probs)]
    assert rank_test(*twice, np.repeat(np.arange(40), 2))[0] == pytest.approx(once, rel=1e-9)
    assert rank_test(*twice, None)[0] < once / 2


def test_attributes_that_cannot_be_tested():
    labels = np.array([[1.0, 1, 0], [1, 0, 1], [1, 1, 0]])
    probs = np.array([[0.1, 0.5, 0.2], [0.2, 0.5, 0.7], [0.3, 0.5, 0.1]])
    mask = np.array([[True, True, False], [True, True, False], [True, True, False]])
    assert rank_test(labels, mask, probs, None) == [None, 1.0, None]  # one class, equal ranks, nothing known


def test_noise_is_rarely_better_than_chance_among_many_attributes():
    found = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        prevalence = np.geomspace(0.01, 0.5, 23)
        labels, probs = (rng.random((300, 23)) < prevalence).astype(float), rng.random((300, 23))
        p = holm(rank_test(labels, rng.random((300, 23)) < 0.8, probs, None))
        found += any(value is not None and value <= 0.05 for value in p)
    assert found <= 11  # 99.5 % quantile of the binomial distribution at 5 %
