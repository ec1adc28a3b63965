"""Tests against chance, corrected for the number of attributes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from aimonk.evaluation.arrays import Bools, Floats, Ints
from aimonk.evaluation.kernels import check_groups

ALPHA = 0.05
ROUNDING = 1e-12  # deviations of ranks, relative to the largest possible one, that count as none


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values for multiple tests (Holm 1979); None stays None and does not count."""
    adjusted: list[float | None] = [None] * len(p_values)
    tested = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    running = 0.0
    for rank, (p, i) in enumerate(tested):
        running = max(running, min(1.0, p * (len(tested) - rank)))
        adjusted[i] = running
    return adjusted


def rank_test(labels: Floats, mask: Bools, probs: Floats, groups: Ints | None) -> list[float | None]:
    """Two-sided p-value of each attribute against an order that does not depend on the labels, A.

    The rank sum test (Mann and Whitney 1947) in its normal approximation, which exaggerates p where few
    entries are positive. Copies of a photograph are one entry with their mean rank and label, and the
    variance is that of permutations of the labels. None without a known positive or without a known negative.

    Args:
        labels: 0 or 1, [N, A]; ignored where mask is False.
        mask: True where the label is known, [N, A].
        probs: [N, A]; ignored where mask is False.
        groups: Copies have equal numbers, [N]; None: each image is a group.
    """
    groups = check_groups(groups, len(mask))
    columns = range(mask.shape[1])
    return [_rank_test(*(x[mask[:, a]] for x in (labels[:, a], probs[:, a], groups))) for a in columns]


def _rank_test(labels: Floats, probs: Floats, groups: Ints) -> float | None:
    """As `rank_test`, for the known entries of one attribute, [K]."""
    if not 0 < labels.sum() < len(labels):
        return None
    _, place, ties = np.unique(probs, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[place]
    size = np.bincount(groups)
    used = size > 0
    rank, label = (np.bincount(groups, x)[used] / size[used] for x in (ranks, labels))
    rank, label = rank - rank.mean(), label - label.mean()
    deviation = math.sqrt((rank**2).sum() * (label**2).sum() / max(1, len(rank) - 1))
    if deviation <= ROUNDING * len(labels) ** 1.5:
        return 1.0
    return math.erfc(abs(float(rank @ label)) / deviation / math.sqrt(2))
