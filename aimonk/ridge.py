"""A linear probe: ridge regression on features, judged on images it did not see."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aimonk.calibration import fit_sigmoid, sigmoid

# in units of the mean squared length of a centred feature vector. On the default backbone's features a tenth to ten
# times as much ranks within .002 AUROC of it, and with every tenth label wrong it ranks best.
PENALTY = 3.0


class Components(NamedTuple):
    """Principal components of the features, all of them."""

    scores: np.ndarray  # [N, R] float32, centred, strongest first
    variances: np.ndarray  # [R], sums of squares of the columns of scores
    scale: float  # mean squared length of a row of scores


def principal_components(features: np.ndarray) -> Components:
    """Rotates centred features onto their principal components, without rescaling them."""
    centred = np.asarray(features, dtype=np.float64) - np.mean(features, axis=0, dtype=np.float64)
    scale = float((centred**2).sum() / len(centred))
    if scale == 0:
        return Components(np.zeros((len(centred), 1), np.float32), np.zeros(1), 1.0)
    wide = len(centred) <= centred.shape[1]
    variances, vectors = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    variances, vectors = variances[::-1], vectors[:, ::-1]
    kept = variances > 1e-9 * variances[0]
    variances, vectors = variances[kept], vectors[:, kept]
    scores = vectors * np.sqrt(variances) if wide else centred @ vectors
    return Components(scores.astype(np.float32), variances, scale)


def assign_folds(groups: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Fold number per image, [N]; groups stay whole, the largest are dealt out first, each to the emptiest fold."""
    if folds < 2:
        raise ValueError(f"folds must be at least 2; got {folds}")
    sizes = np.bincount(groups)
    order = rng.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    filled = np.zeros(min(folds, len(sizes)), dtype=np.int64)
    fold_of_group = np.empty(len(sizes), dtype=np.int64)
    for group in order:
        fold_of_group[group] = filled.argmin()
        filled[fold_of_group[group]] += sizes[group]
    return fold_of_group[groups]


class Ridge:
    """Ridge regressions on the images that one mask leaves, able to tell what they would be without each fold.

    The fit without a fold is the fit to all images when the fold's labels are replaced by what that fit predicts for
    them, and that is (I - H_FF)^-1 away from here, H being the hat matrix: one factorisation serves all folds.

    Args:
        known: True where the label is known, [N].
    """

    def __init__(self, components: Components, known: np.ndarray):
        self.components, self.known = components, known
        t = components.scores[known].astype(np.float64)
        self.centre = t.mean(0)
        self.t = t - self.centre
        gram = self.t.T @ self.t
        gram[np.diag_indices_from(gram)] += PENALTY * components.scale
        self.solved = np.linalg.solve(gram, self.t.T)  # [R, K]

    def out_of_fold(self, y: np.ndarray, fold_of: np.ndarray) -> np.ndarray:
        """Scores of all images, [N], each from the fit to the known labels y, [K], of the other folds."""
        fold_of_known = fold_of[self.known]
        residual = y - y.mean() - self.t @ (self.solved @ y)
        scores = np.empty(len(fold_of))
        for fold in np.unique(fold_of):
            rows, inside, labels = fold_of == fold, fold_of_known == fold, y.copy()
            if inside.all():  # nothing is known elsewhere
                scores[rows] = 0.5
                continue
            block = np.eye(inside.sum()) - self.t[inside] @ self.solved[:, inside] - 1 / len(y)
            labels[inside] -= np.linalg.solve(block, residual[inside])
            weights = (self.solved @ labels).astype(np.float32)
            offset = labels.mean() - float(self.centre @ weights)
            scores[rows] = self.components.scores[rows] @ weights + offset
        return scores


def cross_validate(ridge: Ridge, y: np.ndarray, draws: list[np.ndarray]) -> tuple[np.ndarray, float | None]:
    """Out-of-fold probabilities of all images, [N], and the AUROC on known ones, both averaged over draws of folds."""
    probabilities, aurocs = [], []
    for fold_of in draws:
        scores = ridge.out_of_fold(y, fold_of)
        probabilities.append(calibrate(scores, y, ridge.known, fold_of))
        aurocs.append(within_fold_auroc(scores[ridge.known], y == 1, fold_of[ridge.known]))
    defined = [auroc for auroc in aurocs if auroc is not None]
    return np.mean(probabilities, axis=0), float(np.mean(defined)) if defined else None


def calibrate(scores: np.ndarray, y: np.ndarray, known: np.ndarray, fold_of: np.ndarray) -> np.ndarray:
    """Probabilities for scores [N], by a sigmoid fitted to the known scores of the other folds (Platt 1999)."""
    probabilities = np.empty(len(scores))
    for fold in np.unique(fold_of):
        outside, rows = fold_of[known] != fold, fold_of == fold
        labels = y[outside]
        if 0 < labels.sum() < len(labels):
            scale, bias = fit_sigmoid(scores[known][outside], labels == 1, True)
            probabilities[rows] = sigmoid(scale * scores[rows] + bias)
        else:
            probabilities[rows] = labels.mean() if len(labels) else 0.5
    return probabilities


def within_fold_auroc(scores: np.ndarray, positive: np.ndarray, fold_of: np.ndarray) -> float | None:
    """AUROC over pairs of the same fold, whose models' different means would otherwise push it below .5.

    Returns:
        None when no fold holds both classes.
    """
    won, pairs = 0.0, 0
    for fold in np.unique(fold_of):
        inside = fold_of == fold
        ones, zeros = scores[inside & positive], np.sort(scores[inside & ~positive])
        ranks = np.searchsorted(zeros, ones, "left") + np.searchsorted(zeros, ones, "right")  # ties count half
        won, pairs = won + ranks.sum() / 2, pairs + len(ones) * len(zeros)
    return float(won / pairs) if pairs else None
