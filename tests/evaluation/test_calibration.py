"""Calibration: known shifts, scikit-learn as reference, and degenerate data."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from aimonk.evaluation.calibration import Calibration, sigmoid


def simulate(images, prevalence, seed=0):
    """Labels, and logits that are the true log odds."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(np.log(prevalence / (1 - prevalence)), 1.5, size=(images, len(prevalence)))
    return rng.random(logits.shape) < sigmoid(logits), logits


def test_platt_undoes_the_shift_of_pos_weight():
    labels, logits = simulate(20_000, np.array([0.1, 0.3, 0.7]))
    mask = np.random.default_rng(1).random(labels.shape) < 0.7
    # a model trained with pos_weight w learns the log odds plus log w
    pos_weight = np.array([9.0, 2.0, 0.4])
    shifted = logits + np.log(pos_weight)
    calibration = Calibration.fit(shifted, np.where(mask, labels, np.nan), mask)
    np.testing.assert_allclose(calibration.scale, 1, atol=0.06)
    np.testing.assert_allclose(calibration.bias, -np.log(pos_weight), atol=0.15)
    assert np.abs(calibration.apply(shifted) - sigmoid(logits)).max() < 0.04
    assert np.abs(sigmoid(shifted) - sigmoid(logits)).max() > 0.2


def test_temperature_undoes_overconfidence():
    labels, logits = simulate(20_000, np.array([0.2, 0.5]))
    calibration = Calibration.fit(logits * 3, labels, np.ones(labels.shape, dtype=bool), method="temperature")
    np.testing.assert_allclose(calibration.scale, 1 / 3, rtol=0.05)
    assert (calibration.bias == 0).all()


def test_agrees_with_scikit_learn_on_smoothed_targets():
    labels, logits = simulate(80, np.array([0.3]))
    label = labels[:, 0]
    calibration = Calibration.fit(logits * 0.4 + 7, labels, np.ones(labels.shape, dtype=bool))
    positives, negatives = label.sum(), (~label).sum()
    target = np.where(label, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    logit = logits[:, 0] * 0.4 + 7
    # a soft target is one row of each class, weighted
    rows, weights = np.concatenate([logit, logit])[:, None], np.concatenate([target, 1 - target])
    model = LogisticRegression(C=1e10, tol=1e-10, max_iter=1000)
    model.fit(rows, np.repeat([1, 0], len(logit)), sample_weight=weights)
    assert calibration.scale[0] == pytest.approx(model.coef_[0, 0], rel=1e-4)
    assert calibration.bias[0] == pytest.approx(model.intercept_[0], rel=1e-4)


def test_separable_labels_give_smoothed_targets():
    labels = np.arange(40)[:, None] >= 20
    logits = np.where(labels, 1e-3, -1e-3) * np.arange(1, 41)[:, None]
    for factor in (1e-3, 1.0, 1e6):
        probs = Calibration.fit(logits * factor, labels, labels >= 0).apply(logits * factor)
        # smoothed targets: 21 / 22 and 1 / 22
        assert probs[labels].mean() == pytest.approx(21 / 22, abs=0.02)
        assert probs[~labels].mean() == pytest.approx(1 / 22, abs=0.02)


def test_scale_is_positive_for_reversed_logits():
    labels, logits = simulate(500, np.array([0.3]))
    known = np.ones(labels.shape, dtype=bool)
    calibration = Calibration.fit(-logits, labels, known)
    assert calibration.scale[0] > 0
    assert calibration.apply(-logits).mean() == pytest.approx(labels.mean(), abs=0.01)


def test_equal_logits_give_the_prevalence():
    labels = np.arange(100)[:, None] < 20
    probs = Calibration.fit(np.full((100, 1), 3.0), labels, labels >= 0).apply(np.full((1, 1), 3.0))
    assert probs[0, 0] == pytest.approx(0.2, abs=0.01)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(0, 12),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 1e-9, 1.0, 100.0, np.inf]),
    st.sampled_from(["platt", "temperature"]),
)
def test_fit_is_finite_and_identity_without_both_classes(images, seed, size, method):
    rng = np.random.default_rng(seed)
    labels = (rng.random((images, 3)) < [0.0, 0.5, 1.0]).astype(float)
    mask = rng.random((images, 3)) < 0.7
    logits = (
        np.where(rng.random((images, 3)) < 0.5, size, -size)
        if size > 1
        else size * rng.normal(size=(images, 3))
    )
    labels[~mask], logits[~mask] = np.nan, np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calibration = Calibration.fit(logits, labels, mask, method)
        probs = calibration.apply(np.nan_to_num(logits))
    assert np.isfinite(calibration.scale).all() and np.isfinite(calibration.bias).all()
    assert (calibration.scale > 0).all()
    assert ((probs >= 0) & (probs <= 1)).all()
    np.testing.assert_array_equal(calibration.scale[[0, 2]], 1)
    np.testing.assert_array_equal(calibration.bias[[0, 2]], 0)


def test_invalid_arguments_raise():
    ones = np.ones((2, 1))
    with pytest.raises(ValueError, match="calibration method is 'isotonic'; expected"):
        Calibration.fit(ones, ones, ones > 0, method="isotonic")
    with pytest.raises(ValueError, match="logits has the shape"):
        Calibration.fit(np.ones((3, 1)), ones, ones > 0)
    with pytest.raises(ValueError, match="nan"):
        Calibration.fit(ones * np.nan, ones, ones > 0)


@pytest.mark.parametrize("logit", [0.1, -1 / 3, 7.7])
def test_logits_equal_up_to_rounding_have_scale_one(logit):
    # the mean of equal numbers differs from them by rounding
    for images in range(20, 120, 7):
        labels = np.arange(images)[:, None] < images // 5
        calibration = Calibration.fit(np.full((images, 1), logit), labels, labels >= 0)
        assert calibration.scale[0] == 1
