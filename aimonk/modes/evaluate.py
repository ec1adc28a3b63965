"""`mode=evaluate`: scores of a finished model, or of a table of its probabilities, on labelled images."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from aimonk.data.dataset import ImageSet
from aimonk.data.duplicates import find_groups
from aimonk.data.labels import LabelTable, read_labels
from aimonk.data.loading import Pixels
from aimonk.data.splits import read_assignment
from aimonk.evaluation.calibration import Calibration
from aimonk.evaluation.evaluate import (
    Evaluation,
    LabelledLogits,
    OperatingPoint,
    choose_operating_point,
    evaluate,
    evaluate_chosen,
    verdict,
)
from aimonk.evaluation.thresholds import parse_rule
from aimonk.files.atomic import write_json, write_text
from aimonk.files.run_folder import (
    CONFIG_FILE,
    METRICS_FILE,
    PREDICTIONS_FILE,
    REPORT_FILE,
    SPLITS_FILE,
    newest_run,
)
from aimonk.files.text import listed, plural
from aimonk.inference.predictor import predict_pixels
from aimonk.models.checkpoint import ModelInfo, load_model
from aimonk.report.csv_tables import format_predictions, read_predictions
from aimonk.report.data_notes import data_notes
from aimonk.report.html.run import RunReport, write_report
from aimonk.report.tables import format_scores
from aimonk.runtime.device import pick_device
from aimonk.setup.data import label_paths, open_data

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
    table, images, settings = subject.table, subject.images, OmegaConf.to_yaml(cfg, resolve=True)
    evaluation = evaluate_as_asked(cfg, subject)
    parts, evaluations = {"evaluated": np.arange(len(table))}, {"evaluated": evaluation}
    metrics = {"evaluated": evaluation.scores}
    write_text(out_dir / CONFIG_FILE, settings)
    write_json(out_dir / METRICS_FILE, metrics)
    write_text(out_dir / PREDICTIONS_FILE, format_predictions(table, parts, evaluations))
    content = RunReport(
        title=out_dir.name,
        metrics=metrics,
        evaluations=evaluations,
        table=table,
        parts=parts,
        pixels=None if images is None else images.pixels,
        config=settings,
        notes=[] if images is None else data_notes(images, subject.groups, parts),
    )
    write_report(out_dir / REPORT_FILE, content)
    log.info("\n%s\n", format_scores(evaluation.scores, plural(len(table), "image")))
    log.info("verdict: %s", verdict(evaluation.scores))
    log.info("written: %s", out_dir)


@dataclass
class Subject:
    """Predictions to be evaluated, and their labels.

    Attributes:
        table: Labels, n rows.
        logits: [n, A].
        groups: Group number of each image, [n]; None if not searched.
        operating_point: From logits to predictions.
        images: None where there are predictions only.
    """

    table: LabelTable
    logits: np.ndarray
    groups: np.ndarray | None
    operating_point: OperatingPoint
    images: ImageSet | None


def evaluate_as_asked(cfg: DictConfig, subject: Subject) -> Evaluation:
    """Score with the thresholds of the model, a fixed one, or those of a rule, scored by nested folds."""
    table, logits, operating_point = subject.table, subject.logits, subject.operating_point
    data = LabelledLogits(table, logits, subject.groups)
    if cfg.threshold is None:
        return evaluate(data, operating_point, cfg.seed)
    rule = parse_rule(cfg.threshold)
    if rule.kind == "fixed":
        fixed = np.full(len(table.attributes), rule.value)
        return evaluate(data, OperatingPoint(operating_point.calibration, fixed), cfg.seed)
    calibrated = operating_point.calibration.scale * logits + operating_point.calibration.bias
    data = LabelledLogits(table, calibrated, subject.groups)
    chosen = choose_operating_point(data, cfg.threshold, None)
    return evaluate_chosen(data, chosen, cfg.threshold, None, cfg.seed)


def from_checkpoint(cfg: DictConfig) -> Subject:
    """Run a model on the data set, resized to the model's image size."""
    source = Path(cfg.checkpoint) if cfg.checkpoint is not None else newest_run(Path("outputs"))
    classifier, info = load_model(source)
    log.info("checkpoint: %s (epoch %d, %s)", source, info.epoch, info.chosen_by)
    cfg = OmegaConf.merge(cfg, {"data": {"image_size": info.image_size, "resize": info.resize}})
    images = open_data(cfg)
    table = match_attributes(images.table, info, cfg.data.attributes is None)
    pixels = Pixels(images.pixels, lambda images, views: images, info.image_size, info.resize)
    logits = predict_pixels(classifier, pixels, len(table), cfg.batch_size, pick_device(cfg.device))
    warn_about_training_images(source, table.names)
    operating_point = OperatingPoint(
        Calibration(np.array(info.scale), np.array(info.bias)), np.array(info.thresholds)
    )
    groups = find_groups(images.pixels, table.names, cfg.data.duplicate_distance)
    return Subject(table, logits, groups, operating_point, images)


def warn_about_training_images(source: Path, names: list[str]) -> None:
    """Warn if images to be scored have the names of training images of the model's run."""
    record = (source if source.is_dir() else source.parent) / SPLITS_FILE
    if not record.is_file():
        return
    trained = {name for name, part in read_assignment(record).items() if part == "train"}
    seen = sum(name in trained for name in names)
    if seen:
        total = plural(len(names), "image")
        log.warning("the model was trained on %d of these %s, by name: the scores are too high", seen, total)


def match_attributes(table: LabelTable, info: ModelInfo, may_rename: bool) -> LabelTable:
    """The labels with the model's attributes in the model's order.

    Args:
        may_rename: Whether columns without names, of a file without a header, take the model's.

    Raises:
        ValueError: The attributes are not the model's.
    """
    table = name_columns(table, info.attributes) if may_rename else table
    if sorted(table.attributes) != sorted(info.attributes):
        raise ValueError(
            f"the labels have the attributes {listed(table.attributes)}; expected {listed(info.attributes)}, "
            "those of the model; data.attributes=[...] names the columns of a file without a header"
        )
    return table.select(info.attributes)


def name_columns(table: LabelTable, attributes: list[str]) -> LabelTable:
    """The labels with these names where a file without a header has as many columns."""
    unnamed = table.attributes == [f"Attr{i + 1}" for i in range(len(attributes))]
    return replace(table, attributes=attributes) if unnamed else table


def from_predictions(cfg: DictConfig) -> Subject:
    """Read a table of probabilities and the labels of its images; no image is read."""
    attributes, names, probs = read_predictions(Path(cfg.predictions))
    labels = label_paths(cfg)[1]
    table = read_labels(labels, cfg.data.attributes)
    if cfg.data.attributes is None:
        table = name_columns(table, attributes)
    if sorted(table.attributes) != sorted(attributes):
        raise ValueError(
            f"{labels} has the attributes {listed(table.attributes)}; expected {listed(attributes)}, "
            f"those of {cfg.predictions}"
        )
    row_of = {name: i for i, name in enumerate(table.names)}
    absent = [name for name in names if name not in row_of]
    if absent:
        count = plural(len(absent), "image")
        raise ValueError(f"{labels} has no row for {count} of {cfg.predictions}: {listed(absent)}")
    table = table.take(np.array([row_of[name] for name in names])).select(attributes)
    logits = torch.logit(torch.from_numpy(probs), eps=1e-12).numpy()
    count = len(attributes)
    operating_point = OperatingPoint(Calibration.identity(count), np.full(count, 0.5))
    return Subject(table, logits, None, operating_point, None)
