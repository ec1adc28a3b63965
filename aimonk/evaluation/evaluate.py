"""Judging a model on labelled images: probabilities, thresholds, scores, and how far to believe them."""

from dataclasses import dataclass

import numpy as np

from aimonk.data.splits import stratified_folds
from aimonk.evaluation import metrics
from aimonk.evaluation.bootstrap import add_intervals, bootstrap
from aimonk.evaluation.calibration import Calibration
from aimonk.evaluation.thresholds import choose_thresholds, nested_thresholds, parse_rule, unreached

FOLDS = 5
METHODS = (None, "platt", "temperature")


@dataclass
class OperatingPoint:
    """How logits become answers.

    Attributes:
        calibration: From logits to probabilities.
        thresholds: From which probability on an attribute counts as present, [A].
    """

    calibration: Calibration
    thresholds: np.ndarray


@dataclass
class Evaluation:
    """Scores, and what they were computed from.

    Attributes:
        scores: As `metrics.score`, with intervals and verdicts.
        probs: Probabilities behind the scores, [n, A].
        decisions: Attributes said to be present, [n, A].
    """

    scores: dict
    probs: np.ndarray
    decisions: np.ndarray


def choose_operating_point(
    labels: np.ndarray, mask: np.ndarray, logits: np.ndarray, rule: str | float, calibrate: str | None
) -> OperatingPoint:
    """Fit the calibration and choose the thresholds on images that the model was not trained on.

    Args:
        labels: 0 or 1, [n, A].
        mask: True where known, [n, A].
        logits: Raw scores, [n, A].
        rule: As `thresholds.parse_rule`.
        calibrate: `platt`, `temperature`, or None for none.
    """
    fitted = _fit(labels, mask, logits, calibrate)
    return OperatingPoint(fitted, choose_thresholds(labels, mask, fitted.apply(logits), rule))


def evaluate(
    labels: np.ndarray,
    mask: np.ndarray,
    logits: np.ndarray,
    attributes: list[str],
    groups: np.ndarray | None,
    operating_point: OperatingPoint,
    seed: int,
) -> Evaluation:
    """Score images on which nothing was chosen, neither thresholds nor calibration."""
    probs = operating_point.calibration.apply(logits)
    decisions = probs >= operating_point.thresholds
    return _score(labels, mask, probs, decisions, operating_point.thresholds, attributes, groups, seed)


def evaluate_chosen(
    labels: np.ndarray,
    mask: np.ndarray,
    logits: np.ndarray,
    attributes: list[str],
    groups: np.ndarray | None,
    operating_point: OperatingPoint,
    rule: str | float,
    calibrate: str | None,
    seed: int,
) -> Evaluation:
    """Score the very images on which thresholds and calibration were chosen, without the optimism of that.

    Each fold is answered as the other folds choose. What the choice scores on its own images stands beside it
    under `"optimistic"`, where the two differ.
    """
    if parse_rule(rule).kind == "fixed" and calibrate is None:
        return evaluate(labels, mask, logits, attributes, groups, operating_point, seed)
    probs = _cross_fitted(labels, mask, logits, groups, calibrate, seed)
    if parse_rule(rule).kind == "fixed":
        decisions = probs >= operating_point.thresholds
    else:
        # calibration keeps the order of the images, and the rules look at nothing else
        raw = Calibration.identity(labels.shape[1]).apply(logits)
        decisions = nested_thresholds(labels, mask, raw, rule, groups, FOLDS, seed)
    evaluation = _score(labels, mask, probs, decisions, operating_point.thresholds, attributes, groups, seed)
    chosen = operating_point.calibration.apply(logits)
    optimistic = metrics.score(labels, mask, chosen, operating_point.thresholds, attributes)
    evaluation.scores["optimistic"] = {
        name: optimistic[name] for name in ("f1_macro", "f1_micro", "mean_brier", "mean_ece")
    }
    short = unreached(labels, mask, chosen, operating_point.thresholds, rule)
    evaluation.scores["unreached"] = [name for name, missed in zip(attributes, short, strict=True) if missed]
    return evaluation


def _fit(labels: np.ndarray, mask: np.ndarray, logits: np.ndarray, calibrate: str | None) -> Calibration:
    if calibrate is None:
        return Calibration.identity(labels.shape[1])
    return Calibration.fit(logits, labels, mask, calibrate)


def _cross_fitted(
    labels: np.ndarray,
    mask: np.ndarray,
    logits: np.ndarray,
    groups: np.ndarray | None,
    calibrate: str | None,
    seed: int,
) -> np.ndarray:
    """Probabilities [n, A], each fold's calibrated on the others."""
    available = len(labels) if groups is None else len(np.unique(groups))
    if calibrate is None or available < 2:
        return Calibration.identity(labels.shape[1]).apply(logits)
    fold = stratified_folds(labels, mask, min(FOLDS, available), groups, seed)
    probs = np.empty(logits.shape)
    for k in np.unique(fold):
        others, held_out = fold != k, fold == k
        probs[held_out] = _fit(labels[others], mask[others], logits[others], calibrate).apply(
            logits[held_out]
        )
    return probs


def _score(
    labels: np.ndarray,
    mask: np.ndarray,
    probs: np.ndarray,
    decisions: np.ndarray,
    thresholds: np.ndarray,
    attributes: list[str],
    groups: np.ndarray | None,
    seed: int,
) -> Evaluation:
    scores = metrics.score(labels, mask, probs, thresholds, attributes, decisions)
    intervals = bootstrap(labels, mask, probs, thresholds, groups, seed=seed, decisions=decisions)
    return Evaluation(add_intervals(scores, intervals), probs, decisions)


def verdict(scores: dict) -> str:
    """One sentence: how the model stands against guessing."""
    names = list(scores["attributes"])
    beaten = [name for name in names if scores["attributes"][name]["beats_chance"]]
    figures = ""
    if scores["mean_ap"] is not None:
        figures = f" (mean AP {scores['mean_ap']:.3f}, chance {scores['chance']['mean_ap']:.3f})"
    if not beaten:
        return f"no attribute is told better than by chance{figures}"
    if len(beaten) == len(names):
        return f"every attribute is told better than by chance{figures}"
    others = ", ".join(name for name in names if name not in beaten)
    return f"{len(beaten)} of {len(names)} attributes are told better than by chance, not {others}{figures}"
