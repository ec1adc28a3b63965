"""Standard errors of paired differences, against repeated draws and closed forms."""

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from aimonk.evaluation.paired import mean_ap_difference_error, mean_difference_error


def draw(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels and the correlated probabilities of two models, [n, 1] each."""
    labels = (rng.random((n, 1)) < 0.3).astype(np.float32)
    shared = labels + rng.normal(size=(n, 1))
    first, second = (shared + 0.5 * rng.normal(size=(n, 1)) for _ in range(2))
    return labels, 1 / (1 + np.exp(-first)), 1 / (1 + np.exp(-second))


def test_error_of_mean_ap_difference_matches_new_draws() -> None:
    rng = np.random.default_rng(0)
    differences = []
    for _ in range(300):
        labels, first, second = draw(200, rng)
        differences.append(average_precision_score(labels, first) - average_precision_score(labels, second))
    errors = [mean_ap_difference_error(x, x > -1, p, q) for x, p, q in (draw(200, rng) for _ in range(20))]
    assert np.mean(errors) == pytest.approx(np.std(differences), rel=0.2)


def test_equal_predictions_have_no_error() -> None:
    labels, probs, _ = draw(50, np.random.default_rng(1))
    assert mean_ap_difference_error(labels, labels > -1, probs, probs) == 0


def test_undefined_mean_ap_has_no_error() -> None:
    labels, first, second = draw(50, np.random.default_rng(1))
    assert math.isnan(mean_ap_difference_error(labels, labels < -1, first, second))


def test_copies_count_as_one_image() -> None:
    labels, first, second = draw(100, np.random.default_rng(2))
    groups = np.tile(np.arange(100), 4)
    twice = [np.tile(x, (4, 1)) for x in (labels, first, second)]
    single = mean_ap_difference_error(labels, labels > -1, first, second)
    copied = mean_ap_difference_error(twice[0], twice[0] > -1, *twice[1:], groups=groups)
    assert copied == pytest.approx(single, rel=1e-5)
    differences = (first - second)[:, 0]
    assert mean_difference_error(np.tile(differences, 4), groups) == pytest.approx(
        mean_difference_error(differences)
    )


def test_error_of_a_mean_is_the_usual_one() -> None:
    values = np.array([1.0, 2.0, 4.0])
    assert mean_difference_error(values) == pytest.approx(np.std(values, ddof=1) / math.sqrt(3))
    assert math.isnan(mean_difference_error(values[:1]))
