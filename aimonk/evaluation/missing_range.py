"""Range of the scores over the values that NA may have, where labels are not missing at random.

Scores cover known entries. If these are not a random sample, the score over all entries is another one. It is
computed twice: with all NA absent, and with NA as likely present as the model predicts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aimonk.evaluation.arrays import Bools, Floats, Ints, mean_defined
from aimonk.evaluation.association import Dependence
from aimonk.evaluation.calibration import Calibration
from aimonk.evaluation.kernels import MEANS, Predictions, measure, rankings
from aimonk.evaluation.metrics import to_json
from aimonk.evaluation.significance import ALPHA, holm, rank_test

RANGED = ("ap", "auroc", "f1")
TESTS = 2  # of the predictions and of other attributes, which share the 5 %
DRAWS = 20  # of imputed labels, over which a score is averaged


def find_dependent(
    mask: Bools,
    probs: Floats,
    attributes: Sequence[str],
    dependence: Sequence[Dependence | None],
    groups: Ints | None,
    trained: bool,
) -> dict[int, dict]:
    """Attributes whose NA depends on the prediction, and thus on the image, or on another attribute.

    Args:
        mask: True where the label is known, [N, A].
        probs: Predicted without the labels of these images, [N, A].
        dependence: From `strongest_dependence`, A.
        groups: Copies have equal numbers, [N]; None: each image is a group.
        trained: Whether the model was trained on some of these images: known labels then change predictions,
            which are not tested.

    Returns:
        By index: what NA depends on, `given` (an attribute, or None for the prediction), and `p_adjusted`.
    """
    unknown = ~mask
    p_values = [None] * mask.shape[1]
    if not trained:
        p_values = rank_test(unknown, np.ones_like(mask), probs, groups)
    dependent = {}
    for a, p in enumerate(holm([None if p is None else min(1.0, TESTS * p) for p in p_values])):
        other, given = dependence[a], None
        if (p is None or p > ALPHA) and other is not None:
            p, given = min(1.0, TESTS * other.p_adjusted), attributes[other.given]
        if p is not None and p <= ALPHA and unknown[:, a].any():
            dependent[a] = {"given": given, "p_adjusted": p}
    return dependent


def add_ranges(
    scores: dict,
    labels: Floats,
    mask: Bools,
    logits: Floats,
    probs: Floats,
    decisions: Bools,
    dependent: dict[int, dict],
    seed: int,
) -> dict:
    """A copy of the scores with the ranges of dependent attributes and of the means; as they are without any.

    Args:
        scores: From `metrics.score`.
        labels: 0 or 1, [N, A]; ignored where mask is False.
        mask: True where the label is known, [N, A].
        logits: Raw scores, [N, A], which are calibrated on the known entries to impute the others.
        probs: [N, A].
        decisions: Predicted attributes, [N, A].
        dependent: From `find_dependent`.

    Returns:
        `scores` with `"range"`, [low, high] by name of the score, and in each dependent attribute with
        `"range"` and `"na_depends_on"`. None where the score is undefined.
    """
    if not dependent:
        return scores
    calibrated = Calibration.fit(logits, labels, mask).apply(logits)
    names, attributes = list(scores["attributes"]), dict(scores["attributes"])
    readings = {name: np.tile([[entry_value(e, name)] for e in attributes.values()], 2) for name in RANGED}
    for a, reason in dependent.items():
        column = Predictions(*(x[:, a : a + 1] for x in (labels == 1, mask, probs, decisions)))
        read = read_missing(column, calibrated[:, a], np.random.default_rng([seed, a]))
        entry = attributes[names[a]]
        ranges = {name: to_range(read[name]) for name in RANGED}
        attributes[names[a]] = {**entry, "range": ranges, "na_depends_on": reason}
        for name in RANGED:
            if entry[name] is not None:
                readings[name][a] = read[name]
    means = {name: to_range(mean_defined(readings[of].T)) for name, of in MEANS.items() if of in RANGED}
    return {**scores, "range": means, "attributes": attributes}


def entry_value(entry: dict, name: str) -> float:
    """A score of an attribute; nan where it is undefined."""
    return np.nan if entry[name] is None else entry[name]


def read_missing(column: Predictions, calibrated: Floats, rng: np.random.Generator) -> dict[str, Floats]:
    """Scores of one attribute with all NA absent, and their mean over draws of NA, [2] by name.

    Args:
        column: [N, 1] each.
        calibrated: Probability with which NA is drawn as present, [N].
    """
    known, unknown = np.flatnonzero(column.mask[:, 0]), np.flatnonzero(~column.mask[:, 0])
    # NA is listed as present and as absent, and each reading counts it once
    rows = np.concatenate([known, unknown, unknown])
    labels = np.concatenate([column.labels[known, 0], np.repeat([True, False], len(unknown))])[:, None]
    present = np.zeros((len(unknown), 1 + DRAWS))
    present[:, 1:] = rng.random((len(unknown), DRAWS)) < calibrated[unknown, None]
    weights = np.concatenate([np.ones((len(known), 1 + DRAWS)), present, 1 - present])
    everything = np.ones(labels.shape, dtype=bool)
    listed = Predictions(labels, everything, column.probs[rows], column.decisions[rows])
    measured = measure(listed, rankings(listed), weights)
    values = {name: measured[name][:, 0] for name in RANGED}
    return {name: np.array([x[0], mean_defined(x[1:])]) for name, x in values.items()}


def to_range(values: Floats) -> list[float] | None:
    """The smaller and the larger of two values; None if one is undefined."""
    low, high = (to_json(value) for value in np.sort(values))
    return None if low is None or high is None else [low, high]
