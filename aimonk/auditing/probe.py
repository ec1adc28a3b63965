"""Evidence that attributes can be learned from features: a linear probe and a permutation test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from aimonk.auditing.permutation import permutation_test
from aimonk.auditing.ridge import Ridge, assign_folds, cross_validate, principal_components
from aimonk.data.groups import number_groups
from aimonk.evaluation.significance import holm
from aimonk.runtime.progress import unwatched


@dataclass(frozen=True)
class Probe:
    """Result of a linear probe; lists have one entry per attribute, None without two known classes.

    Attributes:
        probabilities: Out-of-fold probability of 1, [N, A], also of NA entries; the label where only one
            class is known, NaN without known entries.
        auroc: Of known entries, over pairs of images in the same fold.
        p_value: From the permutation test; at least 1 / (1 + permutations).
        p_adjusted: Adjusted for the number of attributes (Holm).
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
    watch: Callable = unwatched,
) -> Probe:
    """Tests for each attribute whether a linear model of the features predicts labels of unseen images.

    Probabilities and AUROC are from a ridge regression, p-values from `permutation.permutation_test`. Labels
    are permuted among groups with the same number of known entries.

    Args:
        features: [N, D].
        labels: 0 or 1, [N, A]; ignored where mask is False.
        mask: True where the label is known, [N, A].
        groups: Images with equal numbers share a fold and are permuted together, [N].
        folds: None: 10, and above 2,000 images one per 200, since large folds are more expensive.
        repeats: Random assignments to folds, over which probabilities and AUROC are averaged. None: 5, and 1
            for 5,000 images or 50 attributes or more.
        permutations: At most. None: 999, or more where the smallest p_adjusted would be close to alpha.
        alpha: Probability of evidence for any attribute when no attribute can be predicted.
        watch: Wraps an iterator to show progress; called with (iterator, total, title).
    """
    labels, mask, groups = check_entries(features, labels, mask, groups)
    components = principal_components(features)
    attributes = labels.shape[1]
    if permutations is None:
        permutations = max(999, int(np.ceil(2 * attributes / alpha)))
    # one stream per attribute: its result does not depend on the other attributes
    rng, *streams = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(attributes + 1))
    folds = folds or max(10, len(labels) // 200)
    repeats = repeats or (5 if len(labels) < 5000 and attributes < 50 else 1)
    draws = [assign_folds(groups, folds, rng) for _ in range(repeats)]
    probabilities = np.full(labels.shape, np.nan)
    auroc: list[float | None] = [None] * attributes
    p_value: list[float | None] = [None] * attributes
    ridge: Ridge | None = None
    for a, stream in enumerate(watch(streams, attributes, "attributes")):
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
    """Validate the arrays; returns labels (0 where unknown), mask and groups (0 to G - 1).

    Raises:
        ValueError: Shapes differ, features are not finite, a known label is neither 0 nor 1, or there are
            fewer than two groups.
    """
    labels, mask, groups = np.asarray(labels), np.asarray(mask, dtype=bool), np.asarray(groups)
    if labels.ndim != 2 or mask.shape != labels.shape or groups.shape != labels.shape[:1]:
        raise ValueError(
            f"labels, mask and groups have the shapes {labels.shape}, {mask.shape} and {groups.shape}; "
            "expected [N, A], [N, A] and [N]"
        )
    if features.ndim != 2 or len(features) != len(labels):
        raise ValueError(
            f"features has the shape {features.shape}; expected [{len(labels)}, D], one row per row of labels"
        )
    if not np.isfinite(features).all():
        row = int(np.argmin(np.isfinite(features).all(1)))
        raise ValueError(f"features[{row}] is not finite; expected finite numbers")
    wrong = np.argwhere(mask & (labels != 0) & (labels != 1))
    if len(wrong):
        row, column = map(int, wrong[0])
        value = labels[row, column]
        raise ValueError(f"labels[{row}, {column}] is {value}; expected 0 or 1 where mask is True")
    groups = number_groups(groups)
    count = int(groups.max(initial=-1)) + 1
    if count < 2:
        raise ValueError(f"number of distinct groups is {count}; expected 2 or more")
    return np.where(mask, labels, 0), mask, groups
