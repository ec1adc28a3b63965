"""The choice of penalties against brute force by scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from aimonk.training import penalties
from aimonk.training.penalties import GRID, choose_penalties, cross_validate, deal_folds

FOLDS = 4


def draw(rows: int = 80, attributes: int = 2, noise: float = 2.0, seed: int = 0) -> tuple:
    """Features, labels, weights and groups of two: centred float32 features as the solver passes."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, 12))
    labels = features @ rng.normal(size=(12, attributes)) + noise * rng.normal(size=(rows, attributes)) > 0
    weights = (rng.random((rows, attributes)) < 0.7).astype(float)
    return features - features.mean(0), labels * weights, weights, np.arange(rows) // 2


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.tensor(a, dtype=torch.float32) for a in arrays]


def held_out_logits(features, label, weight, fold_of, penalty) -> np.ndarray:
    """Logits of each row by scikit-learn's regression without its fold, [N]."""
    logits = np.empty(len(label))
    for fold in range(FOLDS):
        known = (weight > 0) & (fold_of != fold)
        model = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000).fit(
            features[known], label[known]
        )
        logits[fold_of == fold] = model.decision_function(features[fold_of == fold])
    return logits


def test_out_of_fold_logits_equal_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(penalties, "TOLERANCE", 1e-5)
    features, labels, weights, groups = draw()
    choice = cross_validate(*tensors(features, labels, weights), groups, FOLDS, 0, np.array([0.5, 3.0]))
    for a, penalty in enumerate((0.5, 3.0)):
        fold_of = deal_folds(labels[:, a] > 0.5, weights[:, a] > 0, groups, FOLDS, 0)
        expected = held_out_logits(features, labels[:, a], weights[:, a], fold_of, penalty)
        np.testing.assert_allclose(choice.logits[:, a], expected, atol=2e-3)
    assert choice.penalty.tolist() == [0.5, 3.0]


def test_chosen_penalty_has_the_smallest_held_out_loss() -> None:
    features, labels, weights, groups = draw(attributes=1)
    (chosen,) = choose_penalties(*tensors(features, labels, weights), groups, FOLDS, 0).penalty
    scale = (features**2).sum() / len(features)
    fold_of = deal_folds(labels[:, 0] > 0.5, weights[:, 0] > 0, groups, FOLDS, 0)

    def loss(penalty: float) -> float:
        z = held_out_logits(features, labels[:, 0], weights[:, 0], fold_of, penalty)
        return float((weights[:, 0] * (np.logaddexp(0, z) - labels[:, 0] * z)).sum())

    losses = {penalty * scale: loss(penalty * scale) for penalty in (*GRID, 10**0.5, 10.0, 10**1.5, 100.0)}
    best = min(losses, key=losses.get)
    assert chosen == pytest.approx(best, rel=1e-5)
    assert best not in (max(losses), min(losses)), "an inner minimum, so that the choice can be wrong"


def test_grid_widens_where_labels_are_noise() -> None:
    features, _, weights, groups = draw()
    labels = (np.random.default_rng(3).random(weights.shape) < 0.5) * weights
    choice = choose_penalties(*tensors(features, labels, weights), groups, FOLDS, 0)
    assert (choice.penalty > max(GRID) * (features**2).sum() / len(features) * 2).all()


@pytest.mark.parametrize("seed", range(5))
def test_groups_share_a_fold_and_positives_are_spread(seed: int) -> None:
    groups = np.random.default_rng(0).integers(0, 15, 60)
    positive, known = groups % 3 == 0, np.ones(60, bool)
    fold_of = deal_folds(positive, known, groups, FOLDS, seed)
    assert all(len(set(fold_of[groups == group])) == 1 for group in groups)
    for fold in range(FOLDS):  # five positive groups and ten negative ones
        assert 1 <= len(set(groups[(fold_of == fold) & positive])) <= 2


def test_attributes_without_folds_take_the_common_penalty() -> None:
    features, labels, weights, groups = draw(attributes=3)
    labels[:, 2] = 0
    labels[0, 2], weights[0, 2] = 1, 1  # a single known positive
    choice = choose_penalties(*tensors(features, labels, weights), groups, FOLDS, 0)
    assert np.isnan(choice.logits[:, 2]).all() and np.isfinite(choice.logits[:, :2]).all()
    assert (choice.penalty > 0).all()
    none = choose_penalties(*tensors(features, labels * 0, weights), groups, FOLDS, 0)
    assert np.isnan(none.logits).all() and (none.penalty > 0).all()


def test_large_sets_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(penalties, "MOST_ROWS", 50)
    features, labels, weights, groups = draw()
    two_views = np.concatenate([features, features + 0.01])
    choice = choose_penalties(*tensors(two_views, labels, weights), groups, FOLDS, 0)
    assert (np.isfinite(choice.logits).all(axis=1)).sum() == 50
