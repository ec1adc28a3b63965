"""Scores against scikit-learn and against values computed by hand."""

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from aimonk.evaluation.bootstrap import add_intervals, bootstrap
from aimonk.evaluation.kernels import OVERALL, SCORES, check, measure, rankings
from aimonk.evaluation.metrics import f1_macro, mean_ap, score

property_test = settings(max_examples=40, deadline=None, derandomize=True)


@st.composite
def predictions(draw, most=25):
    """Labels, mask, probabilities and thresholds, with ties, one-class columns and unknown columns."""
    images, attributes = draw(st.integers(0, most)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = (rng.random((images, attributes)) < rng.choice([0.0, 0.1, 0.5, 1.0], attributes)).astype(float)
    mask = rng.random((images, attributes)) < rng.choice([0.0, 0.5, 1.0], attributes, p=[0.1, 0.4, 0.5])
    levels = draw(st.sampled_from([2, 5, 10**6]))
    probs = rng.integers(0, levels + 1, (images, attributes)) / levels
    thresholds = rng.choice([0.0, 0.2, 0.5, 1.0], attributes)
    labels[~mask] = draw(st.sampled_from([np.nan, 0.0, 1.0, -7.0]))
    probs[~mask] = draw(st.sampled_from([np.nan, 0.5]))
    return labels, mask, probs, thresholds


def names_of(thresholds):
    return [f"a{a}" for a in range(len(thresholds))]


def expected(y, p, threshold):
    """scikit-learn's metrics of the known entries of one attribute, None where `score` gives None."""
    predicted, both = p >= threshold, 0 < y.sum() < len(y)
    return {
        "ap": sk.average_precision_score(y, p) if both else None,
        "auroc": sk.roc_auc_score(y, p) if both else None,
        "f1": sk.f1_score(y, predicted) if y.sum() else None,
        "precision": sk.precision_score(y, predicted) if predicted.sum() else None,
        "recall": sk.recall_score(y, predicted) if y.sum() else None,
        "specificity": sk.recall_score(1 - y, ~predicted) if (1 - y).sum() else None,
        "balanced_accuracy": sk.balanced_accuracy_score(y, predicted) if both else None,
        "brier": sk.brier_score_loss(y, p, pos_label=1) if len(y) else None,
        "known": len(y),
        "positives": y.sum(),
    }


def agree(found, wanted):
    assert (found is None) == (wanted is None)
    assert found is None or found == pytest.approx(wanted, abs=1e-9)


@property_test
@given(predictions())
def test_scores_equal_scikit_learn(case):
    labels, mask, probs, thresholds = case
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = score(labels, mask, probs, thresholds, names_of(thresholds))
    per_attribute = []
    for a, found in enumerate(scores["attributes"].values()):
        known = mask[:, a]
        y, p = labels[known, a].astype(int), probs[known, a]
        wanted = expected(y, p, thresholds[a])
        per_attribute.append(wanted)
        for name, value in wanted.items():
            agree(found[name], value)
        if len(y):
            tn, fp, fn, tp = sk.confusion_matrix(y, p >= thresholds[a], labels=[0, 1]).ravel()
            assert [found[name] for name in ("tn", "fp", "fn", "tp")] == [tn, fp, fn, tp]
    for mean, part in (("mean_ap", "ap"), ("mean_auroc", "auroc"), ("f1_macro", "f1")):
        values = [wanted[part] for wanted in per_attribute if wanted[part] is not None]
        agree(scores[mean], np.mean(values) if values else None)
        assert scores[f"{mean}_count"] == len(values)
    y, predicted = labels[mask].astype(int), (probs >= thresholds)[mask]
    agree(scores["f1_micro"], sk.f1_score(y, predicted) if y.sum() else None)
    complete = mask.all(axis=1)
    y, predicted = labels[complete].astype(int), (probs >= thresholds)[complete]
    agree(scores["subset_accuracy"], (y == predicted).all(axis=1).mean() if len(y) else None)
    assert scores["subset_accuracy_count"] == complete.sum()
    agree(mean_ap(labels, mask, probs), scores["mean_ap"])
    agree(f1_macro(labels, mask, probs, thresholds), scores["f1_macro"])


@property_test
@given(predictions())
def test_weighted_metrics_equal_scikit_learn(case):
    labels, mask, probs, thresholds = case
    checked = check(*case)
    weights = np.random.default_rng(len(mask)).integers(0, 3, (len(mask), 3)).astype(np.float32)
    metrics = measure(checked, rankings(checked), weights)
    for a in range(mask.shape[1]):
        for r in range(3):
            # a row of weight 2 equals a duplicated row
            rows = np.repeat(np.arange(len(mask)), weights[:, r].astype(int))
            rows = rows[mask[rows, a]]
            wanted = expected(labels[rows, a].astype(int), probs[rows, a], thresholds[a])
            for name in ("ap", "auroc", "f1", "balanced_accuracy", "brier"):
                found = metrics[name][r, a]
                assert (
                    np.isnan(found)
                    if wanted[name] is None
                    else found == pytest.approx(wanted[name], abs=1e-5)
                )


@property_test
@given(predictions(most=8))
def test_intervals_enclose_scores_without_warnings(case):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = score(*case, names_of(case[3]))
        full = add_intervals(scores, bootstrap(*case, resamples=20), [None] * len(scores["attributes"]))
    json.dumps(full, allow_nan=False)
    for part, names in ((full, OVERALL), *((entry, SCORES) for entry in full["attributes"].values())):
        assert set(part["interval"]) == set(part["chance"]) == set(names)
        for name in names:
            assert (part["chance"][name] is None) == (part[name] is None)
            interval = part["interval"][name]
            if interval is not None:
                assert 0 <= interval[0] <= part[name] + 1e-12
                assert part[name] - 1e-12 <= interval[1] <= 1


def test_scores_by_hand():
    # attribute a: ranked + - + - ; b: nothing known but one positive; c: nothing known
    nan = np.nan
    labels = np.array([[1, 1, nan], [0, nan, nan], [1, nan, nan], [0, nan, nan]])
    probs = np.array([[0.9, 0.7, nan], [0.8, nan, nan], [0.6, nan, nan], [0.1, nan, nan]])
    scores = score(labels, ~np.isnan(labels), probs, np.array([0.7, 0.5, 0.5]), ["a", "b", "c"])
    a, b, c = scores["attributes"].values()
    assert a["ap"] == pytest.approx((1 + 2 / 3) / 2)
    assert a["auroc"] == 0.75
    assert (a["tp"], a["fp"], a["fn"], a["tn"]) == (1, 1, 1, 1)
    assert a["f1"] == a["precision"] == a["recall"] == a["specificity"] == 0.5
    assert a["brier"] == pytest.approx((0.01 + 0.64 + 0.16 + 0.01) / 4)
    # each of four bins has one entry
    assert a["ece"] == pytest.approx((0.1 + 0.8 + 0.4 + 0.1) / 4)
    assert a["chance"] == {
        "ap": pytest.approx(0.6805555555555556),  # 2 of 4: (25/12 + (4 - 25/12) / 3) / 4
        "auroc": 0.5,
        "f1": pytest.approx(2 / 3),
        "precision": 0.5,
        "recall": 0.5,
        "specificity": 0.5,
        "balanced_accuracy": 0.5,
        "brier": 0.25,
        "ece": 0.0,
    }
    assert b["ap"] is b["auroc"] is b["specificity"] is b["balanced_accuracy"] is None
    assert b["f1"] == b["recall"] == 1.0
    assert c["prevalence"] is c["brier"] is c["f1"] is None
    assert c["known"] == 0
    assert (scores["mean_ap_count"], scores["f1_macro_count"], scores["mean_brier_count"]) == (1, 2, 2)
    assert scores["f1_macro"] == 0.75
    assert scores["f1_micro"] == pytest.approx(4 / 6)
    assert scores["subset_accuracy"] is None
    assert scores["subset_accuracy_count"] == 0


def test_overall_chance_is_the_best_constant_guess():
    labels = np.array([[1, 0], [1, 0], [1, 1], [0, 0]])
    known = np.ones((4, 2), dtype=bool)
    chance = score(labels, known, np.full((4, 2), 0.3), np.full(2, 0.5), ["often", "rare"])["chance"]
    # always "often", never "rare": 3 hits, 1 false, 1 missed
    assert chance["f1_micro"] == 0.75
    # two of four rows are (1, 0)
    assert chance["subset_accuracy"] == 0.5
    harmonic = 25 / 12
    three, one = (harmonic + 2 * (4 - harmonic) / 3) / 4, harmonic / 4
    assert chance["mean_ap"] == pytest.approx((three + one) / 2)
    assert chance["f1_macro"] == pytest.approx((6 / 7 + 2 / 5) / 2)


def test_given_decisions_replace_thresholds():
    labels, known, probs = np.array([[1], [0]]), np.ones((2, 1), dtype=bool), np.array([[0.2], [0.8]])
    scores = score(labels, known, probs, np.array([0.5]), ["a"], decisions=np.array([[True], [False]]))
    assert scores["f1_macro"] == 1.0
    assert scores["mean_auroc"] == 0.0


@pytest.mark.parametrize(
    ("labels", "probs", "thresholds", "message"),
    [
        ([[2]], [[0.5]], [0.5], r"labels\[0, 0\] is 2; expected 0 or 1"),
        ([[1]], [[np.nan]], [0.5], r"probs\[0, 0\] is nan; expected 0 to 1"),
        ([[1]], [[1.5]], [0.5], r"probs\[0, 0\] is 1.5; expected 0 to 1"),
        ([[1, 0]], [[0.5]], [0.5], "labels has the shape"),
        ([[1]], [[0.5]], [0.5, 0.5], "thresholds has the shape"),
    ],
)
def test_invalid_arguments_raise(labels, probs, thresholds, message):
    with pytest.raises(ValueError, match=message):
        score(np.array(labels), np.array([[True]]), np.array(probs), np.array(thresholds), ["a"])
