"""95 % limits of scores between 0 and 1 from the variance of their resamples."""

from __future__ import annotations

import numpy as np

from aimonk.evaluation.arrays import Floats, divide

Z = 1.959964  # 97.5 % quantile of the normal distribution
ROUNDING = 1e-12  # shares closer to 0 or 1 are 0 or 1


def share_limits(score: Floats, spread: Floats, freedom: Floats, most: Floats) -> Floats:
    """Wilson limits of scores with given variances, [A, 2]; they enclose the score.

    Args:
        score: [A], nan where undefined.
        spread: Variance of the score, [A]; nan or 0 where it could not be estimated.
        freedom: Degrees of freedom of the variance, [A]; below 1 the limits are undefined.
        most: Upper limit of the effective sample size, [A].
    """
    score, spread, freedom, most = (np.atleast_1d(x) for x in (score, spread, freedom, most))
    defined = np.isfinite(score) & (freedom >= 1)
    share, spread = np.where(defined, score, 0.5), np.nan_to_num(spread)
    # a share of 0 or 1 does not determine its effective sample size, which is then the upper limit
    usable = (spread > 0) & (share > ROUNDING) & (share < 1 - ROUNDING)
    trials = np.where(usable, np.clip(divide(share * (1 - share), spread, usable), 1, most), most)
    limits = wilson_limits(share, np.where(defined, trials, 1), student(freedom))
    low, high = (np.clip(limit, 0, 1) for limit in limits)
    limits = np.stack([np.fmin(low, score), np.fmax(high, score)], axis=1)
    return np.where(defined[:, None], limits, np.nan)


def wilson_limits(share: Floats, count: Floats, t: Floats | float = Z) -> tuple[Floats, Floats]:
    """95 % limits of a share of `count` independent entries (Wilson 1927).

    Args:
        t: 97.5 % quantile of the standardised share.
    """
    middle = (share + t**2 / (2 * count)) / (1 + t**2 / count)
    half = t / (1 + t**2 / count) * np.sqrt(share * (1 - share) / count + t**2 / (4 * count**2))
    return middle - half, middle + half


def half_sum(first: Floats, second: Floats, first_limits: Floats, second_limits: Floats) -> Floats:
    """95 % limits of the mean of two independent shares from the limits of each, [A, 2].

    Newcombe 1998, "Interval estimation for the difference between independent proportions".
    """
    off = np.hypot(first[:, None] - first_limits, second[:, None] - second_limits) / 2
    return ((first + second) / 2)[:, None] + off * [-1, 1]


def student(freedom: Floats) -> Floats:
    """97.5 % quantile of Student's t, within 3 % for fractions between 1 and 3, and below .2 % elsewhere.

    Abramowitz and Stegun 26.7.5 from 3 degrees of freedom on, interpolated below.
    """
    n = np.maximum(freedom, 3.0)
    t = Z + (Z**3 + Z) / (4 * n) + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * n**2)
    t = t + (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / (384 * n**3)
    t = t + (79 * Z**9 + 776 * Z**7 + 1482 * Z**5 - 1920 * Z**3 - 945 * Z) / (92160 * n**4)
    inverse = 1 / np.clip(freedom, 1.0, 3.0)
    few = np.exp(np.interp(inverse, [1 / 3, 1 / 2, 1], np.log([3.1824, 4.3027, 12.7062])))
    return np.where(freedom < 3, few, t)


def variance(values: Floats) -> Floats:
    """Variance of the finite values of each column; nan below two."""
    defined = np.isfinite(values)
    count = defined.sum(axis=0)
    mean = divide(np.where(defined, values, 0).sum(axis=0), count)
    return divide((np.where(defined, values - mean, 0) ** 2).sum(axis=0), count - 1)


def upper_quantile(values: Floats) -> Floats:
    """97.5 % quantile of the finite values of each column, infinite where there are none."""
    columns = (column[np.isfinite(column)] for column in values.T)
    return np.array([np.quantile(column, 0.975) if len(column) else np.inf for column in columns])
