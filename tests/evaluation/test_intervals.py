import numpy as np
from scipy.stats import t

from aimonk.evaluation.intervals import resampled_limits, student, wilson_limits


def test_wilson_limits() -> None:
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29
    low, high = wilson_limits(np.array([81 / 263, 15 / 148, 0, 1 / 29]), np.array([263, 148, 20, 29]))
    np.testing.assert_allclose(low, [0.2553, 0.0624, 0, 0.0061], atol=1e-4)
    np.testing.assert_allclose(high, [0.3662, 0.1605, 0.1611, 0.1718], atol=1e-4)


def test_student_quantiles() -> None:
    freedom = np.array([1, 2, 3, 5, 10, 100, 1e6])
    np.testing.assert_allclose(student(freedom), t.ppf(0.975, freedom), rtol=2e-3)


def test_share_of_zero_up_to_rounding_has_the_same_limits() -> None:
    deviations = np.random.default_rng(0).random((100, 2)) / 10
    units = np.full(2, 50)
    for exact, rounded in ((0.0, 1e-17), (1.0, 1 - 1e-16)):
        score = np.array([exact, rounded])
        limits = resampled_limits(score, score, deviations[:, [0, 0]], units, 1)
        np.testing.assert_allclose(limits[0], limits[1], atol=1e-12)
