"""The probe: evidence with a signal only, NA, groups and degenerate attributes."""

from __future__ import annotations

import numpy as np
import pytest

from aimonk.auditing.probe import probe


def synthetic(rng, images=200, signal=3.0):
    """An attribute that the features predict and a random one; a tenth of the entries is unknown."""
    features = (rng.normal(size=(images, 40)) * np.linspace(2, 0.2, 40)).astype(np.float32)
    predicted = rng.random(images) < 1 / (1 + np.exp(-signal * features[:, 1]))
    labels = np.stack([predicted, rng.random(images) < 0.3], axis=1).astype(int)
    return features, labels, rng.random(labels.shape) < 0.9


def test_evidence_with_a_signal_only():
    features, labels, mask = synthetic(np.random.default_rng(0))
    found = probe(features, labels, mask, np.arange(200))
    assert found.evidence == [True, False]
    assert found.p_value[0] == 0.001 and found.p_adjusted[0] == 0.002
    assert found.auroc[0] > 0.85 and abs(found.auroc[1] - 0.5) < 0.15
    # unknown entries are predicted as well as known ones
    hidden = ~mask[:, 0]
    guess = found.probabilities[hidden, 0] > 0.5
    assert np.mean(guess == labels[hidden, 0]) > 0.7
    assert np.isfinite(found.probabilities).all()


def test_labels_of_unknown_entries_are_ignored():
    features, labels, mask = synthetic(np.random.default_rng(1))
    hidden = np.where(mask, labels, 77)
    a, b = (probe(features, x, mask, np.arange(200), permutations=49) for x in (labels, hidden))
    np.testing.assert_array_equal(a.probabilities, b.probabilities)
    assert a.p_value == b.p_value and a.auroc == b.auroc


def test_results_depend_on_the_seed_only():
    features, labels, mask = synthetic(np.random.default_rng(2))
    a, b, c = (probe(features, labels, mask, np.arange(200), permutations=49, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(a.probabilities, b.probabilities)
    assert a.p_value == b.p_value
    assert np.abs(a.probabilities - c.probabilities).max() > 0


def test_attributes_without_two_classes_are_none():
    features, labels, mask = synthetic(np.random.default_rng(3))
    labels = np.concatenate([labels, np.ones((200, 1), int), labels[:, :1]], axis=1)
    mask = np.concatenate([mask, mask[:, :1], np.zeros((200, 1), bool)], axis=1)
    found = probe(features, labels, mask, np.arange(200), permutations=199)
    assert found.auroc[2:] == found.p_value[2:] == found.p_adjusted[2:] == [None, None]
    assert found.evidence == [True, False, False, False]
    assert (found.probabilities[:, 2] == 1).all() and np.isnan(found.probabilities[:, 3]).all()
    # p is adjusted for the tested attributes only
    assert found.p_adjusted[0] == pytest.approx(2 / 200)


def test_single_positive_gives_no_evidence():
    features, labels, mask = synthetic(np.random.default_rng(4))
    labels[:, 1] = 0
    labels[5, 1], mask[5, 1] = 1, True
    found = probe(features, labels, mask, np.arange(200), permutations=49)
    assert 0 <= found.auroc[1] <= 1 and not found.evidence[1]
    assert found.probabilities[:, 1].max() < 0.5


def test_grouped_twins_are_no_evidence():
    rng = np.random.default_rng(5)
    features = np.repeat(rng.normal(size=(60, 30)), 2, axis=0) + 0.01 * rng.normal(size=(120, 30))
    labels = np.repeat(rng.random((60, 1)) < 0.5, 2, axis=0).astype(int)
    mask = np.ones(labels.shape, dtype=bool)
    apart = probe(features, labels, mask, np.arange(120), permutations=99)
    together = probe(features, labels, mask, np.arange(120) // 2, permutations=99)
    assert apart.evidence == [True]
    assert together.evidence == [False] and together.auroc[0] < apart.auroc[0] - 0.1


@pytest.mark.slow
def test_evidence_is_rare_without_a_signal_only():
    rng = np.random.default_rng(6)
    none, some = [], []
    for seed in range(60):
        features = rng.normal(size=(150, 30)) * np.linspace(2, 0.2, 30)
        logit = features @ rng.normal(size=30)
        labels = rng.random((150, 4)) < [0.5, 0.8, 0.1, 0.3]
        labels[:, 3] = rng.random(150) < 1 / (1 + np.exp(-1.5 * logit / logit.std()))
        mask = np.ones(labels.shape, dtype=bool)
        found = probe(features, labels, mask, np.arange(150), repeats=1, permutations=99, seed=seed)
        some.append(found.evidence[3])
        alone = probe(features, labels[:, :3], mask[:, :3], np.arange(150), 10, 1, 99, seed=seed)
        none.append(any(alone.evidence))
    assert np.mean(none) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60)
    assert np.mean(some) >= 0.9


def test_many_attributes_get_enough_permutations():
    features, labels, _ = synthetic(np.random.default_rng(7), images=100)
    rng = np.random.default_rng(8)
    noise = rng.random((100, 59)) < 0.5
    labels = np.concatenate([labels[:, :1], noise], axis=1).astype(int)
    found = probe(features, labels, np.ones(labels.shape, bool), np.arange(100), repeats=1)
    assert found.evidence[0] and found.p_value[0] < 0.05 / 60


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.zeros((9, 3))}, r"features has the shape \(9, 3\); expected \[10, D\]"),
        ({"features": np.full((10, 3), np.nan)}, r"features\[0\] is not finite"),
        ({"labels": np.full((10, 2), 2)}, r"labels\[0, 0\] is 2; expected 0 or 1"),
        ({"mask": np.ones((10, 1), bool)}, r"shapes \(10, 2\), \(10, 1\) and \(10,\)"),
        ({"groups": np.zeros(10, int)}, "number of distinct groups is 1; expected 2 or more"),
    ],
)
def test_invalid_arguments_raise(change, message):
    given = {
        "features": np.zeros((10, 3)),
        "labels": np.zeros((10, 2)),
        "mask": np.ones((10, 2), bool),
        "groups": np.arange(10),
    }
    with pytest.raises(ValueError, match=message):
        probe(**{**given, **change})
