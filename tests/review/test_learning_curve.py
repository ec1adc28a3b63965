"""The forecast: a gain where more labels help, none where few images are labelled, and an interval."""

import numpy as np
import pytest
import torch

from aimonk.review.learning_curve import LEAST, NEXT, _gain, forecast


def draw(count: int) -> tuple[torch.Tensor, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 30)).astype(np.float32)
    labels = (x[:, :2] + rng.normal(size=(count, 2)) > 0).astype(np.float32)
    return torch.from_numpy(x), labels


def test_gain_is_that_of_the_curve() -> None:
    sizes = np.array([50.0, 70.0, 100.0])
    assert _gain(sizes, 0.1 + 2 / sizes, 100, 1) == pytest.approx(2 / 100 - 2 / (100 + NEXT))
    assert _gain(sizes, 0.1 + 9e4 / sizes**3, 100, 3) == pytest.approx(9e4 / 100**3 - 9e4 / (100 + NEXT) ** 3)


def test_forecast_encloses_its_gain_and_counts_labelled_images_only() -> None:
    x, labels = draw(120)
    mask = np.ones((120, 2), bool)
    mask[80:] = False
    found = forecast(x, labels, mask, np.arange(120), np.full(2, 3.0), lambda: False)
    assert found.interval[0] < found.gain < found.interval[1] and found.reason == ""
    assert found.points[-1][0] == 60  # three quarters of the labelled images


def test_few_or_rare_labels_give_the_reason() -> None:
    x, labels = draw(120)
    mask = np.zeros((120, 2), bool)
    mask[: LEAST - 1] = True
    found = forecast(x, labels, mask, np.arange(120), np.ones(2), lambda: False)
    assert found.gain is None and found.reason == f"needs {LEAST} labelled images, {LEAST - 1} are"
    found = forecast(x, 0 * labels, mask | True, np.arange(120), np.ones(2), lambda: False)
    assert found.gain is None and "too rare" in found.reason


def test_changed_labels_end_the_computation() -> None:
    x, labels = draw(120)
    assert forecast(x, labels, np.ones((120, 2), bool), np.arange(120), np.ones(2), lambda: True) is None
