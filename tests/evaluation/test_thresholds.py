"""Thresholds against an exhaustive search, and nested ones on noise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from aimonk.evaluation.metrics import f1_macro, score
from aimonk.evaluation.thresholds import Rule, choose_thresholds, nested_thresholds, parse_rule, unreached

property_test = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def one_attribute(draw):
    images = draw(st.integers(0, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.sampled_from([1, 4, 1000]))
    labels = (rng.random((images, 1)) < rng.choice([0.1, 0.5, 1.0])).astype(float)
    mask = rng.random((images, 1)) < rng.choice([0.0, 0.6, 1.0], p=[0.1, 0.4, 0.5])
    labels[~mask] = np.nan
    return labels, mask, rng.integers(0, levels + 1, (images, 1)) / levels


def every_cut(labels, mask, probs):
    """Known labels and probabilities, and a threshold between any two adjacent probabilities."""
    y, p = labels[mask].astype(int), probs[mask]
    levels = np.unique(p)
    return y, p, np.concatenate([[0.0], (levels[1:] + levels[:-1]) / 2])


@property_test
@given(one_attribute(), st.sampled_from(["f1", "balanced", "precision=0.7"]))
def test_thresholds_are_optimal(case, rule):
    labels, mask, probs = case
    threshold = choose_thresholds(labels, mask, probs, rule)
    y, p, cuts = every_cut(*case)
    if not 0 < y.sum() < len(y):
        assert threshold == [0.5]
        return
    predicted = p >= threshold
    if rule == "f1":
        assert sk.f1_score(y, predicted) == pytest.approx(max(sk.f1_score(y, p >= cut) for cut in cuts))
    elif rule == "balanced":
        best = max(sk.balanced_accuracy_score(y, p >= cut) for cut in cuts)
        assert sk.balanced_accuracy_score(y, predicted) == pytest.approx(best)
    else:
        precisions = [sk.precision_score(y, p >= cut) for cut in cuts]
        short = max(precisions) < 0.7
        goal = max(precisions) if short else 0.7
        assert unreached(labels, mask, probs, threshold, rule).tolist() == [short]
        assert sk.precision_score(y, predicted) >= goal
        # it is the lowest such threshold: all cuts that predict more images have a lower precision
        count = predicted.sum()
        assert all(x < goal for x, cut in zip(precisions, cuts, strict=True) if (p >= cut).sum() > count)


def test_thresholds_by_hand():
    labels = np.array([[1, 1], [1, 1], [0, 1], [0, 1]])
    probs = np.array([[0.9, 0.9], [0.6, 0.8], [0.4, 0.7], [0.2, 0.6]])
    known = np.ones((4, 2), dtype=bool)
    np.testing.assert_allclose(choose_thresholds(labels, known, probs, "f1"), [0.5, 0.5])
    np.testing.assert_allclose(choose_thresholds(labels, known, probs, "balanced"), [0.5, 0.5])
    # above the middle of .4 and .2, two of three are right; one class keeps .5
    np.testing.assert_allclose(choose_thresholds(labels, known, probs, "precision=0.6"), [0.3, 0.5])
    np.testing.assert_allclose(choose_thresholds(labels, known, probs, "0.3"), [0.3, 0.3])


def test_unreachable_precision_is_reported():
    labels, probs = np.array([[0], [1], [1], [0]]), np.array([[0.9], [0.8], [0.7], [0.1]])
    known = np.ones((4, 1), dtype=bool)
    threshold = choose_thresholds(labels, known, probs, "precision=0.9")
    assert threshold == pytest.approx([0.4])
    assert unreached(labels, known, probs, threshold, "precision=0.9").tolist() == [True]
    assert unreached(labels, known, probs, threshold, "precision=0.6").tolist() == [False]
    assert unreached(labels, known, probs, threshold, "f1").tolist() == [False]


def test_adjacent_floats_are_separated():
    low = 0.5
    high = np.nextafter(low, 1)
    labels, probs = np.array([[1], [0]]), np.array([[high], [low]])
    threshold = choose_thresholds(labels, np.ones((2, 1), dtype=bool), probs, "f1")
    assert (probs >= threshold).ravel().tolist() == [True, False]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (0.5, Rule("fixed", 0.5)),
        (1, Rule("fixed", 1.0)),
        ("0.25", Rule("fixed", 0.25)),
        ("f1", Rule("f1")),
        (" balanced ", Rule("balanced")),
        ("precision=0.9", Rule("precision", 0.9)),
        (Rule("precision", 0.9), Rule("precision", 0.9)),
    ],
)
def test_parse_rule(text, rule):
    assert parse_rule(text) == rule


@pytest.mark.parametrize(
    "text",
    [
        *("", "f2", "f1=0.5", "precision", "precision=", "precision=0", "precision=2", "precision=a", "nan"),
        *("recall=0.5", -0.1, 1.1, float("nan"), True, None, [0.5], Rule("precision")),
    ],
)
def test_invalid_rules_raise(text):
    with pytest.raises(ValueError, match=r"threshold is .*; expected a number from 0 to 1"):
        parse_rule(text)


def test_nested_decisions_are_unbiased_on_noise():
    rng = np.random.default_rng(3)
    labels, probs = rng.random((60, 30)) < 0.5, rng.random((60, 30))
    known = np.ones(labels.shape, dtype=bool)
    chosen = choose_thresholds(labels, known, probs, "balanced")
    names = [str(a) for a in range(30)]
    optimistic = score(labels, known, probs, chosen, names)["mean_balanced_accuracy"]
    decisions = nested_thresholds(labels, known, probs, "balanced")
    nested = score(labels, known, probs, chosen, names, decisions=decisions)["mean_balanced_accuracy"]
    assert optimistic > 0.57
    assert abs(nested - 0.5) < 0.03


def test_nested_decides_groups_by_one_threshold():
    rng = np.random.default_rng(4)
    labels, probs = (rng.random((40, 2)) < 0.4).astype(float), rng.random((40, 2))
    mask, groups = rng.random((40, 2)) < 0.9, np.arange(40) // 2
    probs[1::2] = probs[::2]
    decisions = nested_thresholds(labels, mask, probs, "f1", groups, folds=4, seed=1)
    # one threshold decides a group, so that equal probabilities get equal decisions
    np.testing.assert_array_equal(decisions[::2], decisions[1::2])
    np.testing.assert_array_equal(
        decisions, nested_thresholds(labels, mask, probs, "f1", groups, folds=4, seed=1)
    )
    fixed = nested_thresholds(labels, mask, probs, 0.3, groups, folds=4)
    np.testing.assert_array_equal(fixed, probs >= 0.3)


def test_nested_spreads_rare_positives_over_folds():
    # with both positives in one fold, that fold would have the default threshold of .5
    labels = np.zeros((100, 1))
    labels[:2] = 1
    probs = np.where(labels == 1, 0.4, 0.1)
    known = np.ones((100, 1), dtype=bool)
    for seed in range(10):
        decisions = nested_thresholds(labels, known, probs, "f1", folds=2, seed=seed)
        np.testing.assert_array_equal(decisions, labels == 1)


def test_thresholds_without_known_labels_are_half():
    for shape in ((0, 2), (1, 2), (3, 2)):
        labels, known = np.full(shape, np.nan), np.zeros(shape, dtype=bool)
        probs = np.full(shape, np.nan)
        assert choose_thresholds(labels, known, probs, "f1").tolist() == [0.5, 0.5]
        assert not nested_thresholds(labels, known, probs, "f1").any()
        assert f1_macro(labels, known, probs, np.full(2, 0.5)) is None
    with pytest.raises(ValueError, match="folds is 1; expected 2 or more"):
        nested_thresholds(np.zeros((4, 1)), np.ones((4, 1), dtype=bool), np.zeros((4, 1)), "f1", folds=1)
    with pytest.raises(ValueError, match=r"groups has the shape \(3,\); expected \(4,\)"):
        nested_thresholds(np.zeros((4, 1)), np.ones((4, 1), dtype=bool), np.zeros((4, 1)), "f1", np.arange(3))
