"""Tests whether features predict which entries are NA."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from aimonk.auditing.permutation import permutation_test
from aimonk.auditing.ridge import Components, Ridge, assign_folds, principal_components, within_fold_auroc
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
        rows: Rows that the other figures are from, [M]; None, as they are, where p_value is above .05.
        scores: Of a ridge regression for NA, out of fold, [M].
        auroc: Of NA by the scores.
        correlation: Of NA with the scores, for the share of NA among all rows.
    """

    p_value: float | None = None
    rows: np.ndarray | None = None
    scores: np.ndarray | None = None
    auroc: float | None = None
    correlation: float | None = None


def probe_mask(
    features: np.ndarray, unknown: np.ndarray, tests: int, seed: int, watch: Callable
) -> list[MaskProbe]:
    """Tests for each attribute whether the features predict its NA entries, A.

    Equal columns, as of images without any label, are tested once. Of many columns, those with the most
    entries on the rarer side are tested. Of many images, a random sample with as many NA as known entries is.

    Args:
        features: One row per photograph, [N, D].
        unknown: [N, A].
        tests: Further tests that share the 5 %: p-values are multiplied by this too.
        watch: Wraps an iterator to show progress; called with (iterator, total, title).
    """
    rng = np.random.default_rng(seed)
    patterns: dict[bytes, int] = {}  # the first attribute with each column
    first_with = [
        patterns.setdefault(packed.tobytes(), a) for a, packed in enumerate(np.packbits(unknown, axis=0).T)
    ]
    rarer = {a: min(int(unknown[:, a].sum()), int((~unknown[:, a]).sum())) for a in patterns.values()}
    results = {a: MaskProbe() if count > 1 else MaskProbe(1.0) for a, count in rarer.items()}
    chosen = [a for a in sorted(rarer, key=lambda a: -rarer[a])[:MOST_COLUMNS] if rarer[a] > 1]
    factor, components = tests * len(chosen), None
    for a in watch(chosen, len(chosen), "patterns of NA"):
        rows = sample_rows(unknown[:, a], rng)
        if components is None or len(rows) < len(unknown):
            components = leading_components(features[rows])
        results[a] = probe_column(components, unknown[:, a], rows, factor, rng)
    return [results[a] for a in first_with]


def sample_rows(unknown: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """At most MOST_IMAGES rows, ascending: half of them NA, or all NA or known ones if there are fewer."""
    kinds = [rng.permutation(np.flatnonzero(kind)) for kind in (unknown, ~unknown)]
    half, sizes = MOST_IMAGES // 2, [len(kind) for kind in kinds]
    rows = [kind[: max(half, MOST_IMAGES - other)] for kind, other in zip(kinds, sizes[::-1], strict=True)]
    return np.sort(np.concatenate(rows))


def leading_components(features: np.ndarray) -> Components:
    """The leading principal components."""
    found = principal_components(features)
    return Components(found.scores[:, :COMPONENTS], found.variances[:COMPONENTS], found.scale)


def probe_column(
    components: Components, unknown: np.ndarray, rows: np.ndarray, factor: int, rng: np.random.Generator
) -> MaskProbe:
    """Test of one column.

    Args:
        components: Of the rows, [M, R].
        unknown: [N].
        rows: [M].
        factor: Number of tests.
    """
    y, everything, apart = unknown[rows].astype(np.float64), np.ones(len(rows), bool), np.arange(len(rows))
    permutations = max(999, math.ceil(2 * factor / ALPHA))
    p = min(1.0, factor * permutation_test(components, y, everything, apart, permutations, rng))
    if p > ALPHA:
        return MaskProbe(p)
    fold_of = assign_folds(apart, min(FOLDS, len(rows)), rng)
    scores, auroc, correlation = predict_mask(Ridge(components, everything), y, fold_of)
    return MaskProbe(p, rows, scores, auroc, rescale(correlation, y.mean(), unknown.mean()))


def rescale(correlation: float, sampled: float, part: float) -> float:
    """The correlation of scores with NA when a share `sampled` of NA becomes `part`.

    The distance between the means, in standard deviations within NA and within known entries, stays.
    """
    odds = correlation**2 / max(1 - correlation**2, 1e-12) * part * (1 - part) / (sampled * (1 - sampled))
    return math.copysign(math.sqrt(odds / (1 + odds)), correlation)


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
