"""Scores of multi-label predictions, over known entries only, each beside its chance level.

A figure that the known entries cannot define is None, is left out of means, and each mean tells how many
attributes it covers. `None` is the answer

- for AP, AUROC and balanced accuracy without a known positive or without a known negative,
- for F1 and recall without a known positive, for specificity without a known negative,
- for precision where nothing is predicted positive,
- for Brier score and calibration error where nothing is known,
- for micro F1 without any known positive, for subset accuracy without any fully known row.

Wherever scikit-learn defines a figure with both classes present, the two agree.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aimonk.evaluation.kernels import (
    COUNTS,
    MEANS,
    OVERALL,
    SCORES,
    Bools,
    Floats,
    Predictions,
    ap_and_auroc,
    check,
    divide,
    entry_figures,
    mean_defined,
    measure,
    rankings,
    summarise,
)


def score(
    labels: Floats,
    mask: Bools,
    probs: Floats,
    thresholds: Floats,
    attributes: Sequence[str],
    decisions: Bools | None = None,
) -> dict:
    """Every figure of the module as a dictionary that can be written as JSON.

    The chance level is what a guess that ignores the image scores: the prevalence for AP and precision, .5
    for AUROC and balanced accuracy, "always present" for F1 (it beats "never"), the best choice of always and
    never per attribute for micro F1, the most frequent combination of labels for subset accuracy, and a
    constant probability equal to the prevalence for Brier score and calibration error (for these two lower is
    better). Recall and specificity are compared with a guess that says "present" equally often.

    Args:
        labels: 0 or 1, [N, A]; ignored where mask is False.
        mask: True where the label is known, [N, A].
        probs: Between 0 and 1, [N, A]; ignored where mask is False.
        thresholds: An attribute is predicted where `probs >= thresholds`, [A].
        attributes: Names, A of them.
        decisions: Predicted attributes, [N, A], where they do not come from `thresholds`, such as those of
            `thresholds.nested_thresholds`.

    Raises:
        ValueError: Shapes do not fit, a known label is not 0 or 1, a known probability not between 0 and 1.
    """
    predictions = check(labels, mask, probs, thresholds, decisions)
    if len(attributes) != predictions.mask.shape[1]:
        raise ValueError(
            f"{len(attributes)} attribute names for {predictions.mask.shape[1]} columns of labels"
        )
    everyone = np.ones((len(predictions.mask), 1))
    figures = measure(predictions, rankings(predictions), everyone)
    overall = summarise(predictions, figures, everyone)
    chance, overall_chance = chance_levels(predictions, figures)

    report: dict = {}
    for name in OVERALL:
        report[name] = plain(overall[name][0])
        if name in MEANS:
            report[f"{name}_count"] = int(np.isfinite(figures[MEANS[name]]).sum())
    report["subset_accuracy_count"] = int(predictions.mask.all(axis=1).sum())
    report["chance"] = {name: plain(overall_chance[name]) for name in OVERALL}
    report["attributes"] = {}
    for a, attribute in enumerate(attributes):
        entry: dict = {name: plain(figures[name][0, a]) for name in SCORES}
        entry |= {name: int(figures[name][0, a]) for name in COUNTS}
        known, positives = int(predictions.mask[:, a].sum()), int(predictions.labels[:, a].sum())
        entry |= {"threshold": float(thresholds[a]), "known": known, "positives": positives}
        entry["prevalence"] = positives / known if known else None
        entry["chance"] = {name: plain(chance[name][a]) for name in SCORES}
        report["attributes"][attribute] = entry
    return report


def mean_ap(labels: Floats, mask: Bools, probs: Floats) -> float | None:
    """Mean AP over the attributes with a known positive and a known negative; None without one."""
    predictions = check(labels, mask, probs, np.full(np.shape(mask)[-1], 0.5))
    everyone = np.ones((len(predictions.mask), 1))
    ap = np.array([ap_and_auroc(ranking, everyone)[0][0] for ranking in rankings(predictions)])
    return plain(mean_defined(ap))


def f1_macro(labels: Floats, mask: Bools, probs: Floats, thresholds: Floats) -> float | None:
    """Mean F1 over the attributes with a known positive; None without one."""
    predictions = check(labels, mask, probs, thresholds)
    everyone = np.ones((len(predictions.mask), 1))
    columns = range(predictions.mask.shape[1])
    f1 = np.array([entry_figures(predictions, a, everyone)["f1"][0] for a in columns])
    return plain(mean_defined(f1))


def chance_levels(
    predictions: Predictions, figures: dict[str, Floats]
) -> tuple[dict[str, Floats], dict[str, float]]:
    """What `score` compares each figure with, nan where that figure is undefined.

    Returns:
        Per attribute, [A] each by the names in `SCORES`, and over attributes, by the names in `OVERALL`.
    """
    positives, known = predictions.labels.sum(axis=0), predictions.mask.sum(axis=0)
    prevalence = divide(positives, known)
    said = divide(predictions.decisions.sum(axis=0), known)
    levels = {
        "ap": prevalence,
        "auroc": np.full(len(known), 0.5),
        "f1": 2 * prevalence / (1 + prevalence),
        "precision": prevalence,
        "recall": said,
        "specificity": 1 - said,
        "balanced_accuracy": np.full(len(known), 0.5),
        "brier": prevalence * (1 - prevalence),
        "ece": np.zeros(len(known)),
    }
    levels = {name: np.where(np.isfinite(figures[name][0]), level, np.nan) for name, level in levels.items()}
    overall = {name: mean_defined(levels[part][None])[0] for name, part in MEANS.items()}

    # answering "always" for the k most frequent attributes and "never" for the others, with the best k
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


def plain(value: float) -> float | None:
    """A number as JSON knows it: None in place of nan."""
    return float(value) if np.isfinite(value) else None
