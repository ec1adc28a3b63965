"""Which of several models is best, from scores of the same images.

Scores are oriented: greater is better. Their uncertainty is given by deviations: scores of resampled images
minus those of all images, with the same resamples for all models, so that what the models have in common
cancels out of a difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aimonk.evaluation.arrays import Bools, Floats, Ints, mean_defined
from aimonk.evaluation.bootstrap import draw
from aimonk.evaluation.intervals import student
from aimonk.evaluation.kernels import check, check_groups, measure, rankings, summarise
from aimonk.evaluation.ranking import ap_and_auroc
from aimonk.evaluation.score_intervals import independent_units
from aimonk.evaluation.significance import ALPHA

ROUNDING = 1e-6  # differences between scores, and their errors, that count as none; weights are float32
PRIOR = 4  # runs that the typical spread over seeds counts as
RANKED = {"mean_ap": 0, "mean_auroc": 1}  # metrics of the order alone, which are quick to resample


@dataclass(frozen=True)
class Scores:
    """Scores of S models.

    Attributes:
        values: [S]
        deviations: [R, S]
        freedom: Degrees of freedom of the errors that the deviations estimate.
    """

    values: Floats
    deviations: Floats
    freedom: float


@dataclass(frozen=True)
class Difference:
    """A difference between scores, with its 95 % interval; None where no resample changes the difference."""

    value: float
    interval: tuple[float, float] | None


def resample(
    labels: Floats,
    mask: Bools,
    groups: Ints | None,
    probs: Floats,
    thresholds: Floats,
    metric: str,
    resamples: int,
    seed: int,
) -> Floats:
    """Deviations of one score over attributes, [R]; nan where a resample leaves it undefined.

    Args:
        labels: 0 or 1, [N, A]; ignored where mask is False.
        mask: True where the label is known, [N, A].
        groups: Images with equal numbers are drawn together, [N]; None: each image is a group.
        probs: [N, A]
        thresholds: [A]
        metric: One of `kernels.OVERALL`.
        seed: Equal seeds draw equal images.
    """
    predictions = check(labels, mask, probs, thresholds)
    ranked, once = rankings(predictions), np.ones((len(predictions.mask), 1))

    def score(weights: Floats) -> Floats:
        if metric in RANKED:
            column = RANKED[metric]
            return mean_defined(np.stack([ap_and_auroc(r, weights)[column] for r in ranked], axis=1))
        return summarise(predictions, measure(predictions, ranked, weights), weights)[metric]

    drawn = draw(check_groups(groups, len(once)), resamples, seed)
    return np.concatenate([score(weights) for weights in drawn]) - score(once)


def degrees_of_freedom(labels: Floats, mask: Bools, groups: Ints | None) -> float:
    """Number of groups with the rarer class, the mean over attributes that have both, minus 1; at least 1.

    The errors of mean APs vary from sample to sample about as those of so many independent values would, less
    where there are many attributes. Arguments as for `resample`.
    """
    nothing = np.zeros(np.shape(mask))
    units = independent_units(check(labels, mask, nothing, nothing[0] + 0.5), check_groups(groups, len(mask)))
    return float(max(1.0, np.mean(units["ap"][units["ap"] > 0]) - 1)) if units["ap"].any() else 1.0


def average_seeds(
    values: Sequence[Floats],
    deviations: Sequence[Floats],
    varies: Sequence[bool],
    freedom: float,
    seed: int,
) -> Scores:
    """Scores of S settings, each the mean over runs that differ in their seed only.

    The spread over seeds adds to the deviations, as Student's t. Since that of two or three runs is itself
    uncertain, each setting's variance is moderated by that of a typical setting (the median), which counts as
    PRIOR further runs, as in Smyth 2004, "Linear models and empirical Bayes methods". A setting with one run
    has the typical spread. Without two runs of any setting the spread is unknown and adds nothing.

    Args:
        values: Scores of the runs of each setting, S arrays [n].
        deviations: Of the same runs, S arrays [R, n].
        varies: Whether the seed changes the runs of a setting, S.
        freedom: As in `Scores`.
    """
    rng = np.random.default_rng(seed)
    means = np.array([runs.mean() for runs in values])
    own = np.stack([runs.mean(axis=1) for runs in deviations], axis=1)
    variances = [float(np.var(runs, ddof=1)) if len(runs) > 1 else 0.0 for runs in values]
    seen = [variance for variance, random in zip(variances, varies, strict=True) if random and variance > 0]
    if seen:
        typical = np.exp(np.median(np.log(seen)))
        for i, (runs, random) in enumerate(zip(values, varies, strict=True)):
            if random:
                more = len(runs) - 1
                moderated = (PRIOR * typical + more * variances[i]) / (PRIOR + more)
                own[:, i] += rng.standard_t(PRIOR + more, len(own)) * np.sqrt(moderated / len(runs))
    return Scores(means, own, freedom)


def confidence_set(scores: Scores) -> Floats:
    """p-value of each model against the claim that no other one is better, [S].

    The models with a p-value above .05 are the model confidence set (Hansen, Lunde and Nason 2011, "The model
    confidence set", with the statistic T_R): it contains the best model with a probability of 95 %, and all
    models with that probability if they are equally good. A model's distance is the largest difference to
    another one, in standard errors of that difference; its p-value is the share of resamples in which some
    pair is as far apart by chance. Models below .05 leave together, and the others are tested again among
    themselves (step-down as in Romano and Wolf 2005, "Exact and approximate stepdown methods for multiple
    hypothesis testing").
    """
    remaining, p_values, lowest = np.arange(len(scores.values)), np.ones(len(scores.values)), 0.0
    # the standard errors are estimates: without this, equal models would be distinguished too often
    chi_square = np.random.default_rng(0).chisquare(scores.freedom, len(scores.deviations))
    uncertain = np.sqrt(scores.freedom / chi_square)
    while len(remaining) > 1:
        distances, largest = pair_distances(scores.values[remaining], scores.deviations[:, remaining])
        largest = largest * uncertain
        reached = (largest >= distances[:, None]).sum(axis=1)
        p_values[remaining] = np.maximum((1 + reached) / (1 + len(largest)), lowest)
        p_values[remaining[distances <= 0]] = 1.0
        leaving = p_values[remaining] <= ALPHA
        if not leaving.any():
            break
        lowest = p_values[remaining[leaving]].max()
        remaining = remaining[~leaving]
        p_values[remaining] = 1.0
    return p_values


def pair_distances(values: Floats, deviations: Floats) -> tuple[Floats, Floats]:
    """Distances in standard errors: of each model below the furthest one, [m], and of resampled pairs, [R].

    A pair whose difference no resample changes has a distance of zero.
    """
    deviations = deviations - deviations.mean(axis=0)
    covariance = np.atleast_2d(np.cov(deviations.T))
    variances = np.diag(covariance)
    errors = np.sqrt(np.maximum(variances[:, None] + variances - 2 * covariance, 0))  # [m, m]
    differ = errors > ROUNDING
    scale = np.where(differ, 1 / np.where(differ, errors, 1), 0)
    gaps = values[:, None] - values
    distances = (np.where(np.abs(gaps) > ROUNDING, gaps, 0) * scale).max(axis=0)
    largest = [(np.abs(row[:, None] - row) * scale).max() for row in deviations]
    return distances, np.array(largest)


def optimism(scores: Scores) -> float:
    """By how much the highest score is expected to exceed the true score of its model.

    Each resample chooses its own winner; the mean deviation of the winners is the gain by the choice.
    """
    winners = np.argmax(scores.values + scores.deviations, axis=1)
    return float(scores.deviations[np.arange(len(winners)), winners].mean())


def contrast(scores: Scores, weights: Floats) -> Difference:
    """A weighted sum of scores with its 95 % interval; weights are [S]."""
    value, error = float(scores.values @ weights), float(np.std(scores.deviations @ weights, ddof=1))
    half = float(student(np.array(scores.freedom))) * error
    return Difference(value, (value - half, value + half) if error > ROUNDING else None)
