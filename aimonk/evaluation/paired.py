"""Paired comparison of two sets of predictions for the same images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aimonk.data.groups import number_groups
from aimonk.evaluation.arrays import Bools, Floats
from aimonk.evaluation.comparison import resample

RESAMPLES = 200


def mean_ap_difference_error(
    labels: Floats, mask: Bools, probs: Floats, others: Floats, groups: NDArray[np.integer] | None = None
) -> float:
    """Standard error of the difference between two mean APs, by a bootstrap of groups of images.

    Args:
        labels: 0 or 1, [N, A]; ignored where mask is False.
        mask: True where the label is known, [N, A].
        probs: Probabilities of one model, [N, A].
        others: Probabilities of the other model, [N, A].
        groups: Group number of each image, [N]: groups are drawn together; None draws single images.

    Returns:
        nan where fewer than two resamples define both mean APs.
    """
    thresholds = np.full(np.shape(mask)[-1], 0.5)
    first, second = (
        resample(labels, mask, groups, p, thresholds, "mean_ap", RESAMPLES, seed=0) for p in (probs, others)
    )
    differences = first - second
    defined = differences[np.isfinite(differences)]
    return float(np.std(defined, ddof=1)) if len(defined) > 1 else float("nan")


def mean_difference_error(differences: Floats, groups: NDArray[np.integer] | None = None) -> float:
    """Standard error of the mean of paired differences, [N]; groups count as single observations."""
    if groups is not None:
        numbers = number_groups(groups)
        differences = np.bincount(numbers, differences) / np.bincount(numbers)
    return (
        float(np.std(differences, ddof=1) / np.sqrt(len(differences)))
        if len(differences) > 1
        else float("nan")
    )
