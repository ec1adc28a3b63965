"""Rankings of one attribute's rows by score, and the metrics that depend on the order alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from aimonk.evaluation.arrays import Bools, Floats, Ints, divide


class Cuts(NamedTuple):
    """True and false positives when all rows with at least a given score are predicted.

    There are C distinct scores.
    """

    order: Ints  # [K], rows by descending score
    scores: Floats  # [C], descending
    tp: Ints  # [C]
    fp: Ints  # [C]


@dataclass(frozen=True)
class Ranking:
    """Positives and negatives of one attribute, by descending score.

    A level is a distinct score of at least one positive; there are L levels.

    Attributes:
        positives: Rows of the positives, [P].
        negatives: Rows of the negatives, [Q].
        ends: Index into `positives` of the last one of each level, [L].
        above: Number of negatives with a higher score than the level, [L].
        upto: Number of negatives with the score of the level or a higher one, [L].
    """

    positives: Ints
    negatives: Ints
    ends: Ints
    above: Ints
    upto: Ints

    @property
    def concordant(self) -> float:
        """Number of pairs in which the positive has the higher score; a tie counts one half."""
        beaten = len(self.negatives) - (self.above + self.upto) / 2
        return float((np.diff(self.ends, prepend=-1) * beaten).sum())


def count_cuts(labels: Bools, scores: Floats) -> Cuts:
    """Counts at every distinct score; labels and scores are [K]."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], np.ones(min(len(ranked), 1), dtype=bool)))
    tp = np.cumsum(labels[order])[last]
    return Cuts(order, ranked[last], tp, last + 1 - tp)


def rank(labels: Bools, scores: Floats) -> Ranking:
    """Rank K rows; labels and scores are [K]."""
    order, _, tp, fp = count_cuts(labels, scores)
    levels = np.flatnonzero(np.diff(tp, prepend=0))
    positive = labels[order]
    return Ranking(order[positive], order[~positive], tp[levels] - 1, np.append(0, fp)[levels], fp[levels])


def ap_and_auroc(ranking: Ranking, weights: Floats) -> tuple[Floats, Floats]:
    """Average precision and area under the ROC curve, as scikit-learn defines them.

    AP is the sum over levels of the precision times the gain in recall; AUROC counts a tie as one half.

    Args:
        weights: How often each row counts, integers, [N, R].

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
    positives, negatives = tp[-1], fp[-1]

    half_above = upto
    if (ranking.above != ranking.upto).any():
        half_above = (upto + fp[ranking.above]) / 2
    concordant = positives * negatives - np.einsum("lr,lr->r", gained, half_above)
    # a level of weight zero gains nothing, so that its precision does not matter
    precision = tp / np.maximum(tp + upto, 1)
    precision_sum = np.einsum("lr,lr->r", gained, precision)
    defined = (positives > 0) & (negatives > 0)
    return divide(precision_sum, positives, defined), divide(concordant, positives * negatives, defined)


def expected_random_ap(known: Ints, positives: Ints) -> Floats:
    """Expected AP of a random order without ties, [A]; nan without a positive or without a negative.

    Bestgen 2015, "Exact expected average precision of the random baseline for system evaluation". It exceeds
    the prevalence, by much where positives are few.

    Args:
        known: Number of known images of each attribute, [A].
        positives: Number of known positives, [A].
    """
    defined = (positives > 0) & (positives < known)
    n, p = np.where(defined, known, 2), np.where(defined, positives, 1)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, n.max(initial=2) + 1))])[n]
    return np.where(defined, (harmonic + (p - 1) * (n - harmonic) / (n - 1)) / n, np.nan)
