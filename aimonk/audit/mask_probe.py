"""Tests whether features predict which entries are NA."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from aimonk.audit.permutation import permutation_test
from aimonk.audit.ridge import Components, Ridge, assign_folds, principal_components, within_fold_auroc
from aimonk.evaluation.significance import ALPHA

# these bound the time, which a thousand attributes would multiply
MOST_IMAGES = 2000
MOST_COLUMNS = 50
COMPONENTS = 256
FOLDS = 10


class MaskProbe(NamedTuple):
    """Result for the NA of one attribute; None where it is not tested.

    Attributes:
        p_value: From the permutation test, times the number of distinct columns; 1 with a single NA or known
            entry.
        scores: Of a ridge regression for NA, out of fold, [M]; None where p_value is above .05.
        auroc: Of NA by the scores.
        correlation: Of NA with the scores.
    """

    p_value: float | None = None
    scores: np.ndarray | None = None
    auroc: float | None = None
    correlation: float | None = None


def probe_mask(
    features: np.ndarray, unknown: np.ndarray, tests: int, seed: int, watch: Callable
) -> tuple[np.ndarray, list[MaskProbe]]:
    """Tests for each attribute whether the features predict its NA entries.

    Equal columns, as of images without any label, are tested once. Of many columns, those with the most
    entries on the rarer side are tested, and of many images a random sample.

    Args:
        features: One row per photograph, [N, D].
        unknown: [N, A].
        tests: Further tests that share the 5 %: p-values are multiplied by this too.
        watch: Wraps an iterator to show progress; called with (iterator, total, title).

    Returns:
        The rows of the sample, [M], and the results, A.
    """
    rng, stream = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))
    rows = np.sort(rng.permutation(len(unknown))[:MOST_IMAGES])
    columns, column_of = np.unique(unknown[rows], axis=1, return_inverse=True)
    rarer = np.minimum(columns.sum(0), (~columns).sum(0))
    chosen = [m for m in np.argsort(-rarer, kind="stable")[:MOST_COLUMNS] if rarer[m] > 1]
    results = [MaskProbe() if count > 1 else MaskProbe(1.0) for count in rarer]
    if chosen:
        found = principal_components(features[rows])
        components = Components(found.scores[:, :COMPONENTS], found.variances[:COMPONENTS], found.scale)
        everything, apart = np.ones(len(rows), dtype=bool), np.arange(len(rows))
        ridge, fold_of = Ridge(components, everything), assign_folds(apart, min(FOLDS, len(rows)), rng)
        factor = tests * len(chosen)
        permutations = max(999, math.ceil(2 * factor / ALPHA))
        for m in watch(chosen, len(chosen), "patterns of NA"):
            y = columns[:, m].astype(np.float64)
            p = permutation_test(components, y, everything, apart, permutations, stream)
            p = min(1.0, factor * p)
            results[m] = MaskProbe(p, *(predict_mask(ridge, y, fold_of) if p <= ALPHA else ()))
    return rows, [results[m] for m in column_of.reshape(-1)]


def predict_mask(ridge: Ridge, y: np.ndarray, fold_of: np.ndarray) -> tuple:
    """Scores out of fold of a ridge regression for y, 0 or 1, [N], and their AUROC and correlation with y."""
    residual, scores = ridge.residual(y), np.empty(len(y))
    for fold in range(fold_of.max() + 1):
        held = np.flatnonzero(fold_of == fold)
        scores[held] = ridge.held_out(y, residual, held)
    centred, apart = y - y.mean(), scores - scores.mean()
    size = math.sqrt(float(centred @ centred) * float(apart @ apart))
    correlation = float(centred @ apart) / size if size else 0.0
    return scores, within_fold_auroc(scores, y == 1, fold_of), correlation
