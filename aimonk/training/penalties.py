"""The L2 penalty of each attribute's logistic regression, chosen by cross-validation."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from aimonk.training.logistic import Problems, solve

# relative to the mean squared length of a centred feature vector
GRID = tuple(10.0 ** (exponent / 2) for exponent in range(0, -7, -1))
STEP, WIDEN, SMALLEST, LARGEST = 10**0.5, 2, 1.1e-4, 1e3
FALLBACK = (
    1e-3  # where no attribute has two known positives and two known negatives: weak, as few labels need it
)
# Known entries that the mean of all attributes counts for. On draws of 50 to 1,000 images with 7 or 25
# attributes, 30 to 300 give the same mean AP; without it, few known entries choose a penalty at random.
BORROWED = 100
TOLERANCE = 1e-3  # of the fits to folds
ENTRIES = 4_000_000  # logits that are computed at a time


@dataclass
class Choice:
    """Penalties and out-of-fold predictions.

    Attributes:
        penalty: [A].
        logits: Out-of-fold logits of the images themselves, [N, A]; nan for attributes without folds.
    """

    penalty: np.ndarray
    logits: np.ndarray


def choose_penalties(
    features: Tensor, labels: Tensor, weights: Tensor, groups: np.ndarray, folds: int, seed: int
) -> Choice:
    """The penalty with the smallest held-out loss, for each attribute; the grid widens at its edges.

    Each attribute counts its own held-out entries, and the mean of all attributes as BORROWED further ones.
    An attribute without two known positives and two known negatives takes the choice of this mean.

    Args:
        features: Centred, [V * N, R]: N rows in each of V views, the images themselves first.
        labels: 0 or 1, [N, A].
        weights: Weight of each entry, [N, A]; 0 where unknown.
        groups: Group number of each row, [N]; the rows of a group share a fold.
    """
    scale = float(features.square().sum() / len(features)) or 1.0
    known, positive = (weights > 0).cpu().numpy(), (labels > 0.5).cpu().numpy()
    folded = [a for a in range(labels.shape[1]) if _has_folds(positive[:, a], known[:, a], groups)]
    logits = np.full(known.shape, np.nan)
    if not folded:
        return Choice(np.full(known.shape[1], FALLBACK * scale), logits)
    fold_of = np.full(known.shape, -1)
    for a in folded:
        fold_of[:, a] = deal_folds(positive[:, a], known[:, a], groups, folds, seed)
    column = torch.tensor(folded, device=features.device)
    labels, weights = labels[:, column], weights[:, column]
    held = torch.from_numpy(fold_of[:, folded]).to(features.device)
    grid, losses, found = list(GRID), np.zeros((0, len(folded))), []
    new = grid
    while new:
        outs = out_of_fold(features, labels, weights, held, folds, [penalty * scale for penalty in new])
        entries = weights * (softplus(outs) - labels * outs)
        losses = np.vstack([losses, entries.sum(1).double().cpu().numpy()])
        found += outs
        counts = weights.sum(0).cpu().numpy()
        mean = (losses / counts).mean(axis=1, keepdims=True)
        best = (losses + BORROWED * mean).argmin(axis=0)
        new = _widen(grid, {grid[i] for i in (*best, mean.argmin())})
        grid += new
    penalty = np.full(known.shape[1], grid[int(mean.argmin())] * scale)
    penalty[folded] = np.array(grid)[best] * scale
    logits[:, folded] = torch.stack([found[i][:, a] for a, i in enumerate(best)], dim=1).cpu().numpy()
    return Choice(penalty, logits)


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


def out_of_fold(
    features: Tensor, labels: Tensor, weights: Tensor, fold_of: Tensor, folds: int, penalties: list[float]
) -> Tensor:
    """Logits of the images themselves, [penalties, N, A], from regressions without the fold of each image.

    Args:
        fold_of: Fold of each entry, [N, A].
    """
    views = len(features) // len(labels)
    strength = torch.tensor(penalties, dtype=features.dtype, device=features.device)
    out = labels.new_empty(len(penalties), *labels.shape)
    cases = torch.cartesian_prod(*(torch.arange(n) for n in (len(penalties), labels.shape[1], folds)))
    size = max(1, ENTRIES // len(features))
    for case in cases.to(features.device).split(size):
        which, columns, held = case.T
        is_held = fold_of[:, columns] == held
        problems = Problems(
            features,
            labels[:, columns].repeat(views, 1),
            (weights[:, columns] * ~is_held / views).repeat(views, 1),
            strength[which],
            TOLERANCE,
        )
        logits = solve(problems).logits[: len(labels)]
        rows, places = is_held.nonzero(as_tuple=True)
        out[which[places], rows, columns[places]] = logits[rows, places]
    return out
