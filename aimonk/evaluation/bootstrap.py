"""95 % intervals for every score, by resampling groups of images.

Percentiles of the resampled scores, the usual choice, hold the truth too rarely where an attribute is rare or
nearly solved: with 20 positives and an AUROC of .96 in 83 sets of 100 rather than 95, and the mean AP of four
attributes with 12 positives each, guessed at random, in 54. The corrections below bring the means of AP,
AUROC and F1 to between 92 and 98, and a single attribute's to between 92 and 99
(`benchmarks/bootstrap_coverage.py`):

- The resamples give the variance only, and the limits are Wilson's for a share with that variance, so that
  they are skewed as they must be and stay within 0 and 1. Wilson's formula needs a number of trials: the
  effective sample size score * (1 - score) / variance (Korn and Graubard 1998, "Confidence intervals for
  proportions with small expected number of positive counts estimated from survey data", with Wilson's limits
  as in Dean and Pagano 2015, "Evaluating confidence interval methods for binomial proportions in clustered
  surveys").
- What decides the precision is the number of positives or negatives, whichever is smaller, and not that of
  images: it gives the degrees of freedom of Student's t, and a ceiling for the effective sample size, without
  which a perfect score would come with an interval of width zero.
- The calibration error is too high in small samples by an amount that resamples do not tell. Its lower limit
  is what remains of it when the errors of all bins point away from zero.
- AP is too high in small samples since each positive counts towards its own precision. The interval is
  centred on less: the AP that takes the precision at each positive from the other positives, which is the
  jackknife's correction.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from aimonk.evaluation.intervals import half_sum, upper_quantile, wilson
from aimonk.evaluation.kernels import (
    MEANS,
    OVERALL,
    SCORES,
    Bools,
    Floats,
    Predictions,
    Ranking,
    check,
    mean_defined,
    measure,
    rankings,
    summarise,
)

# the effective sample size per independent group at most: one for a share, two for F1 (delta method), about
# six for the AUROC of well separated normal scores, twelve for their AP where negatives are rare, and no
# limit to speak of for the others
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
# AP's excess shrinks with the number of positives P as P**-.8 rather than 1 / P (simulated: .073 at 8
# positives, .020 at 40), and of such an excess the jackknife finds .8
JACKKNIFE_SHARE = 0.8
BLOCK = 1_000_000  # weights held at a time


def bootstrap(
    labels: Floats,
    mask: Bools,
    probs: Floats,
    thresholds: Floats,
    groups: NDArray[np.integer] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    decisions: Bools | None = None,
) -> dict:
    """95 % interval of every score in `metrics.score`.

    Thresholds and decisions are taken as given: the intervals do not hold the luck in choosing them.

    Args:
        labels: 0 or 1, [N, A]; ignored where mask is False.
        mask: True where the label is known, [N, A].
        probs: Between 0 and 1, [N, A]; ignored where mask is False.
        thresholds: An attribute is predicted where `probs >= thresholds`, [A].
        groups: Images with the same number are drawn together, [N]; None when each stands for itself.
        decisions: Predicted attributes, [N, A], where they do not come from `thresholds`.

    Returns:
        `[low, high]` by name of the score over all attributes, and under `"attributes"` a list of A such
        dictionaries. None where the score is undefined or rests on a single group.

    Raises:
        ValueError: As `metrics.score`, or groups of another length, or fewer than 2 resamples.
    """
    predictions = check(labels, mask, probs, thresholds, decisions)
    rows = len(predictions.mask)
    groups = np.arange(rows) if groups is None else np.asarray(groups)
    if groups.shape != (rows,):
        raise ValueError(f"groups should have shape ({rows},), got {groups.shape}")
    if resamples < 2:
        raise ValueError(f"resamples should be at least 2, got {resamples}")
    groups = np.unique(groups, return_inverse=True)[1].reshape(-1)
    ranked = rankings(predictions)
    everyone = np.ones((rows, 1))
    figures = measure(predictions, ranked, everyone)
    overall = summarise(predictions, figures, everyone)

    drawn, drawn_overall = replicate(predictions, ranked, groups, resamples, seed)
    units = independent_units(predictions, groups)

    centres = {name: figures[name][0] for name in SCORES}
    # a single positive has no others to take the precision from
    others = np.array([ap_of_others(ranking) for ranking in ranked])
    excess = np.where(np.isfinite(others), centres["ap"] - others, 0) / JACKKNIFE_SHARE
    centres["ap"] = np.clip(centres["ap"] - excess, 0, 1)

    limits = attribute_limits(figures, centres, drawn, units)
    attributes = [{name: pair(limits[name][a]) for name in SCORES} for a in range(len(ranked))]
    limits = mean_limits(figures, overall, centres, drawn, units)
    for name in ("f1_micro", "subset_accuracy"):
        moved = (drawn_overall[name] - overall[name])[:, None]
        limits[name] = wilson(overall[name], overall[name], moved, units[name], MOST_TRIALS[name])[0]
    return {**{name: pair(limits[name]) for name in OVERALL}, "attributes": attributes}


def attribute_limits(
    figures: dict[str, Floats], centres: dict[str, Floats], drawn: dict[str, Floats], units: dict[str, Floats]
) -> dict[str, Floats]:
    """Limits [A, 2] by the names in `SCORES`, from figures [1, A], centres [A] and drawn [resamples, A]."""
    limits = {}
    for name in SCORES:
        moved = drawn[name] - figures[name][0]
        limits[name] = wilson(figures[name][0], centres[name], moved, units[name], MOST_TRIALS[name])
    limits["ece"][:, 0] = np.maximum(figures["ece"][0] - upper_quantile(drawn["ece_shift"]), 0)
    shares = (figures["recall"][0], figures["specificity"][0])
    limits["balanced_accuracy"] = half_sum(*shares, limits["recall"], limits["specificity"])
    return limits


def mean_limits(
    figures: dict[str, Floats],
    overall: dict[str, Floats],
    centres: dict[str, Floats],
    drawn: dict[str, Floats],
    units: dict[str, Floats],
) -> dict[str, Floats]:
    """Limits [2] of the means over attributes, by the names in `MEANS`."""
    limits = {}
    for name, part in MEANS.items():
        defined = np.isfinite(figures[part][0])
        # an attribute that a resample leaves undefined moves as the others do on average
        moved = mean_defined(drawn[part][:, defined] - figures[part][0, defined])
        centre, count = mean_defined(centres[part][defined]), units[part][defined].sum()
        limits[name] = wilson(overall[name], centre, moved[:, None], count, MOST_TRIALS[part])[0]
    noise = upper_quantile(mean_defined(drawn["ece_shift"])[:, None])
    limits["mean_ece"][:1] = np.maximum(overall["mean_ece"] - noise, 0)
    return limits


def add_intervals(scores: dict, intervals: dict) -> dict:
    """The scores with their intervals, and the verdict whether they beat chance.

    Args:
        scores: From `metrics.score`.
        intervals: From `bootstrap` on the same predictions.

    Returns:
        A copy of `scores` with `"interval"` and `"beats_chance"` at the top and in each attribute.
        `beats_chance` is True when the whole interval of the AUROC (at the top, of the mean AUROC) lies above
        .5.
    """
    names = list(scores["attributes"])
    attributes = {}
    for name, interval in zip(names, intervals["attributes"], strict=True):
        verdict = above(interval["auroc"], 0.5)
        attributes[name] = {**scores["attributes"][name], "interval": interval, "beats_chance": verdict}
    overall = {name: intervals[name] for name in OVERALL}
    verdict = above(overall["mean_auroc"], 0.5)
    return {**scores, "interval": overall, "beats_chance": verdict, "attributes": attributes}


def above(interval: list[float] | None, level: float) -> bool:
    """Whether the whole interval lies above the level; an undefined interval does not."""
    return interval is not None and interval[0] > level


def draw(groups: NDArray[np.integer], resamples: int, seed: int) -> Iterator[Floats]:
    """How often each row counts when as many groups as there are get drawn with replacement.

    Args:
        groups: Numbers from 0 without gaps, [N].

    Yields:
        Blocks [N, R] of float32; the R add up to `resamples`.
    """
    rng = np.random.default_rng(seed)
    count = int(groups.max()) + 1 if len(groups) else 0
    block = int(np.clip(BLOCK // max(len(groups), 1), 8, 200))
    for start in range(0, resamples, block):
        width = min(block, resamples - start)
        drawn = rng.integers(0, max(count, 1), size=(width, count)) + count * np.arange(width)[:, None]
        times = np.bincount(drawn.ravel(), minlength=width * count).reshape(width, count)
        yield np.ascontiguousarray(times.astype(np.float32).T)[groups]


def replicate(
    predictions: Predictions, ranked: list[Ranking], groups: NDArray[np.integer], resamples: int, seed: int
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Every figure in every resample: per attribute [resamples, A], over attributes [resamples]."""
    parts, wholes = [], []
    for weights in draw(groups, resamples, seed):
        parts.append(measure(predictions, ranked, weights))
        wholes.append(summarise(predictions, parts[-1], weights))
    drawn = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return drawn, {name: np.concatenate([whole[name] for whole in wholes]) for name in wholes[0]}


