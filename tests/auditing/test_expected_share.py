"""Expected share of positives among unknown entries."""

import numpy as np
import pytest

from aimonk.auditing.expected_share import Shares, expected_share, mask_correlation


def test_share_by_hand():
    # means of .8 for positives, .2 for negatives and .35 for NA: a quarter of the way
    scores = np.array([0.7, 0.9, 0.1, 0.3, 0.3, 0.4])
    labels = np.array([1, 1, 0, 0, 0, 0])
    known = np.array([True, True, True, True, False, False])
    found = expected_share(scores, labels, known)
    assert found.known == 0.5
    assert found.expected == pytest.approx(0.25)
    # variances of the means: .01 / 2 for both values, .0025 / 2 for NA
    half = 1.96 * np.sqrt(0.00125 + (0.25**2 + 0.75**2) * 0.005) / 0.6
    assert found.interval == pytest.approx([max(0, 0.25 - half), 0.25 + half])
    assert found.plausible


def test_share_does_not_depend_on_scale_or_sign():
    rng = np.random.default_rng(0)
    labels, known = rng.integers(0, 2, 400), rng.random(400) < 0.5
    scores = labels + rng.normal(size=400)
    found = expected_share(scores, labels, known)
    for other in (3 * scores - 7, -scores):
        again = expected_share(other, labels, known)
        assert again.expected == pytest.approx(found.expected)
        assert again.interval == pytest.approx(found.interval)


def test_share_of_hidden_negatives_is_recovered_by_a_weak_score():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 20_000)
    known = rng.random(20_000) > np.where(labels == 1, 0.1, 0.9)
    found = expected_share(0.5 * labels + rng.normal(size=20_000), labels, known)
    assert found.known == pytest.approx(0.9, abs=0.02)
    assert found.interval[0] < labels[~known].mean() < found.interval[1]
    assert found.interval[1] < 0.3


def test_share_beyond_0_and_1_is_not_plausible():
    rng = np.random.default_rng(2)
    labels, known = rng.integers(0, 2, 400), rng.random(400) < 0.5
    found = expected_share(labels + 5.0 * known + 0.1 * rng.normal(size=400), labels, known)
    assert not found.plausible and found.interval == [0, 0]


def test_scores_alike_for_both_values_give_none():
    # means of .35 and .3, with standard errors of .18 and .07
    labels, known = np.array([1, 1, 0, 0, 0]), np.arange(5) < 4
    assert expected_share(np.array([0.1, 0.6, 0.2, 0.4, 0.9]), labels, known) is None


def test_equal_scores_give_none_in_spite_of_rounding():
    for count in range(2, 60):
        labels = np.arange(2 * count + 7) < count
        assert expected_share(np.full(len(labels), 0.1), labels, np.arange(len(labels)) > 0) is None


def test_correlation_with_mask_equals_numpy():
    labels = np.array([1, 1, 1, 0, 1, 0, 0, 0, 0, 0])
    unknown = np.arange(10) >= 4
    shares = Shares(0.75, 1 / 6, [1 / 6, 0.7], True)
    assert mask_correlation(shares, 0.6) == pytest.approx(abs(np.corrcoef(labels, unknown)[0, 1]))
