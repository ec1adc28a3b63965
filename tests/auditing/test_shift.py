"""The search for shifted or reversed label rows."""

from __future__ import annotations

import numpy as np
import pytest

from aimonk.auditing.shift import find_shift


@pytest.fixture
def learnable():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(150, 20)).astype(np.float32)
    labels = (features[:, :3] + rng.normal(size=(150, 3)) > [0, 0.5, 1]).astype(int)
    return features, labels, rng.random(labels.shape) < 0.8, np.arange(150)


@pytest.mark.parametrize("shift", [3, -5])
def test_a_shift_is_found_with_its_sign(learnable, shift):
    features, labels, mask, groups = learnable
    # the labels of image i are in row i + shift
    found = find_shift(features, np.roll(labels, shift, 0), np.roll(mask, shift, 0), groups, 6, 99)
    assert found.found and (found.shift, found.reversed) == (shift, False)
    assert found.p_value == 0.01
    assert len(found.statistics) == 14 and found.statistics[0][0] == shift


def test_missing_rows_at_the_top_are_a_shift(learnable):
    features, labels, mask, groups = learnable
    found = find_shift(features[:-2], labels[2:], mask[2:], groups[:-2], 6, 99)
    assert found.found and found.shift == -2


def test_a_reversal_is_found(learnable):
    features, labels, mask, groups = learnable
    found = find_shift(features, labels[::-1], mask[::-1], groups, 6, 99)
    assert found.found and found.reversed and found.shift == 0


def test_given_order_is_no_finding(learnable):
    features, labels, mask, groups = learnable
    found = find_shift(features, labels, mask, groups, 6, 99)
    assert not found.found and (found.shift, found.reversed) == (0, False)


def test_shift_is_rarely_found_for_random_labels(learnable):
    features, _, mask, groups = learnable
    rng = np.random.default_rng(1)
    hits = [
        find_shift(features, rng.random(mask.shape) < 0.4, mask, groups, 4, 39, seed=seed).found
        for seed in range(40)
    ]
    assert np.mean(hits) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 40)


def test_labels_of_unknown_entries_are_ignored(learnable):
    features, labels, mask, groups = learnable
    hidden = np.where(mask, labels, 77)
    assert find_shift(features, hidden, mask, groups, 3, 49) == find_shift(
        features, labels, mask, groups, 3, 49
    )


def test_shift_is_found_in_a_sample(learnable):
    features, labels, mask, groups = learnable
    found = find_shift(features, np.roll(labels, 3, 0), np.roll(mask, 3, 0), groups, 6, 99, max_images=120)
    assert found.found and found.shift == 3


def test_constant_statistic_is_no_finding(learnable):
    _, labels, _, groups = learnable
    # the simplex: all images have the same distance, so that no permutation changes the statistic
    for seed in range(5):
        found = find_shift(np.eye(150), labels, labels >= 0, groups, 0, 39, seed=seed)
        assert (found.found, found.p_value) == (False, 1)


def in_consecutive_copies(features, labels, seed):
    """Three slightly different copies of each photograph in consecutive rows, and their groups."""
    groups = np.repeat(np.arange(len(features)), 3)
    noise = 0.01 * np.random.default_rng(seed).normal(size=(len(groups), features.shape[1]))
    return features[groups] + noise.astype(np.float32), labels[groups], groups


def test_copies_in_consecutive_rows_are_no_shift(learnable):
    features, _, mask, _ = learnable
    rng = np.random.default_rng(1)
    hits = []
    for seed in range(40):
        copied, labels, groups = in_consecutive_copies(features, rng.random(mask.shape) < 0.4, seed)
        hits.append(find_shift(copied, labels, mask[groups], groups, 4, 39, seed=seed).found)
    assert np.mean(hits) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 40)


def test_a_shift_is_found_among_copies(learnable):
    features, labels, _, _ = learnable
    copied, labels, groups = in_consecutive_copies(features, labels, 0)
    found = find_shift(copied, np.roll(labels, 3, 0), np.ones(labels.shape, bool), groups, 6, 99)
    # copies share their labels, so that a shift by one more or less fits nearly as well
    assert found.found and abs(found.shift - 3) <= 1


def test_shift_is_found_in_a_sample_of_attributes(learnable):
    features, labels, mask, groups = learnable
    rolled = np.roll(labels, 3, 0), np.roll(mask, 3, 0)
    found = find_shift(features, *rolled, groups, 6, 99, max_attributes=2)
    assert found.found and found.shift == 3


def test_many_copies_of_one_photograph_are_no_shift(learnable):
    features, _, mask, _ = learnable
    groups = np.concatenate([np.zeros(150, dtype=int), np.arange(1, 150)])
    rng = np.random.default_rng(1)
    hits = []
    for seed in range(40):
        labels = (rng.random(mask.shape) < 0.4)[groups]
        hits.append(find_shift(features[groups], labels, mask[groups], groups, 4, 39, seed=seed).found)
    assert np.mean(hits) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 40)
