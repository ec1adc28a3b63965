"""Many logistic regressions at once against scikit-learn."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from aimonk.training.logistic import Problems, Solution, finish, solve

TIGHT = 1e-8


def draw(rows: int = 120, width: int = 30, attributes: int = 5, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Centred features, labels that they predict in part, and weights with gaps."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, width)) * np.linspace(3, 0.1, width)
    labels = features @ rng.normal(size=(width, attributes)) + 3 * rng.normal(size=(rows, attributes)) > 2
    weights = rng.choice([0, 0, 1, 2.5], size=(rows, attributes))
    return features - features.mean(0), labels.astype(float), weights


def fit(features, labels, weights, penalty) -> Solution:
    arrays = (features, labels, weights, np.broadcast_to(penalty, labels.shape[1:]))
    problems = Problems(*(torch.tensor(a, dtype=torch.float64) for a in arrays), TIGHT)
    solution = solve(problems, iterations=50)
    finish(problems, solution)
    assert solution.converged.all()
    return solution


def reference(features, labels, weights, penalty) -> np.ndarray:
    """Logits of scikit-learn's solution, [N, A]."""
    logits = []
    for label, weight in zip(labels.T, weights.T, strict=True):
        known = weight > 0
        model = LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=1e-12, max_iter=1000)
        model.fit(features[known], label[known], sample_weight=weight[known])
        logits.append(model.decision_function(features))
    return np.stack(logits, axis=1)


@pytest.mark.parametrize("penalty", [1e-2, 1.0, 100.0])
@pytest.mark.parametrize("rows", [20, 120])
def test_logits_equal_scikit_learn(penalty: float, rows: int) -> None:
    data = draw(rows)
    np.testing.assert_allclose(fit(*data, penalty).logits, reference(*data, penalty), atol=1e-4)


def test_separable_classes_have_a_finite_solution() -> None:
    features, labels, weights = draw(attributes=1)
    labels = (features[:, :1] > 0).astype(float)
    solution = fit(features, labels, weights, 1e-3)
    np.testing.assert_allclose(solution.logits, reference(features, labels, weights, 1e-3), atol=1e-4)


def test_two_known_entries_have_a_solution() -> None:
    features, labels, weights = draw(attributes=1)
    weights[:] = 0
    weights[:2], labels[0], labels[1] = 1, 1, 0
    np.testing.assert_allclose(
        fit(features, labels, weights, 0.1).logits, reference(features, labels, weights, 0.1), atol=1e-4
    )


def test_rows_without_weight_change_nothing() -> None:
    features, labels, weights = draw()
    more = np.concatenate([features, 5 * np.ones((7, 30))])
    padded = [np.concatenate([x, fill * np.ones((7, 5))]) for x, fill in ((labels, 1), (weights, 0))]
    np.testing.assert_allclose(
        fit(more, *padded, 1.0).logits[:120], fit(features, labels, weights, 1.0).logits, atol=1e-5
    )


def test_attributes_do_not_influence_one_another() -> None:
    features, labels, weights = draw(attributes=40)
    together = fit(features, labels, weights, 0.3).logits
    order = np.random.default_rng(1).permutation(40)
    permuted = fit(features, labels[:, order], weights[:, order], 0.3).logits
    np.testing.assert_allclose(permuted, together[:, order], atol=1e-5)
    alone = fit(features, labels[:, 7:8], weights[:, 7:8], 0.3).logits
    np.testing.assert_allclose(alone[:, 0], together[:, 7], atol=1e-5)


def test_objectives_of_the_history_decrease() -> None:
    history = fit(*draw(), 0.01).history
    assert len(history) > 3
    assert all(after <= before * (1 + 1e-12) for before, after in pairwise(history))
