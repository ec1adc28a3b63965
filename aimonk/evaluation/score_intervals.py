"""95 % limits of every score from its resamples; `bootstrap` explains the method."""

from __future__ import annotations

import numpy as np

from aimonk.evaluation.arrays import Bools, Floats, Ints, divide, mean_defined
from aimonk.evaluation.intervals import half_sum, share_limits, upper_quantile, variance
from aimonk.evaluation.kernels import MEANS, SCORES, Predictions

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


def attribute_limits(
    metrics: dict[str, Floats], drawn: dict[str, Floats], units: dict[str, Ints]
) -> dict[str, Floats]:
    """Limits [A, 2] by the names in `SCORES`, from metrics [1, A] and drawn [resamples, A]."""
    limits = {name: resampled_limits(metrics[name], drawn[name], units[name], name) for name in SCORES}
    limits["ece"][:, 0] = np.maximum(metrics["ece"][0] - upper_quantile(drawn["ece_shift"]), 0)
    shares = (metrics["recall"][0], metrics["specificity"][0])
    limits["balanced_accuracy"] = half_sum(*shares, limits["recall"], limits["specificity"])
    return limits


def overall_limits(
    metrics: dict[str, Floats],
    overall: dict[str, Floats],
    drawn: dict[str, Floats],
    drawn_overall: dict[str, Floats],
    units: dict[str, Ints],
) -> dict[str, Floats]:
    """Limits [2] by the names in `OVERALL`, from overall scores [1] and drawn_overall [resamples]."""
    limits = {}
    for name, part in MEANS.items():
        limits[name] = mean_limits(metrics[part][0], drawn[part], units[part], MOST_TRIALS[part])
    noise = upper_quantile(mean_defined(drawn["ece_shift"])[:, None])
    limits["mean_ece"][:1] = np.maximum(overall["mean_ece"] - noise, 0)
    for name in ("f1_micro", "subset_accuracy"):
        limits[name] = resampled_limits(overall[name], drawn_overall[name][:, None], units[name], name)[0]
    return limits


def resampled_limits(score: Floats, drawn: Floats, units: Ints, name: str) -> Floats:
    """Limits [A, 2] of scores that are shares of `units` independent groups.

    Args:
        score: [A] or [1, A]
        drawn: Score of each resample, [resamples, A].
        units: [A]
    """
    score, units = np.ravel(score), np.atleast_1d(units)
    spread = over_sets(variance(drawn - score), units)
    return share_limits(score, spread, units - 1, MOST_TRIALS[name] * units)


def over_sets(spread: Floats, units: Ints) -> Floats:
    """Variance over sets from that of resamples, which is (units - 1) / units of it; nan for one unit."""
    return spread * divide(units, units - 1, units > 1)


def mean_limits(scores: Floats, drawn: Floats, units: Ints, most: int) -> Floats:
    """Limits [2] of the mean of the defined scores.

    Resamples do not estimate the variance of an attribute with a single positive or negative group: it is set
    to score * (1 - score), the largest one of a share with that mean. The few attributes whose score varies
    most often determine the variance of the mean, so that its degrees of freedom are those of a sum of
    variances (Satterthwaite 1946, "An approximate distribution of estimates of variance components").

    Args:
        scores: Score of each attribute, nan where undefined, [A].
        drawn: Score of each resample, [resamples, A].
        units: Number of groups behind each score, [A].
        most: Upper limit of the effective sample size per unit.
    """
    defined = np.isfinite(scores) & (units > 0)
    scores, drawn, units = scores[defined], drawn[:, defined], units[defined]
    if units.sum() < 2:
        return np.full(2, np.nan)
    deviations, several = drawn - scores, units > 1
    resampled = np.nan_to_num(variance(deviations))
    parts = np.where(several, over_sets(resampled, units), scores * (1 - scores))
    # attributes vary together in images that show several; an undefined one deviates as the others on average
    together = variance(mean_defined(deviations[:, several])[:, None])[0] if several.any() else 0.0
    together *= divide(parts[several].sum(), resampled[several].sum(), resampled[several].any())
    spread = (together * several.sum() ** 2 + parts[~several].sum()) / len(scores) ** 2
    freedom = units.sum() - 1
    if parts.any():
        freedom = parts.sum() ** 2 / (parts**2 / np.maximum(units - 1, 1)).sum()
    return share_limits(scores.mean(), spread, freedom, most * units.sum())[0]


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
        "f1": np.maximum(positives, 1),  # with few, F1 varies by them, however many are predicted
        "precision": count(decisions),
        "recall": positives,
        "specificity": negatives,
        "brier": known,
        "ece": known,
        "f1_micro": positive_or_predicted.sum(),
        "subset_accuracy": count(mask.all(axis=1)[:, None])[0],
    }
