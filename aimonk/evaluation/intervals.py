"""95 % limits of scores between 0 and 1 from the variance of their resamples."""

from __future__ import annotations

import numpy as np

from aimonk.evaluation.kernels import Floats, divide

Z = 1.959964  # 97.5 % quantile of the normal distribution


def wilson(score: Floats, centre: Floats, moved: Floats, units: Floats, most: int) -> Floats:
    """95 % limits of scores between 0 and 1, [A, 2], nan where undefined; they enclose the score.

    Args:
        score: [A], nan where undefined.
        centre: The score without its bias, [A].
        moved: How far each resample is off the score, [R, A]; nan where the resample leaves it undefined.
        units: Independent groups that the score rests on, [A]; the limits are undefined below two.
        most: Upper limit of the effective sample size per unit.
    """
    score, centre, units = (np.atleast_1d(x) for x in (score, centre, units))
    defined = np.isfinite(score) & np.isfinite(centre) & (units >= 2)
    units = np.where(defined, units, 2)
    share = np.where(defined, centre, 0.5)
    spread = np.nan_to_num(variance(moved)) * units / (units - 1)
    # a share of exactly 0 or 1 says nothing about its effective sample size, which then is the upper limit
    usable = (spread > 0) & (share > 0) & (share < 1)
    trials = np.clip(divide(share * (1 - share), spread, usable), 1, most * units)
    trials = np.where(usable, trials, most * units)
    t = student(units - 1)
    middle = (share + t**2 / (2 * trials)) / (1 + t**2 / trials)
    half = t / (1 + t**2 / trials) * np.sqrt(share * (1 - share) / trials + t**2 / (4 * trials**2))
    low, high = np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1)
    limits = np.stack([np.fmin(low, score), np.fmax(high, score)], axis=1)
    return np.where(defined[:, None], limits, np.nan)


def wilson_limits(share: Floats, count: Floats) -> tuple[Floats, Floats]:
    """95 % limits of a share of `count` independent entries (Wilson 1927)."""
    middle = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z / (1 + Z**2 / count) * np.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
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


def variance(drawn: Floats) -> Floats:
    """Variance of each column over its defined resamples; nan below two."""
    defined = np.isfinite(drawn)
    count = defined.sum(axis=0)
    values = np.where(defined, drawn, 0)
    mean = divide(values.sum(axis=0), count)
    return divide((np.where(defined, drawn - mean, 0) ** 2).sum(axis=0), count - 1)


def upper_quantile(drawn: Floats) -> Floats:
    """97.5 % quantile of each column over its defined resamples, infinite where there are none."""
    columns = (column[np.isfinite(column)] for column in drawn.T)
    return np.array([np.quantile(column, 0.975) if len(column) else np.inf for column in columns])
