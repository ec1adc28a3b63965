"""Share of positives among unknown entries, expected from scores of the images."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

ROUNDING = 1e-9  # relative to the largest score; smaller differences between means are none


class Shares(NamedTuple):
    """Shares of positives.

    Attributes:
        known: Among the known entries.
        expected: Among NA.
        interval: 95 %, of `expected`, within 0 to 1.
        plausible: Whether the interval reached 0 to 1 before it was cut; if not, NA does not depend on the
            values alone.
    """

    known: float
    expected: float
    interval: list[float]
    plausible: bool


def expected_share(scores: np.ndarray, labels: np.ndarray, known: np.ndarray) -> Shares | None:
    """Share of positives among NA, if NA depends on the value of the label and on nothing else.

    Entries with equal values then have the same distribution of scores, known or not, so that the share is
    (mean of NA - mean of known negatives) / (mean of known positives - mean of known negatives) for any score
    (Bella et al. 2010, "Quantification via probability estimators"). It equals the known share where NA and
    known entries have the same mean.

    Args:
        scores: Out of fold, [N].
        labels: 0 or 1, both among the known ones, [N].
        known: False for at least one, [N].

    Returns:
        None where the means of positives and negatives differ by less than two standard errors.
    """
    positive, negative = known & (labels == 1), known & (labels != 1)
    (high, of_high), (low, of_low), (mean, of_mean) = (
        mean_and_variance(scores[rows]) for rows in (positive, negative, ~known)
    )
    gap = high - low
    if abs(gap) <= max(ROUNDING * float(np.abs(scores).max()), 2 * math.sqrt(of_high + of_low)):
        return None
    expected = (mean - low) / gap
    variance = of_mean + expected**2 * of_high + (1 - expected) ** 2 * of_low
    half = 1.96 * math.sqrt(variance) / abs(gap)
    plausible = expected - half <= 1 and expected + half >= 0
    low, expected, high = (min(1.0, max(0.0, x)) for x in (expected - half, expected, expected + half))
    return Shares(float(positive.sum() / known.sum()), expected, [low, high], plausible)


def mean_and_variance(values: np.ndarray) -> tuple[float, float]:
    """Mean, and the variance of the mean."""
    return float(values.mean()), float(values.var() / len(values))


def mask_correlation(shares: Shares, part: float) -> float:
    """Largest absolute correlation of NA with the value of the label within the interval.

    Args:
        part: Share of NA, neither 0 nor 1.
    """
    correlations = []
    for expected in shares.interval:
        overall = part * expected + (1 - part) * shares.known
        spread = math.sqrt(part * (1 - part) / (overall * (1 - overall)))
        correlations.append(abs(shares.known - expected) * spread)
    return max(correlations)
