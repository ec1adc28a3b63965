"""Thresholds and scores of a trained model on the held-out images."""

import logging
from dataclasses import replace

import numpy as np

from aimonk.evaluation.calibration import Calibration
from aimonk.evaluation.evaluate import (
    Evaluation,
    LabelledLogits,
    OperatingPoint,
    choose_operating_point,
    describe_choice,
    evaluate,
    evaluate_chosen,
    measure_dependence,
)
from aimonk.evaluation.thresholds import parse_rule
from aimonk.modes.train.context import RunContext
from aimonk.modes.train.one_model import TrainedModel
from aimonk.training.solver import SolvedHead

log = logging.getLogger(__name__)


def choose_thresholds(run: RunContext, model: TrainedModel) -> OperatingPoint:
    """Thresholds and calibration from out-of-fold predictions of a solved head, or from validation images."""
    if model.solved is not None:
        return choose_operating_point(out_of_fold(run, model.solved), run.cfg.threshold, run.cfg.calibrate)
    if "val" in model.logits:
        return choose_held_out(run, model.parts["val"], model.logits["val"])
    cfg, count = run.cfg, len(run.images.table.attributes)
    rule = parse_rule(cfg.threshold)
    if rule.kind != "fixed" or cfg.calibrate is not None:
        log.warning("no images are held out to choose thresholds or a calibration: .5 and none are used")
    fixed = rule.value if rule.kind == "fixed" else 0.5
    return OperatingPoint(Calibration.identity(count), np.full(count, fixed))


def choose_held_out(run: RunContext, rows: np.ndarray, logits: np.ndarray) -> OperatingPoint:
    """Thresholds and calibration from logits of rows that the model was not trained on."""
    data = LabelledLogits(run.images.table.take(rows), logits, None)
    return choose_operating_point(data, run.cfg.threshold, run.cfg.calibrate)


def out_of_fold(run: RunContext, solved: SolvedHead) -> LabelledLogits:
    """Training images with out-of-fold logits; entries without one count as unknown."""
    table, exists = run.images.table.take(solved.rows), np.isfinite(solved.logits)
    known = replace(table, mask=table.mask & exists)
    return LabelledLogits(known, np.where(exists, solved.logits, 0), None)


def evaluate_parts(
    run: RunContext, model: TrainedModel, operating_point: OperatingPoint, logits: dict[str, np.ndarray]
) -> dict[str, Evaluation]:
    """Scores of the held-out parts, by name."""
    cfg, evaluations = run.cfg, {}
    chosen_on = None if model.solved is None else out_of_fold(run, model.solved)
    for name, values in logits.items():
        rows, chosen = model.parts[name], name == "val" and chosen_on is None
        evaluations[name] = evaluate_rows(run, rows, values, operating_point, chosen)
        if chosen_on is not None:
            data = LabelledLogits(run.images.table.take(rows), values, None)
            describe_choice(evaluations[name], data, operating_point, cfg.threshold, cfg.calibrate, chosen_on)
    return evaluations


def evaluate_rows(
    run: RunContext, rows: np.ndarray, logits: np.ndarray, operating_point: OperatingPoint, chosen: bool
) -> Evaluation:
    """Scores of some rows.

    Args:
        chosen: Whether thresholds and calibration were chosen on these rows.
    """
    cfg, table, seed = run.cfg, run.images.table, run.cfg.data.split_seed
    groups = None if run.groups is None else run.groups[rows]
    data = LabelledLogits(table.take(rows), logits, groups, measure_dependence(table, run.groups))
    if chosen:
        return evaluate_chosen(data, operating_point, cfg.threshold, cfg.calibrate, seed)
    return evaluate(data, operating_point, seed)
