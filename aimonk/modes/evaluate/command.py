"""Scores of the predictions, written like those of a run."""

import logging
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf

from aimonk.evaluation.evaluate import (
    Evaluation,
    LabelledLogits,
    OperatingPoint,
    choose_and_evaluate,
    evaluate,
)
from aimonk.evaluation.label_noise import limit_of_scores
from aimonk.evaluation.thresholds import parse_rule
from aimonk.files.atomic import write_json, write_text
from aimonk.files.run_folder import CONFIG_FILE, METRICS_FILE, PREDICTIONS_FILE, REPORT_FILE
from aimonk.files.text import plural
from aimonk.modes.evaluate.subject import Subject, from_checkpoint, from_predictions
from aimonk.report.csv_tables import format_predictions
from aimonk.report.data_notes import data_notes
from aimonk.report.html.run import RunReport, write_report
from aimonk.report.tables import describe_verdict, format_scores
from aimonk.setup.data import describe_data

log = logging.getLogger(__name__)


def run(cfg: DictConfig, out_dir: Path, overrides: list[str]) -> None:
    """Score and write metrics.json, predictions.csv and report.html.

    Raises:
        FileNotFoundError: Data or a checkpoint does not exist.
        ValueError: Errors in the files, or attributes other than the model's.
    """
    if cfg.predictions is not None and cfg.checkpoint is not None:
        raise ValueError("predictions and checkpoint are mutually exclusive; expected one of them")
    if cfg.threshold is not None:
        parse_rule(cfg.threshold)
    subject = from_predictions(cfg) if cfg.predictions is not None else from_checkpoint(cfg)
    table, images, parts = subject.table, subject.images, subject.parts
    settings = OmegaConf.to_yaml(cfg, resolve=True)
    evaluations = {name: evaluate_as_asked(cfg, subject, name) for name in parts}
    metrics = {name: evaluation.scores for name, evaluation in evaluations.items()}
    write_text(out_dir / CONFIG_FILE, settings)
    data = cfg.data
    agreement, limit = limit_of_scores(subject.annotations, table.attributes, data.repeated, data.split_seed)
    write_json(out_dir / METRICS_FILE, metrics | ({"agreement": agreement} if agreement else {}))
    write_text(out_dir / PREDICTIONS_FILE, format_predictions(table, parts, evaluations))
    content = RunReport(
        title=out_dir.name,
        metrics=metrics,
        evaluations=evaluations,
        table=table,
        parts=parts,
        pixels=None if images is None else images.pixels,
        config=settings,
        facts=[
            ("model", f"{cfg.predictions or cfg.checkpoint or 'the newest run'}"),
            ("labels", describe_data(cfg)),
        ],
        files=None if images is None else images.files,
        notes=([] if images is None else data_notes(images, subject.groups, parts))
        + ([("disagreement", limit)] if limit else []),
    )
    write_report(out_dir / REPORT_FILE, content)
    for name, scores in metrics.items():
        title = plural(len(parts[name]), "image")
        log.info("\n%s\n", format_scores(scores, title if len(parts) == 1 else f"{name}: {title}"))
        log.info("verdict: %s", describe_verdict(scores))
    if limit:
        log.info("%s", limit)
    log.info("written: %s", out_dir)


def evaluate_as_asked(cfg: DictConfig, subject: Subject, part: str) -> Evaluation:
    """Score a part with the subject's thresholds, a fixed one, or those of a rule, scored by nested folds."""
    rows, operating_point = subject.parts[part], subject.operating_points[part]
    table, logits = subject.table.take(rows), subject.logits[rows]
    groups = None if subject.groups is None else subject.groups[rows]
    data = LabelledLogits(table, logits, groups, trained=subject.trained)
    if cfg.threshold is None:
        return evaluate(data, operating_point, cfg.data.split_seed)
    rule = parse_rule(cfg.threshold)
    if rule.kind == "fixed":
        fixed = np.full(len(table.attributes), rule.value)
        return evaluate(data, OperatingPoint(operating_point.calibration, fixed), cfg.data.split_seed)
    calibrated = operating_point.calibration.scale * logits + operating_point.calibration.bias
    data = LabelledLogits(table, calibrated, groups, trained=subject.trained)
    return choose_and_evaluate(data, cfg.threshold, cfg.data.split_seed)
