"""95 % limits of every score from its resamples; `bootstrap` explains the method."""

from __future__ import annotations

import numpy as np

from aimonk.evaluation.arrays import Bools, Floats, Ints, mean_defined
from aimonk.evaluation.intervals import half_sum, resampled_limits, upper_quantile
from aimonk.evaluation.kernels import MEANS, SCORES, Predictions
from aimonk.evaluation.ranking import Ranking, jackknife_ap

# upper limits of the effective sample size per independent group: one for a share, two for F1 (delta method),
# about six for the AUROC of well separated normal scores, twelve for their AP where negatives are rare, and
# practically none for the others
MOST_TRIALS = {
    "ap": 12,
    "auroc": 6,
    "f1": 2,
    "precision": 1,
    "recall": 1,
    "specificity": 1,
    "balanced_accuracy": 100,
    "brier": 100,
    "ece": 100,
    "f1_micro": 2,
    "subset_accuracy": 1,
}
# the bias of AP decreases with the number of positives P as P**-.8 rather than 1 / P (simulated: .073 at 8
# positives, .020 at 40); of such a bias the jackknife estimates .8
JACKKNIFE_SHARE = 0.8


def interval_centres(metrics: dict[str, Floats], ranked: list[Ranking]) -> dict[str, Floats]:
    """Bias-corrected scores, [A] each by the names in `SCORES`; only AP has a correction."""
    centres = {name: metrics[name][0] for name in SCORES}
    jackknifed = np.array([jackknife_ap(ranking) for ranking in ranked])
    bias = np.where(np.isfinite(jackknifed), centres["ap"] - jackknifed, 0) / JACKKNIFE_SHARE
    centres["ap"] = np.clip(centres["ap"] - bias, 0, 1)
    return centres


def attribute_limits(
    metrics: dict[str, Floats], centres: dict[str, Floats], drawn: dict[str, Floats], units: dict[str, Ints]
) -> dict[str, Floats]:
    """Limits [A, 2] by the names in `SCORES`, from metrics [1, A], centres [A] and drawn [resamples, A]."""
    limits = {}
    for name in SCORES:
        score, deviations = metrics[name][0], drawn[name] - metrics[name][0]
        limits[name] = resampled_limits(score, centres[name], deviations, units[name], MOST_TRIALS[name])
    limits["ece"][:, 0] = np.maximum(metrics["ece"][0] - upper_quantile(drawn["ece_shift"]), 0)
    shares = (metrics["recall"][0], metrics["specificity"][0])
    limits["balanced_accuracy"] = half_sum(*shares, limits["recall"], limits["specificity"])
    return limits


def overall_limits(
    metrics: dict[str, Floats],
    overall: dict[str, Floats],
    centres: dict[str, Floats],
    drawn: dict[str, Floats],
    drawn_overall: dict[str, Floats],
    units: dict[str, Ints],
) -> dict[str, Floats]:
    """Limits [2] by the names in `OVERALL`, from overall scores [1] and drawn_overall [resamples]."""
    limits = {}
    for name, part in MEANS.items():
        score, defined = metrics[part][0], np.isfinite(metrics[part][0])
        # an attribute that is undefined in a resample deviates as the others do on average
        deviations = mean_defined(drawn[part][:, defined] - score[defined])[:, None]
        centre, count = mean_defined(centres[part][defined]), units[part][defined].sum()
        limits[name] = resampled_limits(overall[name], centre, deviations, count, MOST_TRIALS[part])[0]
    noise = upper_quantile(mean_defined(drawn["ece_shift"])[:, None])
    limits["mean_ece"][:1] = np.maximum(overall["mean_ece"] - noise, 0)
    for name in ("f1_micro", "subset_accuracy"):
        score, deviations = overall[name], (drawn_overall[name] - overall[name])[:, None]
        limits[name] = resampled_limits(score, score, deviations, units[name], MOST_TRIALS[name])[0]
    return limits


def independent_units(predictions: Predictions, groups: Ints) -> dict[str, Ints]:
    """Number of groups behind each score, [A] per attribute and scalars over attributes."""
    labels, mask, decisions = predictions.labels, predictions.mask, predictions.decisions
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))

    def count(entries: Bools) -> Ints:
        if not len(starts):
            return np.zeros(entries.shape[1], dtype=int)
        return np.logical_or.reduceat(entries[order], starts, axis=0).sum(axis=0)

    positives, negatives, known = count(labels), count(mask & ~labels), count(mask)
    fewer, positive_or_predicted = np.minimum(positives, negatives), count(labels | decisions)
    return {
        "ap": fewer,
        "auroc": fewer,
        "balanced_accuracy": fewer,
        "f1": positive_or_predicted,
        "precision": count(decisions),
        "recall": positives,
        "specificity": negatives,
        "brier": known,
        "ece": known,
        "f1_micro": positive_or_predicted.sum(),
        "subset_accuracy": count(mask.all(axis=1)[:, None])[0],
    }
