"""95 % limits of scores between 0 and 1 from the variance of their resamples."""

from __future__ import annotations

import numpy as np

from aimonk.evaluation.arrays import Floats, divide

Z = 1.959964  # 97.5 % quantile of the normal distribution
ROUNDING = 1e-12  # shares closer to 0 or 1 are 0 or 1


def resampled_limits(score: Floats, centre: Floats, deviations: Floats, units: Floats, most: int) -> Floats:
    """Wilson limits with the variance of resamples, [A, 2]; they enclose the score, nan where undefined.

    Args:
        score: [A], nan where undefined.
        centre: Bias-corrected score, [A].
        deviations: Score of each resample minus the score, [R, A]; nan where undefined.
        units: Number of independent groups behind the score, [A]; fewer than two leave the limits undefined.
        most: Upper limit of the effective sample size per unit.
    """
    score, centre, units = (np.atleast_1d(x) for x in (score, centre, units))
    defined = np.isfinite(score) & np.isfinite(centre) & (units >= 2)
    units = np.where(defined, units, 2)
    share = np.where(defined, centre, 0.5)
    spread = np.nan_to_num(variance(deviations)) * units / (units - 1)
    # a share of 0 or 1 does not determine its effective sample size, which is then the upper limit
    usable = (spread > 0) & (share > ROUNDING) & (share < 1 - ROUNDING)
    trials = np.clip(divide(share * (1 - share), spread, usable), 1, most * units)
    trials = np.where(usable, trials, most * units)
    low, high = (np.clip(limit, 0, 1) for limit in wilson_limits(share, trials, student(units - 1)))
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
    """97.5 % quantile of Student's t (Abramowitz and Stegun 26.7.5, exact for 1 and 2 degrees of freedom)."""
    n = np.maximum(freedom, 3.0)
    t = Z + (Z**3 + Z) / (4 * n) + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * n**2)
    t = t + (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / (384 * n**3)
    t = t + (79 * Z**9 + 776 * Z**7 + 1482 * Z**5 - 1920 * Z**3 - 945 * Z) / (92160 * n**4)
    return np.where(freedom <= 1, 12.7062, np.where(freedom <= 2, 4.3027, t))


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
