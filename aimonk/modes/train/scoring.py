"""Thresholds and scores of a trained model on the held-out images."""

import logging

import numpy as np

from aimonk.evaluation.calibration import Calibration
from aimonk.evaluation.evaluate import (
    Evaluation,
    LabelledLogits,
    OperatingPoint,
    choose_operating_point,
    evaluate,
    evaluate_chosen,
    measure_dependence,
)
from aimonk.evaluation.thresholds import parse_rule
from aimonk.modes.train.context import Parts, RunContext

log = logging.getLogger(__name__)


def choose_thresholds(run: RunContext, rows: np.ndarray, logits: np.ndarray | None) -> OperatingPoint:
    """Thresholds and calibration from held-out images; a fixed threshold where there are none."""
    cfg, table, rule = run.cfg, run.images.table, parse_rule(run.cfg.threshold)
    if logits is not None:
        return choose_operating_point(
            LabelledLogits(table.take(rows), logits, None), cfg.threshold, cfg.calibrate
        )
    if rule.kind != "fixed" or cfg.calibrate is not None:
        log.warning("no images are held out to choose thresholds or a calibration: .5 and none are used")
    count = len(table.attributes)
    fixed = rule.value if rule.kind == "fixed" else 0.5
    return OperatingPoint(Calibration.identity(count), np.full(count, fixed))


def evaluate_parts(
    run: RunContext, parts: Parts, logits: dict[str, np.ndarray], operating_point: OperatingPoint
) -> dict[str, Evaluation]:
    """Scores of the held-out parts, by name; thresholds were chosen on "val"."""
    cfg, table, evaluations = run.cfg, run.images.table, {}
    seed, dependence = cfg.data.split_seed, measure_dependence(table, run.groups)
    for name, values in logits.items():
        rows = parts[name]
        groups = None if run.groups is None else run.groups[rows]
        data = LabelledLogits(table.take(rows), values, groups, dependence)
        if name == "val":
            evaluations[name] = evaluate_chosen(data, operating_point, cfg.threshold, cfg.calibrate, seed)
        else:
            evaluations[name] = evaluate(data, operating_point, seed)
    return evaluations