def independent_units(
    predictions: Predictions, groups: NDArray[np.integer]
) -> dict[str, NDArray[np.integer]]:
    """How many groups each score rests on, [A] per attribute and scalars over attributes."""
    labels, mask, said = predictions.labels, predictions.mask, predictions.decisions
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))

    def count(entries: Bools) -> NDArray[np.integer]:
        if not len(starts):
            return np.zeros(entries.shape[1], dtype=int)
        return np.logical_or.reduceat(entries[order], starts, axis=0).sum(axis=0)

    positives, negatives, known = count(labels), count(mask & ~labels), count(mask)
    fewer, touched = np.minimum(positives, negatives), count(labels | said)
    return {
        "ap": fewer,
        "auroc": fewer,
        "balanced_accuracy": fewer,
        "f1": touched,
        "precision": count(said),
        "recall": positives,
        "specificity": negatives,
        "brier": known,
        "ece": known,
        "f1_micro": touched.sum(),
        "subset_accuracy": count(mask.all(axis=1)[:, None])[0],
    }


def ap_of_others(ranking: Ranking) -> float:
    """AP with the precision at each positive taken from the other positives, scaled to their number.

    nan below two positives.
    """
    positives = len(ranking.positives)
    if positives < 2 or not len(ranking.negatives):
        return np.nan
    size = np.diff(ranking.ends, prepend=-1)
    others = ranking.ends * positives / (positives - 1)
    # the positives at the top, with nothing above them, have perfect precision
    precision = np.divide(
        others, others + ranking.upto, out=np.ones(len(size)), where=others + ranking.upto > 0
    )
    return float((size * precision).sum() / positives)


def pair(limits: Floats) -> list[float] | None:
    """Low and high as JSON knows them: None in place of nan."""
    return [float(limits[0]), float(limits[1])] if np.isfinite(limits).all() else None
