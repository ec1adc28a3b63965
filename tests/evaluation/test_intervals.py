import numpy as np
from scipy.stats import t

from aimonk.evaluation.intervals import share_limits, student, wilson_limits
from aimonk.evaluation.score_intervals import mean_limits


def test_wilson_limits() -> None:
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29
    low, high = wilson_limits(np.array([81 / 263, 15 / 148, 0, 1 / 29]), np.array([263, 148, 20, 29]))
    np.testing.assert_allclose(low, [0.2553, 0.0624, 0, 0.0061], atol=1e-4)
    np.testing.assert_allclose(high, [0.3662, 0.1605, 0.1611, 0.1718], atol=1e-4)


def test_student_quantiles() -> None:
    freedom = np.array([1, 2, 3, 5, 10, 100, 1e6])
    np.testing.assert_allclose(student(freedom), t.ppf(0.975, freedom), rtol=2e-3)
    freedom = np.linspace(1, 3, 20)
    np.testing.assert_allclose(student(freedom), t.ppf(0.975, freedom), rtol=0.03)


def test_share_of_zero_up_to_rounding_has_the_same_limits() -> None:
    spread, fifty = np.full(2, 0.01), np.full(2, 50)
    for exact, rounded in ((0.0, 1e-17), (1.0, 1 - 1e-16)):
        limits = share_limits(np.array([exact, rounded]), spread, fifty - 1, fifty)
        np.testing.assert_allclose(limits[0], limits[1], atol=1e-12)


def test_variance_of_a_mean_includes_single_positives_and_counts_freedom() -> None:
    rng = np.random.default_rng(0)
    drawn = 0.6 + 0.1 * rng.normal(size=(500, 2))
    low, high = mean_limits(np.array([0.6, 0.3]), drawn, np.array([10, 1]), 12)
    first, second = drawn[:, 0].var(ddof=1) * 10 / 9, 0.3 * 0.7
    freedom = (first + second) ** 2 / (first**2 / 9 + second**2)
    spread = (first + second) / 4
    expected = wilson_limits(np.array(0.45), 0.45 * 0.55 / spread, t.ppf(0.975, freedom))
    np.testing.assert_allclose([low, high], expected, rtol=0.05, atol=2e-3)
    assert np.isnan(mean_limits(np.array([0.3, np.nan]), drawn, np.array([1, 0]), 12)).all()
