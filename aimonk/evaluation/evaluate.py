"""Evaluation of a model on labelled images: probabilities, thresholds, and scores with intervals."""

from dataclasses import dataclass

import numpy as np

from aimonk.data.labels import LabelTable
from aimonk.data.splits import stratified_folds
from aimonk.evaluation import metrics
from aimonk.evaluation.association import Dependence, strongest_dependence
from aimonk.evaluation.bootstrap import add_intervals, bootstrap
from aimonk.evaluation.calibration import Calibration
from aimonk.evaluation.missing_range import add_ranges, find_dependent
from aimonk.evaluation.significance import holm, rank_test
from aimonk.evaluation.thresholds import choose_thresholds, nested_thresholds, parse_rule, unreached

FOLDS = 5
METHODS = (None, "platt", "temperature")


@dataclass(frozen=True)
class LabelledLogits:
    """Logits of labelled images.

    Attributes:
        table: Labels, n rows.
        logits: Raw scores, [n, A].
        groups: Group number of each image, [n]; None: each image is a group.
        dependence: Of NA on values of other attributes, A, from more images; None: measured on these.
        trained: Whether the model was trained on some of these images.
    """

    table: LabelTable
    logits: np.ndarray
    groups: np.ndarray | None
    dependence: list[Dependence | None] | None = None
    trained: bool = False


@dataclass
class OperatingPoint:
    """How logits become decisions.

    Attributes:
        calibration: From logits to probabilities.
        thresholds: Lowest probability at which an attribute is predicted, [A].
    """

    calibration: Calibration
    thresholds: np.ndarray


@dataclass
class Evaluation:
    """Scores, and the predictions behind them.

    Attributes:
        scores: As `metrics.score`, with intervals and `beats_chance`.
        probs: Probabilities, [n, A].
        decisions: Predicted attributes, [n, A].
    """

    scores: dict
    probs: np.ndarray
    decisions: np.ndarray


def choose_operating_point(data: LabelledLogits, rule: str | float, calibrate: str | None) -> OperatingPoint:
    """Fit the calibration and choose the thresholds; the model must not be trained on these images.

    Args:
        rule: As `thresholds.parse_rule`.
        calibrate: One of `METHODS`; None for the plain sigmoid.
    """
    fitted = _fit(data, np.arange(len(data.table)), calibrate)
    probs = fitted.apply(data.logits)
    return OperatingPoint(fitted, choose_thresholds(data.table.labels, data.table.mask, probs, rule))


def evaluate(data: LabelledLogits, operating_point: OperatingPoint, seed: int) -> Evaluation:
    """Score images on which neither thresholds nor calibration were chosen."""
    probs = operating_point.calibration.apply(data.logits)
    return _score(data, probs, probs >= operating_point.thresholds, operating_point.thresholds, seed)


def evaluate_chosen(
    data: LabelledLogits, operating_point: OperatingPoint, rule: str | float, calibrate: str | None, seed: int
) -> Evaluation:
    """Score the images on which thresholds and calibration were chosen, by cross-fitting and thus unbiased.

    Each fold is decided by what the other folds choose. Where they differ, the scores of the choice on its
    own images are under `"optimistic"`, and those without calibration under `"uncalibrated"`.
    """
    table, thresholds, is_fixed = data.table, operating_point.thresholds, parse_rule(rule).kind == "fixed"
    if is_fixed and calibrate is None:
        return evaluate(data, operating_point, seed)
    probs = _cross_fit(data, calibrate, seed)
    if is_fixed:
        decisions = probs >= thresholds
    else:
        # calibration preserves the order of the images, on which alone the rules depend
        raw = Calibration.identity(len(table.attributes)).apply(data.logits)
        decisions = nested_thresholds(table.labels, table.mask, raw, rule, data.groups, FOLDS, seed)
    evaluation = _score(data, probs, decisions, thresholds, seed)
    chosen = operating_point.calibration.apply(data.logits)
    optimistic = metrics.score(table.labels, table.mask, chosen, thresholds, table.attributes)
    evaluation.scores["optimistic"] = {
        name: optimistic[name] for name in ("f1_macro", "f1_micro", "mean_brier", "mean_ece")
    }
    describe_choice(evaluation, data, operating_point, rule, calibrate, data)
    return evaluation


