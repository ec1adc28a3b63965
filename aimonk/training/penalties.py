"""The L2 penalty of each attribute's logistic regression, chosen by cross-validation."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from aimonk.training.logistic import Problems, has_both, solve

# relative to the mean squared length of a centred feature vector
GRID = tuple(10.0 ** (exponent / 2) for exponent in range(0, -7, -1))
STEP, WIDEN, SMALLEST, LARGEST = 10**0.5, 2, 1.1e-4, 1e3
FALLBACK = (
    1e-3  # where no attribute has two known positives and two known negatives: few labels, weak penalty
)
# Known entries that the mean of all attributes counts for. On draws of 50 to 1,000 images with 7 or 25
# attributes, 30 to 300 give the same mean AP; without it, few known entries choose a penalty at random.
BORROWED = 100
TOLERANCE = 1e-3  # of the fits to folds
ENTRIES = 4_000_000  # logits that are computed at a time
MOST_ROWS = 20_000  # on which penalties are compared; more change them little, and take long


@dataclass
class Choice:
    """Penalties and out-of-fold predictions.

    Attributes:
        penalty: [A].
        logits: Out-of-fold logits of the images themselves, [N, A]; nan for attributes without folds, and
            for images that the choice did not use.
    """

    penalty: np.ndarray
    logits: np.ndarray


@dataclass
class Folded:
    """The part of a data set on which penalties are compared.

    Attributes:
        columns: Attributes with folds, a of them.
        rows: Rows that are used, n of them.
        features: [V * n, R].
        labels: [n, a].
        weights: [n, a].
        fold_of: Fold of each entry, [n, a].
    """

    columns: list[int]
    rows: np.ndarray
    features: Tensor
    labels: Tensor
    weights: Tensor
    fold_of: Tensor


def choose_penalties(
    features: Tensor, labels: Tensor, weights: Tensor, groups: np.ndarray, folds: int, seed: int
) -> Choice:
    """The penalty with the smallest held-out loss, for each attribute; the grid widens at its edges.

    Each attribute counts its own held-out entries, and the mean of all attributes as BORROWED further ones.
    An attribute without two known positives and two known negatives takes the choice of this mean.

    Args:
        features: Centred, [V * N, R]: N rows in each of V views, the images themselves first.
        labels: 0 to 1, [N, A].
        weights: Weight of each entry, [N, A]; 0 where unknown.
        groups: Group number of each row, [N]; the rows of a group share a fold.
    """
    scale = float(features.square().sum() / len(features)) or 1.0
    data = fold(features, labels, weights, groups, folds, seed)
    if not data.columns:
        return Choice(np.full(labels.shape[1], FALLBACK * scale), np.full(labels.shape, np.nan))
    grid, losses, found = list(GRID), np.zeros((0, len(data.columns))), []
    new = grid
    while new:
        outs = out_of_fold(data, folds, np.repeat(np.array(new)[:, None] * scale, len(data.columns), axis=1))
        entries = torch.where(outs.isnan(), 0, data.weights * (softplus(outs) - data.labels * outs))
        losses = np.vstack([losses, entries.sum(1).double().cpu().numpy()])
        found += outs
        counts = data.weights.sum(0).cpu().numpy()
        mean = (losses / counts).mean(axis=1, keepdims=True)
        best = (losses + BORROWED * mean).argmin(axis=0)
        new = _widen(grid, {grid[i] for i in (*best, mean.argmin())})
        grid += new
    penalty = np.full(labels.shape[1], grid[int(mean.argmin())] * scale)
    penalty[data.columns] = np.array(grid)[best] * scale
    chosen = torch.stack([found[i][:, a] for a, i in enumerate(best)], dim=1)
    return Choice(penalty, spread(data, chosen, labels.shape))


def cross_validate(
    features: Tensor,
    labels: Tensor,
    weights: Tensor,
    groups: np.ndarray,
    folds: int,
    seed: int,
    penalty: np.ndarray,
) -> Choice:
    """Out-of-fold logits with given penalties, [A]; other arguments as in `choose_penalties`."""
    data = fold(features, labels, weights, groups, folds, seed)
    logits = np.full(labels.shape, np.nan)
    if data.columns:
        logits = spread(data, out_of_fold(data, folds, penalty[None, data.columns])[0], labels.shape)
    return Choice(penalty, logits)


def fold(
    features: Tensor, labels: Tensor, weights: Tensor, groups: np.ndarray, folds: int, seed: int
) -> Folded:
    """Deal at most MOST_ROWS rows into folds, for each attribute that can have folds."""
    rows = np.arange(len(labels))
    if len(rows) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(seed).permutation(len(rows))[:MOST_ROWS])
        part = torch.from_numpy(rows).to(features.device)
        features = features.view(-1, len(labels), features.shape[1])[:, part].flatten(0, 1)
        labels, weights, groups = labels[part], weights[part], groups[rows]
    known, positive = (weights > 0).cpu().numpy(), (labels > 0.5).cpu().numpy()
    columns = [a for a in range(labels.shape[1]) if _has_folds(positive[:, a], known[:, a], groups)]
    dealt = [deal_folds(positive[:, a], known[:, a], groups, folds, seed) for a in columns]
    fold_of = np.stack(dealt, axis=1) if dealt else np.zeros((len(rows), 0), dtype=np.int64)
    column = torch.tensor(columns, dtype=torch.int64, device=features.device)
    held = torch.from_numpy(fold_of).to(features.device)
    return Folded(columns, rows, features, labels[:, column], weights[:, column], held)


def spread(data: Folded, logits: Tensor, shape: tuple[int, int]) -> np.ndarray:
    """Logits [n, a] in a table of all rows and attributes, which is nan elsewhere."""
    table = np.full(shape, np.nan)
    table[np.ix_(data.rows, data.columns)] = logits.cpu().numpy()
    return table


def _has_folds(positive: np.ndarray, known: np.ndarray, groups: np.ndarray) -> bool:
    """Whether two distinct images are known to be positive, and two to be negative."""
    return all(len(np.unique(groups[known & kind])) > 1 for kind in (positive, ~positive))


def _widen(grid: list[float], chosen: set[float]) -> list[float]:
    """Further penalties beyond an edge of the grid that was chosen."""
    new = []
    if max(grid) in chosen and max(grid) < LARGEST:
        new += [max(grid) * STEP**i for i in range(1, WIDEN + 1)]
    if min(grid) in chosen and min(grid) > SMALLEST:
        new += [min(grid) / STEP**i for i in range(1, WIDEN + 1)]
    return new


def deal_folds(
    positive: np.ndarray, known: np.ndarray, groups: np.ndarray, folds: int, seed: int
) -> np.ndarray:
    """Fold of each row, [N]: positives, negatives and unknown ones are dealt in turn, groups as one.

    The folds of an attribute do not depend on other attributes.
    """
    numbers, group = np.unique(groups, return_inverse=True)
    kind = np.zeros(len(numbers), dtype=np.int64)
    np.maximum.at(kind, group, np.where(known, 1 + positive, 0))
    order = np.random.default_rng(seed).permutation(len(numbers))
    order = order[np.argsort(-kind[order], kind="stable")]
    fold = np.empty(len(numbers), dtype=np.int64)
    fold[order] = np.arange(len(numbers)) % folds
    return fold[group]


def out_of_fold(data: Folded, folds: int, penalties: np.ndarray) -> Tensor:
    """Logits of the images themselves, [P, n, a], from regressions without the fold of each image.

    nan where the other folds have one value only, since copies with different labels share a fold.

    Args:
        penalties: [P, a].
    """
    views = len(data.features) // len(data.labels)
    strength = torch.from_numpy(penalties).to(data.features)
    out = data.labels.new_empty(len(penalties), *data.labels.shape)
    cases = torch.cartesian_prod(*(torch.arange(n) for n in (len(penalties), data.labels.shape[1], folds)))
    size = max(1, ENTRIES // len(data.features))
    for case in cases.to(data.features.device).split(size):
        which, columns, held = case.T
        is_held = data.fold_of[:, columns] == held
        labels, weights = data.labels[:, columns], data.weights[:, columns] * ~is_held
        problems = Problems(
            data.features,
            labels.repeat(views, 1),
            (weights / views).repeat(views, 1),
            strength[which, columns],
            TOLERANCE,
        )
        logits = torch.where(has_both(labels, weights), solve(problems).logits[: len(data.labels)], torch.nan)
        rows, places = is_held.nonzero(as_tuple=True)
        out[which[places], rows, columns[places]] = logits[rows, places]
    return out
