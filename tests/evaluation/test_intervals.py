import numpy as np
from scipy.stats import t

from aimonk.evaluation.intervals import student, wilson_limits


def test_wilson_limits() -> None:
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29
    low, high = wilson_limits(np.array([81 / 263, 15 / 148, 0, 1 / 29]), np.array([263, 148, 20, 29]))
    np.testing.assert_allclose(low, [0.2553, 0.0624, 0, 0.0061], atol=1e-4)
    np.testing.assert_allclose(high, [0.3662, 0.1605, 0.1611, 0.1718], atol=1e-4)


def test_student_quantiles() -> None:
    freedom = np.array([1, 2, 3, 5, 10, 100, 1e6])
    np.testing.assert_allclose(student(freedom), t.ppf(0.975, freedom), rtol=2e-3)