def describe_choice(
    evaluation: Evaluation,
    data: LabelledLogits,
    operating_point: OperatingPoint,
    rule: str | float,
    calibrate: str | None,
    chosen_on: LabelledLogits,
) -> None:
    """Add scores without calibration, and the attributes whose precision the rule does not reach.

    Args:
        data: The images of the evaluation.
        chosen_on: Those on which thresholds and calibration were chosen.
    """
    table, thresholds = data.table, operating_point.thresholds
    if calibrate is not None:
        raw = Calibration.identity(len(table.attributes)).apply(data.logits)
        before = metrics.score(table.labels, table.mask, raw, thresholds, table.attributes)
        evaluation.scores["uncalibrated"] = {name: before[name] for name in ("mean_brier", "mean_ece")}
    of, probs = chosen_on.table, operating_point.calibration.apply(chosen_on.logits)
    missed = unreached(of.labels, of.mask, probs, thresholds, rule)
    evaluation.scores["unreached"] = [of.attributes[a] for a in np.flatnonzero(missed)]


def choose_and_evaluate(data: LabelledLogits, rule: str | float, seed: int) -> Evaluation:
    """Choose thresholds by a rule, and score them on the same images by nested folds."""
    return evaluate_chosen(data, choose_operating_point(data, rule, None), rule, None, seed)


def _fit(data: LabelledLogits, rows: np.ndarray, calibrate: str | None) -> Calibration:
    if calibrate is None:
        return Calibration.identity(len(data.table.attributes))
    return Calibration.fit(data.logits[rows], data.table.labels[rows], data.table.mask[rows], calibrate)


def _cross_fit(data: LabelledLogits, calibrate: str | None, seed: int) -> np.ndarray:
    """Probabilities [n, A], each fold calibrated on the other folds."""
    table = data.table
    available = len(table) if data.groups is None else len(np.unique(data.groups))
    if calibrate is None or available < 2:
        return Calibration.identity(len(table.attributes)).apply(data.logits)
    fold = stratified_folds(table.labels, table.mask, min(FOLDS, available), data.groups, seed)
    probs = np.empty(data.logits.shape)
    for k in np.unique(fold):
        probs[fold == k] = _fit(data, fold != k, calibrate).apply(data.logits[fold == k])
    return probs


def _score(
    data: LabelledLogits, probs: np.ndarray, decisions: np.ndarray, thresholds: np.ndarray, seed: int
) -> Evaluation:
    predicted = (data.table.labels, data.table.mask, probs, thresholds)
    scores = metrics.score(*predicted, data.table.attributes, decisions)
    intervals = bootstrap(*predicted, data.groups, seed=seed, decisions=decisions)
    p_adjusted = holm(rank_test(data.table.labels, data.table.mask, probs, data.groups))
    scores = add_intervals(scores, intervals, p_adjusted)
    return Evaluation(_add_ranges(data, scores, probs, decisions, seed), probs, decisions)


def _add_ranges(
    data: LabelledLogits, scores: dict, probs: np.ndarray, decisions: np.ndarray, seed: int
) -> dict:
    """The scores with their range over the values of NA, where labels are not missing at random."""
    table = data.table
    dependence = data.dependence or measure_dependence(table, data.groups)
    dependent = find_dependent(table.mask, probs, table.attributes, dependence, data.groups, data.trained)
    return add_ranges(scores, table.labels, table.mask, data.logits, probs, decisions, dependent, seed)


def measure_dependence(table: LabelTable, groups: np.ndarray | None) -> list[Dependence | None]:
    """Dependence of NA on values of other attributes, A, on one image of each group."""
    first = slice(None) if groups is None else np.unique(groups, return_index=True)[1]
    return strongest_dependence(table.labels[first], table.mask[first])


def verdict(scores: dict) -> str:
    """One sentence on whether the attributes are predicted better than chance."""
    count, others = len(scores["attributes"]), len(not_above_chance(scores))
    mean = ""
    if scores["mean_ap"] is not None:
        mean = f" (mean AP {scores['mean_ap']:.3f}, chance {scores['chance']['mean_ap']:.3f})"
    if others == count:
        return f"no attribute is predicted better than chance{mean}"
    if not others:
        return f"all attributes are predicted better than chance{mean}"
    verb = "is" if count - others == 1 else "are"
    return f"{count - others} of {count} attributes {verb} predicted better than chance{mean}"


def not_above_chance(scores: dict) -> list[str]:
    """Attributes without evidence of a score above chance."""
    return [name for name, entry in scores["attributes"].items() if not entry["beats_chance"]]
