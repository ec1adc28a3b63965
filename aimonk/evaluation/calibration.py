"""Calibrated probabilities: of the images with probability .8, four of five have the attribute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from aimonk.evaluation.arrays import Bools, Floats
from aimonk.evaluation.kernels import check

LARGEST_LOGIT = 40.0  # replaces infinite ones, from probabilities of exactly 0 or 1
SMALLEST_SCALE = 1e-3  # on logits of unit spread
ROUNDING = 1e-12  # logits with a smaller spread, relative to the largest, are equal


@dataclass(frozen=True)
class Calibration:
    """Calibrated probabilities sigmoid(scale * logits + bias), per attribute.

    The scale is positive, which preserves the order of the images and thus AP and AUROC.

    Attributes:
        scale: [A]
        bias: [A]
    """

    scale: Floats
    bias: Floats

    @classmethod
    def identity(cls, attributes: int) -> Calibration:
        """The plain sigmoid."""
        return cls(np.ones(attributes), np.zeros(attributes))

    @classmethod
    def fit(
        cls, logits: Floats, labels: Floats, mask: Bools, method: Literal["platt", "temperature"] = "platt"
    ) -> Calibration:
        """Fit scale and bias; the model must not be trained on these labels.

        "platt" fits scale and bias (Platt 1999, "Probabilistic outputs for support vector machines"). Its
        smoothed targets, (P + 1) / (P + 2) and 1 / (Q + 2) for P positives and Q negatives, keep the fit
        finite when a threshold separates them. "temperature" fits only the scale (Guo et al. 2017, "On
        calibration of modern neural networks"), with the same targets; it cannot undo a shift such as that of
        `pos_weight`. An attribute without a known positive or without a known negative keeps the plain
        sigmoid.

        Args:
            logits: Raw scores, [N, A]; ignored where mask is False.
            labels: 0 or 1, [N, A]; ignored where mask is False.
            mask: True where the label is known, [N, A].

        Raises:
            ValueError: The method is unknown, shapes differ, a known label is not 0 or 1, or a known logit is
                nan.
        """
        if method not in ("platt", "temperature"):
            raise ValueError(f"calibration method is {method!r}; expected platt or temperature")
        if np.shape(logits) != np.shape(mask):
            raise ValueError(f"logits has the shape {np.shape(logits)}; expected {np.shape(mask)}, as mask")
        logits = np.where(mask, logits, 0).astype(np.float64)
        logits = np.where(np.isinf(logits), np.copysign(LARGEST_LOGIT, logits), logits)
        predictions = check(labels, mask, sigmoid(logits), np.full(np.shape(mask)[-1], 0.5))
        fitted = cls.identity(predictions.mask.shape[1])
        for a in range(len(fitted.scale)):
            known = predictions.mask[:, a]
            label = predictions.labels[known, a]
            if 0 < label.sum() < len(label):
                fitted.scale[a], fitted.bias[a] = fit_sigmoid(logits[known, a], label, method == "platt")
        return fitted

    def apply(self, logits: Floats) -> Floats:
        """Calibrated probabilities, [N, A], from logits, [N, A]."""
        return sigmoid(np.asarray(logits, dtype=np.float64) * self.scale + self.bias)


def fit_sigmoid(logits: Floats, labels: Bools, with_bias: bool) -> tuple[float, float]:
    """Scale and bias that minimise the cross-entropy with Platt's smoothed targets; both classes are present.

    A scale of zero or less, which would reverse the order, is replaced by a very small one.
    """
    positives, negatives = labels.sum(), (~labels).sum()
    targets = np.where(labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    # centred and scaled logits keep the Newton steps well conditioned
    centre = logits.mean() if with_bias else 0.0
    size = np.sqrt(np.mean((logits - centre) ** 2))
    ones = np.ones((len(logits), 1))
    if size <= ROUNDING * np.abs(logits).max():
        shift = newton(ones, logits, targets)[0] if with_bias else 0.0
        return 1.0, float(shift)
    scaled = (logits - centre) / size
    design = np.column_stack([scaled, ones]) if with_bias else scaled[:, None]
    slope, *intercept = newton(design, np.zeros(len(logits)), targets)
    if slope < SMALLEST_SCALE:
        slope = SMALLEST_SCALE
        intercept = newton(ones, slope * scaled, targets) if with_bias else []
    return float(slope / size), float(sum(intercept) - slope * centre / size)


def newton(design: Floats, offset: Floats, targets: Floats) -> Floats:
    """Coefficients, [C], of a logistic regression of targets, [K], on design, [K, C], with an offset, [K]."""
    coefficients = np.zeros(design.shape[1])

    def loss(at: Floats) -> float:
        score = design @ at + offset
        return float(np.mean(np.logaddexp(0, score) - targets * score))

    best = loss(coefficients)
    for _ in range(100):
        prob = sigmoid(design @ coefficients + offset)
        gradient = design.T @ (prob - targets) / len(targets)
        if np.abs(gradient).max() < 1e-10:
            break
        hessian = (design * (prob * (1 - prob))[:, None]).T @ design / len(targets)
        # the ridge only affects saturated probabilities, whose second derivative vanishes
        step = np.linalg.solve(hessian + 1e-10 * np.eye(len(gradient)), gradient)
        while (tried := loss(coefficients - step)) > best and np.abs(step).max() > 1e-12:
            step = step / 2
        if tried >= best:
            break
        coefficients, best = coefficients - step, tried
    return coefficients


def sigmoid(logits: Floats) -> Floats:
    """1 / (1 + exp(-logits)) without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(logits, dtype=np.float64)))
