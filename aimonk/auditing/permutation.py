"""A permutation test of whether labels depend on features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from aimonk.auditing.ridge import Components

# as `ridge.PENALTY`; the first includes minor directions of the features, the second only the main ones
PENALTIES = (1.0, 30.0)
# number of leading components with equal weight in the third statistic, per image
LEADING = 0.1
TIE = 1e-4  # statistics closer than this are equal, in standard deviations
EPSILON = float(np.finfo(np.float32).eps)
BLOCK = 999  # permutations at a time
ENOUGH = 20  # permutations that reach the statistic end the test


def permutation_test(
    components: Components,
    y: np.ndarray,
    known: np.ndarray,
    groups: np.ndarray,
    permutations: int,
    rng: np.random.Generator,
) -> float:
    """P-value of the covariance between labels and linear scores that leave out the image's own group.

    Permutations are drawn in blocks, until enough of them reach the observed statistic (Besag and Clifford
    1991, "Sequential Monte Carlo p-values"): only small p-values take all of them.

    Args:
        y: Labels of the known images, [K].
        known: [N].
        groups: Images with equal numbers are permuted together, [N].

    Returns:
        (1 + permutations that reach the observed statistic) / (1 + permutations drawn).
    """
    scores, weightings, groups = components.scores[known], trust(components), groups[known]
    reached = drawn = 0
    while drawn < permutations and reached < ENOUGH:
        count = min(BLOCK, permutations - drawn)
        centred = permute(y, groups, count, rng) - y.mean()  # [K, 1 + count]
        share = compare(scores, weightings, centred, groups)
        reached, drawn = reached + round(share * (1 + count)) - 1, drawn + count
    return (1 + reached) / (1 + drawn)


def compare(
    scores: np.ndarray, weightings: Sequence[np.ndarray], centred: np.ndarray, groups: np.ndarray
) -> float:
    """Share of the columns of centred labels, [K, P], whose statistic reaches that of the first column.

    The statistic is y' T W T' y without the pairs inside a group, for centred labels y, principal components
    T of all images, which need no labels, and a diagonal W, the weights of the components: a permutation
    costs one product with T. The largest of the standardised statistics of several W counts.

    Args:
        scores: T, [K, R].
        weightings: Diagonals of W, [R] each.
    """
    centred = centred.astype(np.float32)
    energy = (scores.T @ centred) ** 2  # [R, P], shared by all weightings
    best, tie = np.full(centred.shape[1], -np.inf), TIE
    for weights in weightings:
        weights = weights.astype(np.float32)
        own = own_part(scores, weights, centred, groups)
        statistic, rounding = standardise(weights @ energy, own, len(centred))
        best, tie = np.maximum(best, statistic), max(tie, rounding)
    return float((best >= best[0] - tie).mean())


def standardise(total: np.ndarray, own: np.ndarray, terms: int) -> tuple[np.ndarray, float]:
    """`total - own` in standard deviations from its mean, [P], and its rounding error in the same unit.

    All columns are in the mean, the observed one included, so that they are exchangeable. A statistic that
    is constant up to rounding is 0: otherwise its order would depend on the order of summation in BLAS.

    Args:
        total: Sums over all pairs of images, [P] float32.
        own: Sums over pairs within a group, [P] float32.
        terms: Number of images.
    """
    statistic, magnitude = total - own, float((total + own).max())
    deviation = statistic.std()
    if deviation <= EPSILON * np.sqrt(terms) * magnitude:
        return np.zeros_like(statistic), 0.0
    # measured errors are up to 8 epsilon; TIE is larger unless few labels can be permuted
    return (statistic - statistic.mean()) / deviation, 8 * EPSILON * magnitude / float(deviation)


def trust(components: Components) -> list[np.ndarray]:
    """Weights of the components, [R] each: two ridges, and the leading components at equal variance.

    Which is best depends on how the signal is spread over the components; their maximum is nearly as good.
    """
    variances = components.variances
    ridges = [1 / (variances + penalty * components.scale) for penalty in PENALTIES]
    leading = np.arange(len(variances)) < max(1, round(LEADING * len(components.scores)))
    return [*ridges, np.divide(1, variances, out=np.zeros(len(variances)), where=leading & (variances > 0))]


def own_part(scores: np.ndarray, weights: np.ndarray, centred: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Contribution of pairs of images within a group to the statistic, [P], for centred labels [K, P]."""
    shared = np.bincount(groups)[groups] > 1
    part = ((scores[~shared] ** 2) @ weights) @ centred[~shared] ** 2
    for rows in _members(groups, shared):
        block = scores[rows]
        part += (centred[rows] * (((block * weights) @ block.T) @ centred[rows])).sum(0)
    return part


def permute(y: np.ndarray, groups: np.ndarray, permutations: int, rng: np.random.Generator) -> np.ndarray:
    """Labels [K] as given, then permuted among groups of equal size, [K, 1 + permutations].

    A group with a size of its own keeps its labels.
    """
    permuted = np.repeat(y[:, None], permutations + 1, axis=1)
    order = np.argsort(groups, kind="stable")
    _, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    for size in np.unique(sizes):
        rows = order[starts[sizes == size][:, None] + np.arange(size)]  # [groups, size]
        shuffled = rng.permuted(np.tile(np.arange(len(rows)), (permutations, 1)), axis=1)
        permuted[rows, 1:] = y[rows][shuffled].transpose(1, 2, 0)
    return permuted


def _members(groups: np.ndarray, chosen: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the chosen rows of each group."""
    rows = np.flatnonzero(chosen)
    rows = rows[np.argsort(groups[rows], kind="stable")]
    return iter(np.split(rows, np.flatnonzero(np.diff(groups[rows])) + 1)) if len(rows) else iter(())
