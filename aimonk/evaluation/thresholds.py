"""Decision thresholds, one per attribute; the decision is `probs >= threshold`.

Scores of the data on which a threshold was chosen are too high; those of `nested_thresholds` are not.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from aimonk.evaluation.arrays import Bools, Floats, Ints
from aimonk.evaluation.kernels import check, check_groups
from aimonk.evaluation.ranking import count_cuts

DEFAULT = 0.5


class Rule(NamedTuple):
    """How thresholds are chosen; `value` is the threshold for "fixed" and the goal for "precision"."""

    kind: Literal["fixed", "f1", "balanced", "precision"]
    value: float | None = None


def parse_rule(rule: str | float | Rule) -> Rule:
    """Parse 0.5, "f1", "balanced" or "precision=0.9".

    Raises:
        ValueError: Any other rule, a threshold outside 0 to 1, a precision outside 0 (excluded) to 1.
    """
    error = f"threshold is {rule!r}; expected a number from 0 to 1, f1, balanced or precision=0.9"
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
        raise ValueError(error)
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(error) from None
    if not 0 <= number <= 1 or (kind == "precision" and number == 0):
        raise ValueError(error)
    return Rule(kind, number)


def choose_thresholds(labels: Floats, mask: Bools, probs: Floats, rule: str | float | Rule) -> Floats:
    """Choose thresholds, [A], halfway between neighbouring probabilities.

    - a number: that threshold for all attributes
    - "f1", "balanced": highest F1 or balanced accuracy; of equally good thresholds the highest
    - "precision=0.9": the lowest threshold with at least this precision; if there is none (see `unreached`),
      the lowest of those with the highest precision

    An attribute without a known positive or without a known negative keeps 0.5, unless the rule is a number.

    Args:
        labels: 0 or 1, [N, A]; ignored where mask is False.
        mask: True where the label is known, [N, A].
        probs: Between 0 and 1, [N, A]; ignored where mask is False.

    Raises:
        ValueError: The rule is unknown, or as `metrics.score`.
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
    """The threshold of one attribute from its known labels and probabilities, [K] each."""
    positives = int(labels.sum())
    if not 0 < positives < len(labels):
        return DEFAULT
    _, upper, tp, fp = count_cuts(labels, probs)
    lower = np.append(upper[1:], 0.0)
    middle = (upper + lower) / 2
    # adjacent floats have no middle, and the lower one must stay below the threshold
    thresholds = np.where(middle > lower, middle, upper)
    if rule.kind == "f1":
        return float(thresholds[np.argmax(2 * tp / (tp + fp + positives))])
    if rule.kind == "balanced":
        return float(thresholds[np.argmax(tp / positives - fp / (len(labels) - positives))])
    precision = tp / (tp + fp)
    goal = min(rule.value, precision.max())
    return float(thresholds[np.flatnonzero(precision >= goal)[-1]])


def unreached(
    labels: Floats, mask: Bools, probs: Floats, thresholds: Floats, rule: str | float | Rule
) -> Bools:
    """Attributes whose chosen threshold does not reach the precision of a rule "precision=...", [A].

    False for all other rules, and for attributes without a known positive or without a known negative.
    """
    rule = parse_rule(rule)
    predictions = check(labels, mask, probs, thresholds)
    if rule.kind != "precision":
        return np.zeros(predictions.mask.shape[1], dtype=bool)
    labels, decisions = predictions.labels, predictions.decisions
    tp, positives, known = (labels & decisions).sum(axis=0), labels.sum(axis=0), predictions.mask.sum(axis=0)
    return (positives > 0) & (positives < known) & (tp / np.maximum(decisions.sum(axis=0), 1) < rule.value)


def nested_thresholds(
    labels: Floats,
    mask: Bools,
    probs: Floats,
    rule: str | float | Rule,
    groups: Ints | None = None,
    folds: int = 5,
    seed: int = 0,
) -> Bools:
    """Decisions by thresholds that do not depend on the label of the decided entry, [N, A].

    Groups of images are assigned to folds, separately for each attribute such that the positives are spread
    over the folds; the threshold of a fold is chosen on the other folds. `metrics.score` takes the result as
    `decisions`. Unknown entries with a probability are decided too.

    Args:
        labels: 0 or 1, [N, A]; ignored where mask is False.
        mask: True where the label is known, [N, A].
        probs: Between 0 and 1, [N, A].
        groups: Images with equal numbers are in one fold, [N]; None: each image is a group.

    Raises:
        ValueError: As `choose_thresholds`; groups of another length; fewer than 2 folds.
    """
    rule = parse_rule(rule)
    if folds < 2:
        raise ValueError(f"folds is {folds}; expected 2 or more")
    predictions = check(labels, mask, probs, np.full(np.shape(mask)[-1], DEFAULT))
    rows, attributes = predictions.mask.shape
    groups = check_groups(groups, rows)
    probs = np.asarray(probs, dtype=np.float64)
    if rule.kind == "fixed":
        return probs >= rule.value
    count = int(groups.max()) + 1 if rows else 0
    rng = np.random.default_rng(seed)
    decisions = np.zeros((rows, attributes), dtype=bool)
    for a in range(attributes):
        label, known = predictions.labels[:, a], predictions.mask[:, a]
        has_positive, has_known = (np.bincount(groups[x], minlength=count) > 0 for x in (label, known))
        shuffled = rng.permutation(count)
        order = shuffled[np.argsort(-(has_positive.astype(int) + has_known)[shuffled], kind="stable")]
        fold_of_group = np.empty(count, dtype=int)
        fold_of_group[order] = np.arange(count) % folds
        fold = fold_of_group[groups]
        for k in range(folds):
            held_out, others = fold == k, known & (fold != k)
            threshold = choose_threshold(label[others], predictions.probs[others, a], rule)
            decisions[held_out, a] = probs[held_out, a] >= threshold
    return decisions
