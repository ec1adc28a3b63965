"""Which models are best: against closed forms, scikit-learn, and repeated draws."""

import math
from importlib import util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from aimonk.evaluation.bootstrap import draw
from aimonk.evaluation.comparison import (
    Difference,
    Scores,
    average_seeds,
    confidence_set,
    contrast,
    degrees_of_freedom,
    optimism,
    resample,
)
from aimonk.evaluation.metrics import score

ROOT = Path(__file__).resolve().parents[2]
MANY = 1e6  # degrees of freedom


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = util.spec_from_file_location("compare_benchmark", ROOT / "benchmarks" / "compare.py")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def gaussian(values: list[float], rng: np.random.Generator, resamples: int = 4000) -> Scores:
    """Scores with independent errors of standard deviation 1."""
    return Scores(np.array(values, dtype=float), rng.normal(size=(resamples, len(values))), MANY)


def test_deviations_are_those_of_repeated_images() -> None:
    rng = np.random.default_rng(0)
    labels, groups = (rng.random((60, 1)) < 0.4).astype(np.float32), np.arange(60) // 2
    mask, probs = rng.random((60, 1)) < 0.8, rng.random((60, 1))
    found = resample(labels, mask, groups, probs, np.array([0.5]), "mean_ap", 20, seed=3)
    known = mask[:, 0]
    weights = np.concatenate(list(draw(groups, 20, 3)), axis=1)[known]
    expected = [average_precision_score(labels[known], probs[known], sample_weight=w) for w in weights.T]
    value = average_precision_score(labels[known], probs[known])
    assert found == pytest.approx(np.array(expected) - value, abs=1e-6)


@pytest.mark.parametrize("metric", ["mean_auroc", "f1_macro", "f1_micro", "mean_brier", "subset_accuracy"])
def test_deviations_of_other_scores_center_on_the_score(metric: str) -> None:
    rng = np.random.default_rng(1)
    labels, probs = (rng.random((300, 3)) < 0.4).astype(np.float32), rng.random((300, 3))
    given = (labels, labels > -1, None, probs, np.full(3, 0.5))
    deviations = resample(*given, metric, 400, seed=0)
    assert abs(deviations.mean()) < 0.3 * deviations.std() < 0.1
    assert score(labels, labels > -1, probs, np.full(3, 0.5), ["a", "b", "c"])[metric] is not None


