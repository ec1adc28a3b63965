"""Scores of multi-label predictions over known entries only, each with its chance level.

An undefined metric is None and is left out of means; the number of attributes in each mean is reported.
These are undefined:

- AP, AUROC and balanced accuracy without a known positive or without a known negative,
- F1 and recall without a known positive, specificity without a known negative,
- precision without a positive prediction,
- Brier score and calibration error without a known entry,
- micro F1 without a known positive, subset accuracy without a completely known row.

Metrics that scikit-learn defines too have the same values wherever both classes are present.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aimonk.evaluation.arrays import Bools, Floats, divide, mean_defined
from aimonk.evaluation.kernels import (
    COUNTS,
    MEANS,
    OVERALL,
    SCORES,
    Predictions,
    check,
    entry_metrics,
    measure,
    rankings,
    summarise,
)
from aimonk.evaluation.ranking import ap_and_auroc, expected_random_ap


def score(
    labels: Floats,
    mask: Bools,
    probs: Floats,
    thresholds: Floats,
    attributes: Sequence[str],
    decisions: Bools | None = None,
) -> dict:
    """All metrics, ready for JSON.

    The chance level is the score of a guess that ignores the image: the expectation of a random order for AP,
    the prevalence for precision, .5 for AUROC and balanced accuracy, "always present" for F1 (it beats
    "never"), the best choice of always and never per attribute for micro F1, the most frequent combination of
    labels for subset accuracy, and a constant probability equal to the prevalence for Brier score and
    calibration error (for both, lower is better). Recall and specificity are compared with a guess that
    predicts the attribute equally often.

    Args:
        labels: 0 or 1, [N, A]; ignored where mask is False.
        mask: True where the label is known, [N, A].
        probs: Between 0 and 1, [N, A]; ignored where mask is False.
        thresholds: An attribute is predicted where `probs >= thresholds`, [A].
        attributes: Names, A of them.
        decisions: Predicted attributes, [N, A], such as those of `thresholds.nested_thresholds`; None: those
            of `thresholds`.

    Raises:
        ValueError: Shapes differ, a known label is not 0 or 1, or a known probability is not between 0 and 1.
    """
    predictions = check(labels, mask, probs, thresholds, decisions)
    if len(attributes) != predictions.mask.shape[1]:
        raise ValueError(f"attributes has {len(attributes)} names; expected {predictions.mask.shape[1]}")
    once = np.ones((len(predictions.mask), 1))
    metrics = measure(predictions, rankings(predictions), once)
    overall = summarise(predictions, metrics, once)
    chance, overall_chance = chance_levels(predictions, metrics)

    report: dict = {}
    for name in OVERALL:
        report[name] = to_json(overall[name][0])
        if name in MEANS:
            report[f"{name}_count"] = int(np.isfinite(metrics[MEANS[name]]).sum())
    report["subset_accuracy_count"] = int(predictions.mask.all(axis=1).sum())
    report["chance"] = {name: to_json(overall_chance[name]) for name in OVERALL}
    report["attributes"] = {}
    for a, attribute in enumerate(attributes):
        entry: dict = {name: to_json(metrics[name][0, a]) for name in SCORES}
        entry |= {name: int(metrics[name][0, a]) for name in COUNTS}
        known, positives = int(predictions.mask[:, a].sum()), int(predictions.labels[:, a].sum())
        entry |= {"threshold": float(thresholds[a]), "known": known, "positives": positives}
        entry["prevalence"] = positives / known if known else None
        entry["chance"] = {name: to_json(chance[name][a]) for name in SCORES}
        report["attributes"][attribute] = entry
    return report


def mean_ap(labels: Floats, mask: Bools, probs: Floats) -> float | None:
    """Mean AP over the attributes with a known positive and a known negative; None without one."""
    predictions = check(labels, mask, probs, np.full(np.shape(mask)[-1], 0.5))
    once = np.ones((len(predictions.mask), 1))
    ap = np.array([ap_and_auroc(ranking, once)[0][0] for ranking in rankings(predictions)])
    return to_json(mean_defined(ap))


def f1_macro(labels: Floats, mask: Bools, probs: Floats, thresholds: Floats) -> float | None:
    """Mean F1 over the attributes with a known positive; None without one."""
    predictions = check(labels, mask, probs, thresholds)
    once = np.ones((len(predictions.mask), 1))
    columns = range(predictions.mask.shape[1])
    f1 = np.array([entry_metrics(predictions, a, once)["f1"][0] for a in columns])
    return to_json(mean_defined(f1))


def chance_levels(
    predictions: Predictions, metrics: dict[str, Floats]
) -> tuple[dict[str, Floats], dict[str, float]]:
    """Chance levels of all metrics, nan where the metric is undefined.

    Returns:
        Per attribute, [A] each by the names in `SCORES`, and over attributes, by the names in `OVERALL`.
    """
    positives, known = predictions.labels.sum(axis=0), predictions.mask.sum(axis=0)
    prevalence = divide(positives, known)
    predicted = divide(predictions.decisions.sum(axis=0), known)
    levels = {
        "ap": expected_random_ap(known, positives),
        "auroc": np.full(len(known), 0.5),
        "f1": 2 * prevalence / (1 + prevalence),
        "precision": prevalence,
        "recall": predicted,
        "specificity": 1 - predicted,
        "balanced_accuracy": np.full(len(known), 0.5),
        "brier": prevalence * (1 - prevalence),
        "ece": np.zeros(len(known)),
    }
    levels = {name: np.where(np.isfinite(metrics[name][0]), level, np.nan) for name, level in levels.items()}
    overall = {name: mean_defined(levels[part][None])[0] for name, part in MEANS.items()}

    # predicting "always" for the k most frequent attributes and "never" for the others, with the best k
    order = np.argsort(-np.nan_to_num(prevalence, nan=-1.0), kind="stable")
    hits = np.cumsum(positives[order])
    overall["f1_micro"] = np.nan
    if positives.sum():
        overall["f1_micro"] = float((2 * hits / (np.cumsum(known[order]) + positives.sum())).max())
    complete = predictions.labels[predictions.mask.all(axis=1)]
    overall["subset_accuracy"] = np.nan
    if len(complete):
        _, sizes = np.unique(np.packbits(complete, axis=1), axis=0, return_counts=True)
        overall["subset_accuracy"] = float(sizes.max() / len(complete))
    return levels, overall


def to_json(value: float) -> float | None:
    """The value as a Python float; None in place of nan."""
    return float(value) if np.isfinite(value) else None
