"""Heads solved on stored features while labels change."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aimonk.evaluation.calibration import sigmoid
from aimonk.training.logistic import Problems, has_both, solve
from aimonk.training.penalties import choose_penalties, cross_validate
from aimonk.training.solver import base_logit, principal_axes

TOLERANCE = 1e-4
FOLDS = 5
SEED = 0


@dataclass(frozen=True)
class Solved:
    """Heads for a state of the labels.

    Attributes:
        penalty: L2 penalties, [A].
        logits: Of all images, by the heads of all labelled ones, [N, A].
        out_of_fold: Of labelled images, by heads without these images, [N, A]; nan elsewhere, and for
            attributes without two known positives and two known negatives.
        coefficients: [R + 1, A].
        usable: Attributes with known labels of both values, [A]; the others have the same logit everywhere.
    """

    penalty: np.ndarray
    logits: np.ndarray
    out_of_fold: np.ndarray
    coefficients: Tensor
    usable: np.ndarray

    @property
    def probs(self) -> np.ndarray:
        """Probabilities that depend on no label of the same image where this is possible, [N, A]."""
        logits = np.where(np.isfinite(self.out_of_fold), self.out_of_fold, self.logits)
        return sigmoid(logits)


class Features:
    """Features of all images, rotated to their principal axes.

    Args:
        features: [N, D].

    Attributes:
        components: Centred, [N, R] float32, the strongest first.
    """

    def __init__(self, features: np.ndarray):
        values = torch.from_numpy(np.asarray(features, dtype=np.float32))
        self.centre = values.mean(0)
        centred = values - self.centre
        self.axes = principal_axes(centred.double()).float()
        self.components = centred @ self.axes

    def project(self, features: Tensor) -> Tensor:
        """Components of other images, [B, R]."""
        return (features - self.centre) @ self.axes


def solve_heads(
    components: Tensor, labels: np.ndarray, mask: np.ndarray, groups: np.ndarray, penalty: np.ndarray | None
) -> Solved:
    """Solve the heads on all images with a known label.

    Args:
        components: [N, R].
        labels: 0 or 1, [N, A]; ignored where mask is False.
        mask: True where the label is known, [N, A].
        groups: Group number of each image, [N]; a group shares a fold.
        penalty: [A]; None chooses penalties by cross-validation, which takes longer.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    out = np.full(labels.shape, np.nan)
    if not len(rows):
        coefficients = components.new_zeros(components.shape[1] + 1, labels.shape[1])
        return Solved(
            np.ones(labels.shape[1]),
            np.zeros(labels.shape),
            out,
            coefficients,
            np.zeros(labels.shape[1], bool),
        )
    x = components[torch.from_numpy(rows)]
    centre = x.mean(0)
    x = x - centre
    known = torch.from_numpy(mask[rows]).float()
    y = torch.from_numpy(labels[rows]).float() * known
    if penalty is None:
        choice = choose_penalties(x, y, known, groups[rows], FOLDS, SEED)
    else:
        choice = cross_validate(x, y, known, groups[rows], FOLDS, SEED, penalty)
    out[rows] = choice.logits
    strength = torch.from_numpy(choice.penalty).to(x)
    usable = has_both(y, known)
    coefficients = solve(Problems(x, y, known * usable, strength, TOLERANCE)).coefficients
    coefficients[:, ~usable] = 0
    coefficients[-1] = torch.where(
        usable, coefficients[-1] - centre @ coefficients[:-1], base_logit(y, known)
    )
    logits = components @ coefficients[:-1] + coefficients[-1]
    return Solved(choice.penalty, logits.double().numpy(), out, coefficients, usable.numpy())