def test_freedom_counts_the_rarer_class_of_each_attribute() -> None:
    labels = np.zeros((40, 2), np.float32)
    labels[:10, 0], labels[:36, 1] = 1, 1
    assert degrees_of_freedom(labels, labels > -1, None) == (10 + 4) / 2 - 1
    assert degrees_of_freedom(labels, labels > -1, np.arange(40) // 2) == (5 + 2) / 2 - 1
    assert degrees_of_freedom(np.zeros((5, 1)), np.ones((5, 1), bool), None) == 1


def test_two_models_have_the_p_value_of_a_normal_difference() -> None:
    gap = 1.6 * math.sqrt(2)
    p = confidence_set(gaussian([0, gap], np.random.default_rng(0)))
    assert p[1] == 1
    assert p[0] == pytest.approx(math.erfc(1.6 / math.sqrt(2)), abs=0.015)


def test_few_degrees_of_freedom_raise_the_p_value() -> None:
    scores = gaussian([0, 3], np.random.default_rng(0))
    few = Scores(scores.values, scores.deviations, 3)
    # Student's t with 3 degrees of freedom exceeds 3 / sqrt(2) in 12.4 % of cases
    assert confidence_set(few)[0] == pytest.approx(0.124, abs=0.02)


def test_worse_models_leave_and_equal_ones_stay() -> None:
    scores = gaussian([0, -9, 0.4, -9.5, -0.3], np.random.default_rng(1))
    assert (confidence_set(scores) > 0.05).tolist() == [True, False, True, False, True]


def test_order_of_the_models_does_not_matter() -> None:
    scores, order = gaussian([0, -3.2, 0.4, -9.5, -2], np.random.default_rng(2)), [3, 0, 4, 2, 1]
    permuted = Scores(scores.values[order], scores.deviations[:, order], MANY)
    assert confidence_set(permuted) == pytest.approx(confidence_set(scores)[order], abs=1e-12)


def test_step_down_finds_more_than_one_step() -> None:
    # against all ten pairs the second one is within chance, against the one pair of the last step it is not
    values = [0, -3.3, -20, -21, -22]
    scores = gaussian(values, np.random.default_rng(3), resamples=20_000)
    alone = Scores(scores.values[:2], scores.deviations[:, :2], MANY)
    assert confidence_set(alone)[1] < 0.05
    assert confidence_set(scores)[1] == pytest.approx(confidence_set(alone)[1], abs=1e-12)


def test_equal_predictions_cannot_be_distinguished() -> None:
    deviations = np.random.default_rng(0).normal(size=(500, 1)) * 0.01
    same = Scores(np.array([0.9, 0.9, 0.9]), np.repeat(deviations, 3, axis=1), 50)
    assert confidence_set(same).tolist() == [1, 1, 1]
    assert contrast(same, np.array([1, -1, 0])) == Difference(0, None)
    constant = Scores(np.array([1.0, 1.0 - 1e-12]), np.zeros((500, 2)), 50)
    assert confidence_set(constant).tolist() == [1, 1]
    assert optimism(constant) == 0


def test_difference_of_two_models_uses_their_correlation() -> None:
    rng = np.random.default_rng(0)
    shared, own = rng.normal(size=(4000, 1)), 0.1 * rng.normal(size=(4000, 2))
    scores, half = Scores(np.array([0.5, 0.9]), shared + own, MANY), 1.96 * 0.1 * math.sqrt(2)
    change = contrast(scores, np.array([1, -1]))
    assert change.value == pytest.approx(-0.4)
    assert change.interval == pytest.approx((-0.4 - half, -0.4 + half), abs=0.01)


def test_choice_of_the_best_of_nine_gains_as_the_maximum_of_normals() -> None:
    scores = gaussian([0.0] * 9, np.random.default_rng(0), resamples=20_000)
    assert optimism(scores) == pytest.approx(1.485, abs=0.03)
    assert optimism(gaussian([0, 99], np.random.default_rng(0))) == pytest.approx(0, abs=0.05)


def test_contrast_weighs_scores_and_errors() -> None:
    scores = gaussian([1, 2, 3, 4], np.random.default_rng(0), resamples=20_000)
    change = contrast(scores, np.array([0.5, 0.5, -0.5, -0.5]))
    assert change.value == -2
    assert change.interval == pytest.approx((-2 - 1.96, -2 + 1.96), abs=0.05)


def test_spread_over_seeds_widens_the_mean_of_a_setting() -> None:
    spread = 0.1 * np.array([-1, 0, 1])
    values = [0.5 + spread, 0.6 + spread, np.array([0.7]), np.array([0.7])]
    deviations = [np.zeros((40_000, len(v))) for v in values]
    scores = average_seeds(values, deviations, [True, True, True, False], MANY, seed=0)
    assert scores.values == pytest.approx([0.5, 0.6, 0.7, 0.7])
    # variances of Student's t: n / (n - 2) with n = 6 and n = 4 degrees of freedom
    expected = [math.sqrt(6 / 4 / 3) * 0.1, math.sqrt(6 / 4 / 3) * 0.1, math.sqrt(4 / 2) * 0.1, 0]
    assert scores.deviations.std(axis=0) == pytest.approx(expected, rel=0.05)
    alone = average_seeds(values[2:], deviations[2:], [True, False], MANY, seed=0)
    assert not alone.deviations.any()


def test_unstable_setting_does_not_blur_the_others() -> None:
    spread = np.array([-1, 0, 1])
    values = [0.5 + 0.1 * spread, *(0.9 + 0.001 * spread for _ in range(3))]
    scores = average_seeds(values, [np.zeros((4000, 3))] * 4, [True] * 4, MANY, seed=0)
    wide, *narrow = scores.deviations.std(axis=0)
    assert wide > 0.03 and max(narrow) < 0.001


@pytest.mark.slow
def test_simulated_models_are_called_equal_or_worse_as_they_are(benchmark: ModuleType) -> None:
    """A short run of benchmarks/compare.py; the bounds allow for the noise of 60 draws."""
    found = benchmark.simulate(draws=60, seed=1)
    assert found[benchmark.EQUAL] >= 0.88
    assert found["the worse one of nine found"] > 0.45
