"""The score of the heads while labels change: out-of-fold, with its interval and chance level."""

from dataclasses import dataclass

import numpy as np

from aimonk.evaluation import metrics
from aimonk.evaluation.bootstrap import bootstrap
from aimonk.evaluation.significance import ALPHA, holm, rank_test
from aimonk.review.solving import Solved

RESAMPLES = 300


@dataclass(frozen=True)
class Score:
    """Mean AP of out-of-fold predictions.

    Attributes:
        images: Number of images with an out-of-fold prediction of a known entry.
        value: None where undefined, as the others.
        interval: 95 %.
        attributes: AP of each, None where undefined.
    """

    images: int
    value: float | None
    chance: float | None
    interval: list[float] | None
    attributes: list[float | None]


def judge(
    solved: Solved, labels: np.ndarray, mask: np.ndarray, groups: np.ndarray, attributes: list[str]
) -> tuple[Score, np.ndarray]:
    """Score of out-of-fold predictions, and which attributes are predicted better than chance."""
    scored = mask & np.isfinite(solved.out_of_fold)
    rows = np.flatnonzero(scored.any(axis=1))
    probs = np.where(scored, solved.probs, 0.5)[rows]
    data = labels[rows], scored[rows], probs, np.full(len(attributes), 0.5)
    scores = metrics.score(*data, attributes)
    interval = None
    if scores["mean_ap"] is not None:
        interval = bootstrap(*data, groups[rows], resamples=RESAMPLES)["mean_ap"]
    p_values = holm(rank_test(labels[rows], scored[rows], probs, groups[rows]))
    evidence = np.array([p is not None and p <= ALPHA for p in p_values], dtype=bool)
    each = [scores["attributes"][name]["ap"] for name in attributes]
    return Score(len(rows), scores["mean_ap"], scores["chance"]["mean_ap"], interval, each), evidence
