"""Suspected labels and unknown entries, in order of probability."""

from __future__ import annotations

import numpy as np

from aimonk.auditing.probe import probe
from aimonk.auditing.suspects import off_diagonal, probability_wrong, suspects, unknowns

PROBS = np.array([[0.9, 0.5], [0.8, 0.5], [0.1, 0.5], [0.7, 0.5], [0.95, np.nan]])
LABELS = np.array([[1, 1], [0, 0], [1, 0], [0, 1], [0, 0]])
MASK = np.array([[True, True], [True, True], [True, False], [True, True], [False, False]])


def test_suspects_by_hand():
    wrong = probability_wrong(PROBS, LABELS, MASK)
    np.testing.assert_allclose(wrong[:, 0], [0.1, 0.8, 0.9, 0.7, np.nan])
    listed = suspects(PROBS, LABELS, MASK, [True, False])
    assert [entry.row for entry in listed] == [2, 1, 3]
    assert listed[0] == (2, 0, 1, 0.1)
    # mean probability of the own labels: .5 for class 1, .25 for class 0
    assert off_diagonal(PROBS, LABELS, MASK)[:, 0].tolist() == [False, True, True, True, False]
    assert [entry.row for entry in suspects(PROBS, LABELS, MASK, [True, True])][:3] == [2, 1, 3]
    assert suspects(PROBS, LABELS, MASK, [False, False]) == []


def test_unknowns_are_sorted_without_nan():
    assert unknowns(PROBS, MASK, [True, True]) == [(4, 0, None, 0.95), (2, 1, None, 0.5)]
    assert unknowns(PROBS, MASK, [False, True]) == [(2, 1, None, 0.5)]


def test_flipped_labels_are_found():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 30))
    truth = (features[:, :2] > [0, 0.8]).astype(int)
    flipped = rng.random(truth.shape) < 0.1
    labels, mask = np.where(flipped, 1 - truth, truth), rng.random(truth.shape) < 0.9
    found = probe(features, labels, mask, np.arange(400), permutations=99)
    wrong = probability_wrong(found.probabilities, labels, mask)
    for a in range(2):
        hit, other = wrong[flipped[:, a] & mask[:, a], a], wrong[~flipped[:, a] & mask[:, a], a]
        assert np.mean(hit[:, None] > other) > 0.9
    listed = suspects(found.probabilities, labels, mask, found.evidence)
    assert all(mask[entry.row, entry.attribute] for entry in listed)
    assert np.mean([flipped[entry.row, entry.attribute] for entry in listed[:30]]) > 0.85


def test_equal_probabilities_reach_their_mean():
    for images in range(3, 40):
        labels = np.zeros((2 * images, 1), int)
        labels[:images] = 1
        # all images have the same probability, which reaches both thresholds and favours 1
        wrong = off_diagonal(np.full(labels.shape, 0.7), labels, labels >= 0)
        assert wrong[:, 0].tolist() == [False] * images + [True] * images
