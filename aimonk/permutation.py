"""A permutation test of whether labels depend on features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from aimonk.ridge import Components

# as `ridge.PENALTY`. The test takes the best of the three: labels that follow the main directions of the features are
# found with a strong penalty, finer ones with a weak penalty.
PENALTIES = (0.3, 3.0, 30.0)


def permutation_test(
    components: Components,
    y: np.ndarray,
    known: np.ndarray,
    groups: np.ndarray,
    permutations: int,
    rng: np.random.Generator,
    penalties: Sequence[float] = PENALTIES,
) -> float:
    """P-value of the covariance between labels and ridge scores that leave out the image's own group.

    The statistic is y' K y without the pairs inside a group, for centred labels y and K = T (T'T + penalty)^-1 T'
    with the principal components T of all images, which need no labels: a permutation costs one product with T,
    whatever the number of penalties. The largest of the standardised statistics counts.

    Args:
        y: Labels of the known images, [K].
        known: [N].
        groups: Images with equal numbers are permuted together, [N].

    Returns:
        (1 + permutations that reach the observed statistic) / (1 + permutations).
    """
    centred = (permute(y, groups[known], permutations, rng) - y.mean()).astype(np.float32)  # [K, 1 + permutations]
    scores = components.scores[known]
    energy = (scores.T @ centred) ** 2  # [R, 1 + permutations], shared by all penalties
    best = np.full(permutations + 1, -np.inf)
    for penalty in penalties:
        weights = (1 / (components.variances + penalty * components.scale)).astype(np.float32)
        statistic = weights @ energy - own_part(scores, weights, centred, groups[known])
        # the observed one counts among the permuted: all of them stay exchangeable
        best = np.maximum(best, (statistic - statistic.mean()) / (statistic.std() + 1e-12))
    return float((best >= best[0] - 1e-4).mean())


def own_part(scores: np.ndarray, weights: np.ndarray, centred: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """What pairs of images within a group add to y' K y, [P]; K = scores diag(weights) scores', y a column of centred."""
    shared = np.bincount(groups)[groups] > 1
    part = ((scores[~shared] ** 2) @ weights) @ centred[~shared] ** 2
    for rows in _members(groups, shared):
        block = scores[rows]
        part += (centred[rows] * (((block * weights) @ block.T) @ centred[rows])).sum(0)
    return part


def permute(y: np.ndarray, groups: np.ndarray, permutations: int, rng: np.random.Generator) -> np.ndarray:
    """Labels [K] as they are and permuted over groups of equal size, [K, 1 + permutations]."""
    permuted = np.repeat(y[:, None], permutations + 1, axis=1)
    order = np.argsort(groups, kind="stable")
    _, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    for size in np.unique(sizes):
        rows = order[starts[sizes == size][:, None] + np.arange(size)]  # [groups, size]
        shuffled = rng.permuted(np.tile(np.arange(len(rows)), (permutations, 1)), axis=1)
        permuted[rows, 1:] = y[rows][shuffled].transpose(1, 2, 0)
    return permuted


def _members(groups: np.ndarray, chosen: np.ndarray) -> Iterator[np.ndarray]:
    rows = np.flatnonzero(chosen)
    rows = rows[np.argsort(groups[rows], kind="stable")]
    return iter(np.split(rows, np.flatnonzero(np.diff(groups[rows])) + 1)) if len(rows) else iter(())
