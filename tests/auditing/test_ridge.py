"""Ridge regression against refits; independence of an image's own labels."""

from __future__ import annotations

import numpy as np
import pytest

from aimonk.auditing.ridge import (
    PENALTY,
    Ridge,
    assign_folds,
    cross_validate,
    predict_out_of_fold,
    principal_components,
    within_fold_auroc,
)


@pytest.mark.parametrize("shape", [(60, 8), (40, 90)])
def test_out_of_fold_scores_equal_a_refit(shape):
    rng = np.random.default_rng(0)
    features = rng.normal(size=shape) + 5
    known = rng.random(shape[0]) < 0.7
    y = (rng.random(known.sum()) < 0.3).astype(float)
    fold_of = assign_folds(np.arange(shape[0]), 4, rng)
    components = principal_components(features)
    scores, _ = predict_out_of_fold(Ridge(components, known), y, fold_of)
    x, scale = features - features.mean(0), ((features - features.mean(0)) ** 2).sum(1).mean()
    for fold in range(4):
        train = known & (fold_of != fold)
        labels, centre = y[fold_of[known] != fold], x[train].mean(0)
        gram = (x[train] - centre).T @ (x[train] - centre) + PENALTY * scale * np.eye(shape[1])
        weights = np.linalg.solve(gram, (x[train] - centre).T @ (labels - labels.mean()))
        expected = (x[fold_of == fold] - centre) @ weights + labels.mean()
        np.testing.assert_allclose(scores[fold_of == fold], expected, atol=1e-5)


def test_components_keep_all_distances():
    features = np.random.default_rng(1).normal(size=(30, 50)).astype(np.float32)
    components = principal_components(features)
    x = features - features.mean(0)
    np.testing.assert_allclose(components.scores @ components.scores.T, x @ x.T, atol=1e-3)
    np.testing.assert_allclose((components.scores**2).sum(0), components.variances, rtol=1e-3)
    assert components.scores.shape == (30, 29)
    assert components.scale == pytest.approx((x**2).sum(1).mean(), rel=1e-5)


def test_folds_are_even_and_keep_groups_together():
    groups = np.repeat(np.arange(50), np.r_[np.full(40, 1), np.full(10, 6)])
    fold_of = assign_folds(groups, 10, np.random.default_rng(0))
    assert all(len(np.unique(fold_of[groups == group])) == 1 for group in range(50))
    assert np.bincount(fold_of).tolist() == [10] * 10
    assert len(np.unique(assign_folds(np.arange(3), 10, np.random.default_rng(0)))) == 3
    with pytest.raises(ValueError, match="folds is 1; expected 2 or more"):
        assign_folds(groups, 1, np.random.default_rng(0))


def test_probabilities_ignore_labels_of_their_own_group():
    rng = np.random.default_rng(2)
    features = rng.normal(size=(60, 5))
    groups = np.arange(60) // 2
    y = (features[:, 0] > 0).astype(float)
    ridge = Ridge(principal_components(features), np.ones(60, dtype=bool))
    draws = [assign_folds(groups, 10, rng) for _ in range(3)]
    before, _ = cross_validate(ridge, y, draws)
    y[6:8] = 1 - y[6:8]
    after, _ = cross_validate(ridge, y, draws)
    np.testing.assert_allclose(before[6:8], after[6:8], atol=1e-9)
    assert np.abs(before - after).max() > 1e-3


def test_auroc_counts_pairs_within_folds():
    scores = np.array([1.0, 2.0, 2.0, 101.0, 102.0, 100.0])
    positive = np.array([False, True, False, False, True, False])
    fold_of = np.array([0, 0, 0, 1, 1, 1])
    # fold 0: a concordant pair and a tie; fold 1: two concordant pairs
    assert within_fold_auroc(scores, positive, fold_of) == pytest.approx(3.5 / 4)
    assert within_fold_auroc(scores, fold_of == 1, fold_of) is None


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e6 / 7])
def test_constant_features_have_zero_scores(value):
    for images in range(20, 120, 7):
        assert (principal_components(np.full((images, 4), value)).scores == 0).all()
