"""Figures of multi-label predictions for many weightings of the same rows at once.

A weighting says how often each row counts: all ones for a score, a column per resample for a bootstrap. Both
go through this code, so that an interval cannot belong to another figure than the score that it stands
beside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

CALIBRATION_BINS = 10
COUNTS = ("tp", "fp", "fn", "tn")
SCORES = (
    "ap",
    "auroc",
    "f1",
    "precision",
    "recall",
    "specificity",
    "balanced_accuracy",
    "brier",
    "ece",
)
FIGURES = (*SCORES, *COUNTS, "ece_shift")
MEANS = {
    "mean_ap": "ap",
    "mean_auroc": "auroc",
    "f1_macro": "f1",
    "mean_balanced_accuracy": "balanced_accuracy",
    "mean_brier": "brier",
    "mean_ece": "ece",
}
OVERALL = (*MEANS, "f1_micro", "subset_accuracy")


@dataclass(frozen=True)
class Predictions:
    """Checked labels and predictions; unknown entries hold False and 0.

    All arrays are [N, A].
    """

    labels: Bools
    mask: Bools
    probs: Floats
    decisions: Bools


@dataclass(frozen=True)
class Ranking:
    """One attribute's known rows, from the highest probability to the lowest.

    A level is a run of equal probabilities that holds a positive; there are L of them.

    Attributes:
        positives: Rows of the known positives, [P].
        negatives: Rows of the known negatives, [Q].
        ends: Index into `positives` of the last one of each level, [L].
        above: Number of negatives with a higher probability than the level, [L].
        upto: Number of negatives with a probability as high or higher, [L].
    """

    positives: NDArray[np.intp]
    negatives: NDArray[np.intp]
    ends: NDArray[np.intp]
    above: NDArray[np.intp]
    upto: NDArray[np.intp]


def check(
    labels: Floats, mask: Bools, probs: Floats, thresholds: Floats, decisions: Bools | None = None
) -> Predictions:
    """Blank out unknown entries and decide by the thresholds where no decisions are given."""
    mask = np.asarray(mask, dtype=bool)
    if mask.ndim != 2:
        raise ValueError(f"mask should have 2 dimensions (images, attributes), got {mask.ndim}")
    if np.shape(labels) != mask.shape or np.shape(probs) != mask.shape:
        raise ValueError(
            f"labels {np.shape(labels)}, mask {mask.shape} and probs {np.shape(probs)} differ in shape"
        )
    if np.shape(thresholds) != mask.shape[1:]:
        raise ValueError(f"thresholds should have shape {mask.shape[1:]}, got {np.shape(thresholds)}")
    if decisions is not None and np.shape(decisions) != mask.shape:
        raise ValueError(f"decisions should have shape {mask.shape}, got {np.shape(decisions)}")
    labels = np.where(mask, labels, 0)
    probs = np.where(mask, probs, 0).astype(np.float64)
    wrong = (labels != 0) & (labels != 1)
    if wrong.any():
        row, a = np.argwhere(wrong)[0]
        raise ValueError(f"labels[{row}, {a}] is known and should be 0 or 1, got {labels[row, a]}")
    # written so that nan is wrong too
    wrong = ~((probs >= 0) & (probs <= 1))
    if wrong.any():
        row, a = np.argwhere(wrong)[0]
        raise ValueError(
            f"probs[{row}, {a}] should be between 0 and 1, got {probs[row, a]} ({wrong.sum()} such values)"
        )
    chosen = probs >= np.asarray(thresholds) if decisions is None else np.asarray(decisions, dtype=bool)
    return Predictions(labels == 1, mask, probs, chosen & mask)


def rankings(predictions: Predictions) -> list[Ranking]:
    """Sort each attribute once."""
    ranked = []
    for a in range(predictions.mask.shape[1]):
        rows = np.flatnonzero(predictions.mask[:, a])
        probs = predictions.probs[rows, a]
        order = np.argsort(-probs, kind="stable")
        rows, probs = rows[order], probs[order]
        positive = predictions.labels[rows, a]
        own, other = probs[positive], -probs[~positive]
        ends = np.flatnonzero(np.append(own[1:] != own[:-1], np.ones(min(len(own), 1), dtype=bool)))
        above = np.searchsorted(other, -own[ends], side="left")
        upto = np.searchsorted(other, -own[ends], side="right")
        ranked.append(Ranking(rows[positive], rows[~positive], ends, above, upto))
    return ranked


def ap_and_auroc(ranking: Ranking, weights: Floats) -> tuple[Floats, Floats]:
    """Average precision and area under the ROC curve of one attribute.

    AP is the step-wise sum of precision over gained recall, AUROC counts a tie as one half; both are
    scikit-learn's.

    Args:
        weights: How often each row counts, whole numbers, [N, R].

    Returns:
        Two arrays [R], nan where the weights leave no positive or no negative.
    """
    resamples = weights.shape[1]
    if not len(ranking.positives) or not len(ranking.negatives):
        return np.full(resamples, np.nan), np.full(resamples, np.nan)
    gained = weights[ranking.positives]  # [P, R]
    if len(ranking.ends) < len(ranking.positives):
        gained = np.add.reduceat(gained, np.append(0, ranking.ends[:-1] + 1), axis=0)  # [L, R]
    tp = np.cumsum(gained, axis=0)
    fp = np.zeros((len(ranking.negatives) + 1, resamples), dtype=weights.dtype)
    np.cumsum(weights[ranking.negatives], axis=0, out=fp[1:])
    upto = fp[ranking.upto]  # [L, R]
    total, others = tp[-1], fp[-1]

    half_above = upto
    if (ranking.above != ranking.upto).any():
        half_above = (upto + fp[ranking.above]) / 2
    beaten = total * others - np.einsum("lr,lr->r", gained, half_above)
    # a level of weight zero gains nothing, whatever it is divided by
    precision = tp / np.maximum(tp + upto, 1)
    hits = np.einsum("lr,lr->r", gained, precision)
    defined = (total > 0) & (others > 0)
    return divide(hits, total, defined), divide(beaten, total * others, defined)


def entry_figures(predictions: Predictions, a: int, weights: Floats) -> dict[str, Floats]:
    """One attribute's figures that are made of sums over entries: the 2x2 counts, Brier score and so on.

    The calibration error is the mean over ten equally wide bins of |mean probability - share of positives|,
    weighted by the number of entries in the bin (Naeini et al. 2015, "Obtaining well calibrated probabilities
    using Bayesian binning"). `ece_shift` adds up how far each bin's signed gap moves from the unweighted one;
    it bounds the error of the calibration error.

    Args:
        weights: How often each row counts, [N, R].

    Returns:
        Arrays [R], nan where undefined.
    """
    label, mask = predictions.labels[:, a], predictions.mask[:, a]
    decision, prob = predictions.decisions[:, a], predictions.probs[:, a]
    terms = np.zeros((5 + CALIBRATION_BINS, len(label)), dtype=weights.dtype)
    terms[0] = label & decision
    terms[1] = mask & ~label & decision
    terms[2] = label & ~decision
    terms[3] = mask & ~label & ~decision
    # an unknown entry holds probability and label 0, so that it adds nothing
    terms[4] = (prob - label) ** 2
    terms[5 + calibration_bins(prob), np.arange(len(label))] = prob - label
    sums = terms @ weights  # [15, R]

    tp, fp, fn, tn = sums[:4]
    known = tp + fp + fn + tn
    gaps, own_gaps = sums[5:], terms[5:].sum(axis=1, keepdims=True) / max(mask.sum(), 1)  # [10, R], [10, 1]
    recall, specificity = divide(tp, tp + fn), divide(tn, tn + fp)
    return {
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "tn": tn,
        "f1": divide(2 * tp, 2 * tp + fp + fn, tp + fn > 0),
        "precision": divide(tp, tp + fp),
        "recall": recall,
        "specificity": specificity,
        "balanced_accuracy": (recall + specificity) / 2,
        "brier": divide(sums[4], known),
        "ece": divide(np.abs(gaps).sum(axis=0), known),
        "ece_shift": divide(np.abs(gaps - own_gaps * known).sum(axis=0), known),
    }


def calibration_bins(probs: Floats) -> NDArray[np.intp]:
    """Index of the calibration bin of each probability, [n]."""
    return np.minimum((probs * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)


def measure(predictions: Predictions, ranked: list[Ranking], weights: Floats) -> dict[str, Floats]:
    """Every figure of every attribute for R weightings of the rows.

    Args:
        weights: How often each row counts, [N, R].

    Returns:
        Arrays [R, A] by the names in `FIGURES`, nan where undefined.
    """
    figures = {name: np.full((weights.shape[1], len(ranked)), np.nan) for name in FIGURES}
    for a, ranking in enumerate(ranked):
        figures["ap"][:, a], figures["auroc"][:, a] = ap_and_auroc(ranking, weights)
        for name, values in entry_figures(predictions, a, weights).items():
            figures[name][:, a] = values
    return figures


def summarise(predictions: Predictions, figures: dict[str, Floats], weights: Floats) -> dict[str, Floats]:
    """Every figure over all attributes, [R] each, by the names in `OVERALL`."""
    overall = {name: mean_defined(figures[part]) for name, part in MEANS.items()}
    tp, fp, fn = (figures[name].sum(axis=1) for name in ("tp", "fp", "fn"))
    overall["f1_micro"] = divide(2 * tp, 2 * tp + fp + fn, tp + fn > 0)
    complete = predictions.mask.all(axis=1)
    exact = complete & (predictions.labels == predictions.decisions).all(axis=1)
    rows = weights.T @ np.stack([exact, complete], axis=1).astype(weights.dtype)  # [R, 2]
    overall["subset_accuracy"] = divide(rows[:, 0], rows[:, 1])
    return overall


def divide(numerator: Floats, denominator: Floats, defined: Bools | None = None) -> Floats:
    """Quotient in float64; nan where the denominator is 0 or `defined` is False."""
    defined = denominator > 0 if defined is None else defined
    return np.divide(numerator, denominator, out=np.full(np.shape(numerator), np.nan), where=defined)


def mean_defined(values: Floats) -> Floats:
    """Mean over the last axis without nan; nan where nothing is left."""
    defined = np.isfinite(values)
    return divide(np.where(defined, values, 0).sum(axis=-1), defined.sum(axis=-1))
