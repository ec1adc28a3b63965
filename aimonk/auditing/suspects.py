"""Labels that are probably wrong, and unknown labels that are probably positive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

ROUNDING = 1e-12  # of a mean probability


class Entry(NamedTuple):
    """One entry of the label table."""

    row: int
    attribute: int
    label: int | None  # None where unknown
    probability: float  # of 1, out of fold


def probability_wrong(probabilities: np.ndarray, labels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Out-of-fold probability that the label is wrong, [N, A]; NaN where it is unknown.

    Args:
        probabilities: Of 1, from models not trained on the image, [N, A].
        labels: 0 or 1, [N, A]; ignored where mask is False.
        mask: True where the label is known, [N, A].
    """
    return np.where(mask, np.where(labels == 1, 1 - probabilities, probabilities), np.nan)


def suspects(
    probabilities: np.ndarray, labels: np.ndarray, mask: np.ndarray, evidence: Sequence[bool]
) -> list[Entry]:
    """Known entries that are probably wrong, the most probable first.

    Args:
        probabilities: Of 1, from models not trained on the image, [N, A].
        labels: 0 or 1, [N, A]; ignored where mask is False.
        mask: True where the label is known, [N, A].
        evidence: True for attributes that the features predict; the others have no suspects.
    """
    wrong = probability_wrong(probabilities, labels, mask)
    chosen = np.isfinite(wrong) & np.asarray(evidence, dtype=bool) & off_diagonal(probabilities, labels, mask)
    rows, columns = np.nonzero(chosen)
    order = np.argsort(-wrong[rows, columns], kind="stable")
    return [
        Entry(int(n), int(a), int(labels[n, a]), float(probabilities[n, a]))
        for n, a in zip(rows[order], columns[order], strict=True)
    ]


def unknowns(probabilities: np.ndarray, mask: np.ndarray, evidence: Sequence[bool]) -> list[Entry]:
    """Unknown entries of the attributes with evidence, by descending probability of 1."""
    rows, columns = np.nonzero(~mask & np.isfinite(probabilities) & np.asarray(evidence, dtype=bool))
    order = np.argsort(-probabilities[rows, columns], kind="stable")
    return [
        Entry(int(n), int(a), None, float(probabilities[n, a]))
        for n, a in zip(rows[order], columns[order], strict=True)
    ]


def off_diagonal(probabilities: np.ndarray, labels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Entries that confident learning counts as mislabelled, [N, A].

    The other class must reach its threshold, its mean probability among its own labels, and be the more
    probable one if both classes reach theirs (Northcutt et al. 2021, "Confident learning: estimating
    uncertainty in dataset labels").
    """
    positive, negative = mask & (labels == 1), mask & (labels == 0)
    shown = np.where(mask, probabilities, 0.0)
    threshold_1 = shown.sum(0, where=positive) / np.maximum(positive.sum(0), 1)  # [A]
    threshold_0 = (1 - shown).sum(0, where=negative) / np.maximum(negative.sum(0), 1)
    # the mean of equal probabilities differs from them by rounding
    is_1, is_0 = probabilities >= threshold_1 - ROUNDING, 1 - probabilities >= threshold_0 - ROUNDING
    looks_1 = is_1 & (~is_0 | (probabilities > 0.5))
    looks_0 = is_0 & (~is_1 | (probabilities < 0.5))
    return (negative & looks_1) | (positive & looks_0)
