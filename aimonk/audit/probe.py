"""Can the attributes be learned from the features? A linear probe and a permutation test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aimonk.audit.association import holm
from aimonk.audit.permutation import permutation_test
from aimonk.audit.ridge import Ridge, assign_folds, cross_validate, principal_components


@dataclass(frozen=True)
class Probe:
    """What a linear probe found; lists have one entry per attribute, None where only one class is known.

    Attributes:
        probabilities: Probability of 1 from models that never saw the image's group, [N, A], also for NA
            entries; the prevalence where one class is known, NaN where nothing is.
        auroc: Of known entries, over pairs of images of the same fold.
        p_value: Of the permutation test; at least 1 / (1 + permutations).
        p_adjusted: Corrected for the number of attributes (Holm).
        evidence: True where p_adjusted is at most alpha.
    """

    probabilities: np.ndarray
    auroc: list[float | None]
    p_value: list[float | None]
    p_adjusted: list[float | None]
    evidence: list[bool]


def probe(
    features: np.ndarray,
    labels: np.ndarray,
    mask: np.ndarray,
    groups: np.ndarray,
    folds: int | None = None,
    repeats: int | None = None,
    permutations: int | None = None,
    alpha: float = 0.05,
    seed: int = 0,
) -> Probe:
    """Tests per attribute whether a linear model of the features predicts the label of unseen images.

    Probabilities and AUROC are those of a ridge regression, p is that of `permutation.permutation_test`.
    Labels are permuted over groups with equally many known entries, so a group whose number nobody shares
    stays where it is.

    Args:
        features: [N, D].
        labels: 0 or 1, [N, A]; ignored where mask is False.
        mask: True where the label is known, [N, A].
        groups: Images with equal numbers are the same photograph, [N]; they share a fold and are permuted
            together.
        folds: None: 10, and above 2,000 images one per 200, since large folds cost more than many.
        repeats: Draws of the folds; probabilities and AUROC are averages over them. None: 5, from 5,000
            images on 1.
        permutations: None: 999, or more where the floor of p times the attributes would come near alpha.
        alpha: Chance of claiming evidence for any attribute when there is none.
    """
    labels, mask, groups = check_entries(features, labels, mask, groups)
    components = principal_components(features)
    attributes = labels.shape[1]
    if permutations is None:
        permutations = max(999, int(np.ceil(2 * attributes / alpha)))
    # one stream per attribute: its result does not depend on which others stand beside it
    rng, *streams = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(attributes + 1))
    folds = folds or max(10, len(labels) // 200)
    repeats = repeats or (5 if len(labels) < 5000 else 1)
    draws = [assign_folds(groups, folds, rng) for _ in range(repeats)]
    probabilities = np.full(labels.shape, np.nan)
    auroc: list[float | None] = [None] * attributes
    p_value: list[float | None] = [None] * attributes
    ridge: Ridge | None = None
    for a, stream in enumerate(streams):
        known, y = mask[:, a], labels[mask[:, a], a].astype(np.float64)
        if 0 < y.sum() < len(y):
            if ridge is None or not np.array_equal(ridge.known, known):
                ridge = Ridge(components, known)
            probabilities[:, a], auroc[a] = cross_validate(ridge, y, draws)
            p_value[a] = permutation_test(components, y, known, groups, permutations, stream)
        elif len(y):
            probabilities[:, a] = y[0]
    p_adjusted = holm(p_value)
    evidence = [p is not None and p <= alpha for p in p_adjusted]
    return Probe(probabilities, auroc, p_value, p_adjusted, evidence)


def check_entries(
    features: np.ndarray, labels: np.ndarray, mask: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Checks that the arrays belong together; returns labels (0 where unknown), mask and groups (0..G-1).

    Raises:
        ValueError: Shapes differ, features are not finite, a known label is neither 0 nor 1, or only one
            group.
    """
    labels, mask, groups = np.asarray(labels), np.asarray(mask, dtype=bool), np.asarray(groups)
    if labels.ndim != 2 or mask.shape != labels.shape or groups.shape != labels.shape[:1]:
        raise ValueError(
            f"labels and mask must be [N, A], groups [N]; got {labels.shape}, {mask.shape} and {groups.shape}"
        )
    if features.ndim != 2 or len(features) != len(labels):
        raise ValueError(
            f"features must be [{len(labels)}, D], one row per row of labels; got {features.shape}"
        )
    if not np.isfinite(features).all():
        raise ValueError(
            f"features must be finite; row {int(np.argmin(np.isfinite(features).all(1)))} is not"
        )
    wrong = np.argwhere(mask & (labels != 0) & (labels != 1))
    if len(wrong):
        row, column = map(int, wrong[0])
        raise ValueError(
            f"a known label must be 0 or 1; got {labels[row, column]} at row {row}, column {column}"
        )
    groups = np.unique(groups, return_inverse=True)[1].reshape(-1)
    if len(groups) == 0 or groups.max() == 0:
        raise ValueError(f"at least two groups of images are needed; got {len(np.unique(groups))}")
    return np.where(mask, labels, 0), mask, groups
