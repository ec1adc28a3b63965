"""Ridge regression on features with out-of-fold predictions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aimonk.evaluation.calibration import fit_sigmoid, sigmoid
from aimonk.evaluation.ranking import rank

# in units of the mean squared length of a centred feature vector. On features of the default backbone, a
# tenth to ten times this value changes the AUROC by at most .004; with 10 % wrong labels it is the best.
PENALTY = 3.0
# folds on either side of a fold on which its probabilities are calibrated
NEIGHBOURS = 4


class Components(NamedTuple):
    """All principal components of the features."""

    scores: np.ndarray  # [N, R] float32, centred, strongest first
    variances: np.ndarray  # [R], sums of squares of the columns of scores
    scale: float  # mean squared length of a row of scores


def principal_components(features: np.ndarray) -> Components:
    """Principal components without rescaling: a rotation of the centred features."""
    centred = np.asarray(features, dtype=np.float64) - np.mean(features, axis=0, dtype=np.float64)
    scale = float((centred**2).sum() / len(centred))
    # the mean of equal numbers differs from them by rounding
    rounding = len(centred) * np.finfo(np.float64).eps * float(np.abs(features).max(initial=0))
    if scale <= centred.shape[1] * rounding**2:
        return Components(np.zeros((len(centred), 1), np.float32), np.zeros(1), 1.0)
    wide = len(centred) <= centred.shape[1]
    variances, vectors = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    variances, vectors = variances[::-1], vectors[:, ::-1]
    kept = variances > 1e-9 * variances[0]
    variances, vectors = variances[kept], vectors[:, kept]
    scores = vectors * np.sqrt(variances) if wide else centred @ vectors
    return Components(scores.astype(np.float32), variances, scale)


def assign_folds(groups: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Fold of each image, [N]: groups are assigned by descending size, each to the smallest fold."""
    if folds < 2:
        raise ValueError(f"folds is {folds}; expected 2 or more")
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
    """Ridge regressions on the known images, also with some of them held out.

    A fit with held-out images equals the fit to all images with the held-out labels replaced by their
    predictions, which follow from the residuals and (I - H_FF)^-1, where H is the hat matrix: one
    factorisation serves all folds and labels.

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

    def residual(self, y: np.ndarray) -> np.ndarray:
        """Labels minus the fit to all of them, [K]."""
        return y - y.mean() - self.t @ (self.solved @ y)

    def held_out(self, y: np.ndarray, residual: np.ndarray, held: np.ndarray) -> np.ndarray:
        """Predictions for the known images at indices `held` from a fit to the other labels of y, [K]."""
        block = np.eye(len(held)) - self.t[held] @ self.solved[:, held] - 1 / len(y)
        return y[held] - np.linalg.solve(block, residual[held])

    def predict(self, y: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Predictions for the images `rows`, known or not, from a fit to labels y, [K]."""
        weights = (self.solved @ y).astype(np.float32)
        return self.components.scores[rows] @ weights + (y.mean() - float(self.centre @ weights))


def cross_validate(ridge: Ridge, y: np.ndarray, draws: list[np.ndarray]) -> tuple[np.ndarray, float | None]:
    """Out-of-fold probabilities of all images, [N], and AUROC of the known ones, averaged over `draws`.

    Args:
        y: 0 or 1, both present, of the known images, [K].
        draws: Fold numbers, [N] each.
    """
    probabilities, aurocs = [], []
    for fold_of in draws:
        scores, probability = predict_out_of_fold(ridge, y, fold_of)
        probabilities.append(probability)
        aurocs.append(within_fold_auroc(scores[ridge.known], y == 1, fold_of[ridge.known]))
    defined = [auroc for auroc in aurocs if auroc is not None]
    return np.mean(probabilities, axis=0), float(np.mean(defined)) if defined else None


def predict_out_of_fold(ridge: Ridge, y: np.ndarray, fold_of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and probabilities, [N] each, that do not depend on labels of the image's own fold.

    The sigmoid that maps the scores of a fold to probabilities (Platt 1999) is fitted to scores of the
    neighbouring folds from models trained without either fold, since other models would leak the labels of
    this fold.
    """
    residual = ridge.residual(y)
    members = [np.flatnonzero(fold_of[ridge.known] == fold) for fold in range(fold_of.max() + 1)]
    neighbours = neighbour_scores(ridge, y, residual, members)
    scores, probabilities = np.empty(len(fold_of)), np.empty(len(fold_of))
    for fold, held in enumerate(members):
        rows = np.flatnonzero(fold_of == fold)
        rest = np.delete(y, held)
        if len(rest) == 0:  # no known labels in the other folds
            scores[rows] = probabilities[rows] = 0.5
            continue
        replaced = y.copy()
        replaced[held] = ridge.held_out(y, residual, held)
        scores[rows] = ridge.predict(replaced, rows)
        fitted, labels = neighbours[fold]
        if 0 < labels.sum() < len(labels):
            scale, bias = fit_sigmoid(fitted, labels == 1, True)
            probabilities[rows] = sigmoid(scale * scores[rows] + bias)
        else:
            probabilities[rows] = rest.mean()
    return scores, probabilities


def neighbour_scores(
    ridge: Ridge, y: np.ndarray, residual: np.ndarray, members: list[np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each fold, scores and labels of its neighbouring folds, from fits without either fold."""
    count = len(members)
    pairs = {
        tuple(sorted((f, (f + step) % count))) for f in range(count) for step in range(1, NEIGHBOURS + 1)
    }
    scores, labels = [[np.empty(0)] for _ in members], [[np.empty(0)] for _ in members]
    for f, g in sorted(pairs):
        held = np.concatenate([members[f], members[g]])
        if f != g and len(held) < len(y):
            of_f, of_g = np.split(ridge.held_out(y, residual, held), [len(members[f])])
            scores[f].append(of_g)
            labels[f].append(y[members[g]])
            scores[g].append(of_f)
            labels[g].append(y[members[f]])
    return [(np.concatenate(s), np.concatenate(t)) for s, t in zip(scores, labels, strict=True)]


def within_fold_auroc(scores: np.ndarray, positive: np.ndarray, fold_of: np.ndarray) -> float | None:
    """AUROC over pairs in the same fold; None if no fold has both classes.

    Over all pairs, the different means of the models would bias it below .5.
    """
    concordant, pairs = 0.0, 0
    for fold in np.unique(fold_of):
        ranking = rank(positive[fold_of == fold], scores[fold_of == fold])
        concordant += ranking.concordant
        pairs += len(ranking.positives) * len(ranking.negatives)
    return concordant / pairs if pairs else None
