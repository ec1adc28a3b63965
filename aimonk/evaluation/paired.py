"""Paired comparison of two sets of predictions for the same images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aimonk.data.groups import number_groups
from aimonk.evaluation.arrays import Bools, Floats, mean_defined
from aimonk.evaluation.bootstrap import draw
from aimonk.evaluation.kernels import check, rankings
from aimonk.evaluation.ranking import ap_and_auroc

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
    groups = np.arange(len(mask)) if groups is None else number_groups(groups)
    thresholds = np.full(np.shape(mask)[-1], 0.5)
    ranked = [rankings(check(labels, mask, p, thresholds)) for p in (probs, others)]
    differences = []
    for weights in draw(groups, RESAMPLES, seed=0):
        first, second = (
            mean_defined(np.stack([ap_and_auroc(ranking, weights)[0] for ranking in attributes], axis=1))
            for attributes in ranked
        )
        differences.append(first - second)
    defined = np.concatenate(differences)
    defined = defined[np.isfinite(defined)]
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
