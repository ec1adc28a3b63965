"""Where a probability becomes a "yes", per attribute.

The prediction is `probs >= threshold` everywhere. A threshold chosen on data scores too well on the same
data; `nested_thresholds` gives the decisions by which the choice can be judged honestly.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aimonk.evaluation.calibration import (
    Calibration as Calibration,  # stored and applied beside the thresholds
)
from aimonk.evaluation.kernels import Bools, Floats, check

DEFAULT = 0.5


class Rule(NamedTuple):
    """How thresholds are chosen; `value` is the threshold for "fixed" and the goal for "precision"."""

    kind: Literal["fixed", "f1", "balanced", "precision"]
    value: float | None = None


def parse_rule(rule: str | float | Rule) -> Rule:
    """Read a rule as a person writes it: 0.5, "f1", "balanced" or "precision=0.9".

    Raises:
        ValueError: Anything else, a threshold outside 0 to 1, a precision outside 0 (excluded) to 1.
    """
    allowed = 'allowed are a number from 0 to 1, "f1", "balanced" and "precision=0.9"'
    if isinstance(rule, Rule):
        kind, value = rule.kind, rule.value
    elif isinstance(rule, str):
        kind, _, text = rule.strip().partition("=")
        kind, value = kind.strip(), text.strip() or None
        if value is None and kind not in ("f1", "balanced"):
            kind, value = "fixed", kind
    else:
        kind, value = "fixed", rule
    if kind in ("f1", "balanced") and value is None:
        return Rule(kind)
    if kind not in ("fixed", "precision") or isinstance(value, bool):
        raise ValueError(f"unknown threshold rule {rule!r}; {allowed}")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"unknown threshold rule {rule!r}; {allowed}") from None
    if not 0 <= number <= 1 or (kind == "precision" and number == 0):
        raise ValueError(f"threshold rule {rule!r} is out of range; {allowed}")
    return Rule(kind, number)


def choose_thresholds(labels: Floats, mask: Bools, probs: Floats, rule: str | float | Rule) -> Floats:
    """One threshold per attribute, [A], midway between neighbouring probabilities.

    - a number: that threshold for all
    - "f1", "balanced": the highest F1 or balanced accuracy; of equally good thresholds the highest
    - "precision=0.9": the lowest threshold with at least this precision; where none has it (`unreached` tells
      where) the lowest of those with the highest precision there is

    An attribute without a known positive or without a known negative keeps 0.5, unless the rule is a number.

    Args:
        labels: 0 or 1, [N, A]; ignored where mask is False.
        mask: True where the label is known, [N, A].
        probs: Between 0 and 1, [N, A]; ignored where mask is False.

    Raises:
        ValueError: The rule is unknown, or the arrays are wrong as told in `metrics.score`.
    """
    rule = parse_rule(rule)
    thresholds = np.full(np.shape(mask)[-1], DEFAULT if rule.kind != "fixed" else rule.value)
    predictions = check(labels, mask, probs, thresholds)
    if rule.kind == "fixed":
        return thresholds
    for a in range(len(thresholds)):
        known = predictions.mask[:, a]
        thresholds[a] = choose_threshold(predictions.labels[known, a], predictions.probs[known, a], rule)
    return thresholds


def choose_threshold(labels: Bools, probs: Floats, rule: Rule) -> float:
    """The threshold of one attribute whose labels are all known, [K] each."""
    positives = int(labels.sum())
    if not 0 < positives < len(labels):
        return DEFAULT
    order = np.argsort(-probs, kind="stable")
    ranked = probs[order]
    last = np.append(ranked[1:] != ranked[:-1], True)
    tp = np.cumsum(labels[order])[last]  # [cuts], from few to many predicted
    fp = np.cumsum(~labels[order])[last]
    upper = ranked[last]
    lower = np.append(upper[1:], 0.0)
    middle = (upper + lower) / 2
    # two neighbouring floats have no middle, and the lower one must stay below the threshold
    cuts = np.where(middle > lower, middle, upper)
    if rule.kind == "f1":
        return float(cuts[np.argmax(2 * tp / (tp + fp + positives))])
    if rule.kind == "balanced":
        return float(cuts[np.argmax(tp / positives - fp / (len(labels) - positives))])
    precision = tp / (tp + fp)
    goal = min(rule.value, precision.max())
    return float(cuts[np.flatnonzero(precision >= goal)[-1]])


def unreached(
    labels: Floats, mask: Bools, probs: Floats, thresholds: Floats, rule: str | float | Rule
) -> Bools:
    """Where a rule "precision=..." asks for more than the chosen thresholds reach, [A].

    False for every other rule, and for attributes that keep 0.5 since they lack positives or negatives.
    """
    rule = parse_rule(rule)
    predictions = check(labels, mask, probs, thresholds)
    if rule.kind != "precision":
        return np.zeros(predictions.mask.shape[1], dtype=bool)
    labels, said = predictions.labels, predictions.decisions
    tp, positives, known = (labels & said).sum(axis=0), labels.sum(axis=0), predictions.mask.sum(axis=0)
    return (positives > 0) & (positives < known) & (tp / np.maximum(said.sum(axis=0), 1) < rule.value)


def nested_thresholds(
    labels: Floats,
    mask: Bools,
    probs: Floats,
    rule: str | float | Rule,
    groups: NDArray[np.integer] | None = None,
    folds: int = 5,
    seed: int = 0,
) -> Bools:
    """Decisions for the data that thresholds are chosen on, none of which its own label had a say in, [N, A].

    Groups of images are dealt into folds, separately for each attribute so that every fold gets its share of
    the positives; a fold is decided by the threshold that the other folds choose. Pass the result to
    `metrics.score` as `decisions`. Entries whose label is unknown are decided too, where they have a
    probability.

    Args:
        labels: 0 or 1, [N, A]; ignored where mask is False.
        mask: True where the label is known, [N, A].
        probs: Between 0 and 1, [N, A].
        groups: Images with the same number stay in one fold, [N]; None when each stands for itself.

    Raises:
        ValueError: As `choose_thresholds`; groups of another length; fewer than 2 folds.
    """
    rule = parse_rule(rule)
    if folds < 2:
        raise ValueError(f"folds should be at least 2, got {folds}")
    predictions = check(labels, mask, probs, np.full(np.shape(mask)[-1], DEFAULT))
    rows, attributes = predictions.mask.shape
    groups = np.arange(rows) if groups is None else np.asarray(groups)
    if groups.shape != (rows,):
        raise ValueError(f"groups should have shape ({rows},), got {groups.shape}")
    groups = np.unique(groups, return_inverse=True)[1].reshape(-1)
    count = int(groups.max()) + 1 if rows else 0
    rng = np.random.default_rng(seed)
    decisions = np.zeros((rows, attributes), dtype=bool)
    for a in range(attributes):
        label, known = predictions.labels[:, a], predictions.mask[:, a]
        has_positive, has_known = (np.bincount(groups[x], minlength=count) > 0 for x in (label, known))
        shuffled = rng.permutation(count)
        dealt = shuffled[np.argsort(-(has_positive.astype(int) + has_known)[shuffled], kind="stable")]
        fold_of_group = np.empty(count, dtype=int)
        fold_of_group[dealt] = np.arange(count) % folds
        fold = fold_of_group[groups]
        for k in range(folds):
            held_out, others = fold == k, known & (fold != k)
            threshold = rule.value
            if rule.kind != "fixed":
                threshold = choose_threshold(label[others], predictions.probs[others, a], rule)
            decisions[held_out, a] = np.asarray(probs, dtype=np.float64)[held_out, a] >= threshold
    return decisions
