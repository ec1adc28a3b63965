"""Metrics of multi-label predictions for many weightings of the same rows at once.

A weighting gives the number of times each row counts: all ones for a score, one column per resample for a
bootstrap. Scores and intervals share this code, so that both describe the same quantity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aimonk.data.groups import number_groups
from aimonk.evaluation.arrays import Bools, Floats, Ints, divide, mean_defined
from aimonk.evaluation.ranking import Ranking, ap_and_auroc, rank

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
METRICS = (*SCORES, *COUNTS, "ece_shift")
MEANS = {
    "mean_ap": "ap",
    "mean_auroc": "auroc",
    "f1_macro": "f1",
    "mean_balanced_accuracy": "balanced_accuracy",
    "mean_brier": "brier",
    "mean_ece": "ece",
}
LOWER_IS_BETTER = ("brier", "ece")  # the ends of names of scores, of an attribute and over attributes
OVERALL = (*MEANS, "f1_micro", "subset_accuracy")


@dataclass(frozen=True)
class Predictions:
    """Validated labels and predictions, [N, A] each; unknown entries are False and 0."""

    labels: Bools
    mask: Bools
    probs: Floats
    decisions: Bools


def check(
    labels: Floats, mask: Bools, probs: Floats, thresholds: Floats, decisions: Bools | None = None
) -> Predictions:
    """Validate the arrays and clear unknown entries; decisions default to `probs >= thresholds`."""
    mask = np.asarray(mask, dtype=bool)
    if mask.ndim != 2:
        raise ValueError(f"mask has the shape {mask.shape}; expected (images, attributes)")
    given = {"labels": labels, "probs": probs} | ({} if decisions is None else {"decisions": decisions})
    for name, values in given.items():
        if np.shape(values) != mask.shape:
            raise ValueError(f"{name} has the shape {np.shape(values)}; expected {mask.shape}, as mask")
    if np.shape(thresholds) != mask.shape[1:]:
        raise ValueError(f"thresholds has the shape {np.shape(thresholds)}; expected {mask.shape[1:]}")
    labels = np.where(mask, labels, 0)
    probs = np.where(mask, probs, 0).astype(np.float64)
    wrong = (labels != 0) & (labels != 1)
    if wrong.any():
        row, a = np.argwhere(wrong)[0]
        raise ValueError(f"labels[{row}, {a}] is {labels[row, a]}; expected 0 or 1 where mask is True")
    # the negation covers nan
    wrong = ~((probs >= 0) & (probs <= 1))
    if wrong.any():
        row, a = np.argwhere(wrong)[0]
        raise ValueError(
            f"probs[{row}, {a}] is {probs[row, a]}; expected 0 to 1 (invalid entries: {wrong.sum()})"
        )
    chosen = probs >= np.asarray(thresholds) if decisions is None else np.asarray(decisions, dtype=bool)
    return Predictions(labels == 1, mask, probs, chosen & mask)


def check_groups(groups: Ints | None, rows: int) -> Ints:
    """Group numbers 0, 1, 2, ... of the rows, [N]; None: each row is a group of its own."""
    if groups is None:
        return np.arange(rows)
    if np.shape(groups) != (rows,):
        raise ValueError(f"groups has the shape {np.shape(groups)}; expected ({rows},)")
    return number_groups(groups)


def rankings(predictions: Predictions) -> list[Ranking]:
    """Known rows of each attribute, ranked by probability."""
    ranked = []
    for a in range(predictions.mask.shape[1]):
        rows = np.flatnonzero(predictions.mask[:, a])
        ranking = rank(predictions.labels[rows, a], predictions.probs[rows, a])
        positives, negatives = rows[ranking.positives], rows[ranking.negatives]
        ranked.append(Ranking(positives, negatives, ranking.ends, ranking.above, ranking.upto))
    return ranked


def entry_metrics(predictions: Predictions, a: int, weights: Floats) -> dict[str, Floats]:
    """Metrics of one attribute that are functions of sums over entries: counts, Brier score and so on.

    The calibration error is the mean over ten bins of equal width of |mean probability - share of positives|,
    weighted by the number of entries in the bin (Naeini et al. 2015, "Obtaining well calibrated probabilities
    using Bayesian binning"). `ece_shift` sums the changes of the signed gaps of all bins from the unweighted
    ones; it is an upper bound for the error of the calibration error.

    Args:
        weights: How often each row counts, [N, R].

    Returns:
        Arrays [R], nan where undefined.
    """
    label, mask = predictions.labels[:, a], predictions.mask[:, a]
    decision, prob = predictions.decisions[:, a], predictions.probs[:, a]
    negative = mask & ~label
    counts = [label & decision, negative & decision, label & ~decision, negative & ~decision]
    # an unknown entry has probability and label 0 and adds nothing
    gaps = np.zeros((CALIBRATION_BINS, len(label)))
    gaps[calibration_bins(prob), np.arange(len(label))] = prob - label
    terms = np.vstack([*counts, (prob - label) ** 2, gaps]).astype(weights.dtype)  # [15, N]
    (tp, fp, fn, tn), (squared_error,), gaps = np.split(terms @ weights, [4, 5])  # [R] each, gaps [10, R]

    known = tp + fp + fn + tn
    unweighted_gaps = terms[-CALIBRATION_BINS:].sum(axis=1, keepdims=True) / max(mask.sum(), 1)  # [10, 1]
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
        "brier": divide(squared_error, known),
        "ece": divide(np.abs(gaps).sum(axis=0), known),
        "ece_shift": divide(np.abs(gaps - unweighted_gaps * known).sum(axis=0), known),
    }


def calibration_bins(probs: Floats) -> Ints:
    """Index of the calibration bin of each probability, [n]."""
    return np.minimum((probs * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)


def measure(predictions: Predictions, ranked: list[Ranking], weights: Floats) -> dict[str, Floats]:
    """All metrics of all attributes.

    Args:
        ranked: From `rankings`.
        weights: How often each row counts, [N, R].

    Returns:
        Arrays [R, A] by the names in `METRICS`, nan where undefined.
    """
    metrics = {name: np.full((weights.shape[1], len(ranked)), np.nan) for name in METRICS}
    for a, ranking in enumerate(ranked):
        metrics["ap"][:, a], metrics["auroc"][:, a] = ap_and_auroc(ranking, weights)
        for name, values in entry_metrics(predictions, a, weights).items():
            metrics[name][:, a] = values
    return metrics


def summarise(predictions: Predictions, metrics: dict[str, Floats], weights: Floats) -> dict[str, Floats]:
    """Metrics over all attributes, [R] each, by the names in `OVERALL`."""
    overall = {name: mean_defined(metrics[part]) for name, part in MEANS.items()}
    tp, fp, fn = (metrics[name].sum(axis=1) for name in ("tp", "fp", "fn"))
    overall["f1_micro"] = divide(2 * tp, 2 * tp + fp + fn, tp + fn > 0)
    complete = predictions.mask.all(axis=1)
    exact = complete & (predictions.labels == predictions.decisions).all(axis=1)
    rows = weights.T @ np.stack([exact, complete], axis=1).astype(weights.dtype)  # [R, 2]
    overall["subset_accuracy"] = divide(rows[:, 0], rows[:, 1])
    return overall
