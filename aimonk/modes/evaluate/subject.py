"""Predictions to be evaluated: of a model on a data set, or from a table."""

import json
import logging
import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from aimonk.data.annotations import Annotations
from aimonk.data.dataset import ImageSet
from aimonk.data.duplicates import find_groups
from aimonk.data.labels import LabelTable
from aimonk.data.loading import Pixels
from aimonk.data.splits import read_assignment
from aimonk.evaluation.calibration import Calibration
from aimonk.evaluation.evaluate import OperatingPoint
from aimonk.files.run_folder import METRICS_FILE, SPLITS_FILE
from aimonk.files.text import listed, plural
from aimonk.inference.predictor import predict_pixels
from aimonk.models.checkpoint import ModelInfo, load_model
from aimonk.report.csv_tables import read_predictions
from aimonk.runtime.device import pick_device
from aimonk.runtime.progress import watch
from aimonk.setup.data import label_paths, open_data, read_table
from aimonk.setup.runs import describe_checkpoint, find_checkpoint, warn_about_training_images

log = logging.getLogger(__name__)


@dataclass
class Subject:
    """Predictions to be evaluated, and their labels.

    Attributes:
        table: Labels, n rows.
        logits: [n, A].
        groups: Group number of each image, [n]; None if not searched.
        operating_points: From logits to predictions, by part.
        images: None where there are predictions only.
        parts: Rows to be scored together, by name.
        annotations: The annotations of all images, where some have several.
        trained: Whether the model was trained on some of the images.
    """

    table: LabelTable
    logits: np.ndarray
    groups: np.ndarray | None
    operating_points: dict[str, OperatingPoint]
    images: ImageSet | None
    parts: dict[str, np.ndarray]
    annotations: Annotations | None = None
    trained: bool = False


def from_checkpoint(cfg: DictConfig) -> Subject:
    """Run a model on the data set, resized to the model's image size."""
    source = find_checkpoint(cfg.checkpoint)
    classifier, info = load_model(source)
    log.info("checkpoint: %s", describe_checkpoint(source, info))
    match = partial(match_attributes, info=info, may_rename=cfg.data.attributes is None)
    cfg = OmegaConf.merge(cfg, {"data": {"image_size": info.image_size, "resize": info.resize}})
    images = open_data(cfg, check=match)
    table = match(images.table)
    pixels = Pixels(images.pixels, lambda images, views: images, info.image_size, info.resize)
    logits = predict_pixels(classifier, pixels, len(table), cfg.batch_size, pick_device(cfg.device))
    trained = warn_about_training_images(source, table.names)
    operating_point = OperatingPoint(
        Calibration(np.array(info.scale), np.array(info.bias)), np.array(info.thresholds)
    )
    groups = find_groups(images.hashes, table.names, cfg.data.duplicate_distance, watch)
    parts, points = {"evaluated": np.arange(len(table))}, {"evaluated": operating_point}
    return Subject(table, logits, groups, points, images, parts, images.file_table.annotations, trained)


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
    """Read a table of probabilities and the labels of its images; no image is read.

    Beside the record of a run, its validation and test images are scored separately, with its thresholds.
    """
    path = Path(cfg.predictions)
    attributes, names, probs, thresholds = read_predictions(path)
    images, labels = label_paths(cfg)
    table = read_table(cfg, labels, images)
    if cfg.data.attributes is None:
        table = name_columns(table, attributes)
    if sorted(table.attributes) != sorted(attributes):
        raise ValueError(
            f"{labels} has the attributes {listed(table.attributes)}; expected {listed(attributes)}, "
            f"those of {cfg.predictions}"
        )
    annotations = table.annotations
    row_of = {name: i for i, name in enumerate(table.names)}
    if images is not None:
        names = [name if name in row_of else relative_name(name, images) for name in names]
    absent = [name for name in names if name not in row_of]
    if absent:
        count = plural(len(absent), "image")
        raise ValueError(f"{labels} has no row for {count} of {cfg.predictions}: {listed(absent)}")
    table = table.take(np.array([row_of[name] for name in names])).select(attributes)
    logits = torch.logit(torch.from_numpy(probs), eps=1e-12).numpy()
    parts, plain = run_parts(path, names), Calibration.identity(len(attributes))
    of_parts = {part: thresholds for part in parts}
    if thresholds is None:
        of_parts = run_thresholds(path, attributes, list(parts))
    points = {part: OperatingPoint(plain, thresholds) for part, thresholds in of_parts.items()}
    return Subject(table, logits, None, points, None, parts, annotations)


def relative_name(name: str, images: Path) -> str:
    """The name of an image file relative to the images folder, since `mode=infer` writes paths."""
    return Path(os.path.relpath(name, images)).as_posix()


def run_parts(predictions: Path, names: list[str]) -> dict[str, np.ndarray]:
    """Rows of the held-out parts of the run that wrote the table, by name; otherwise all rows together."""
    record = predictions.parent / SPLITS_FILE
    part_of = read_assignment(record) if record.is_file() else {}
    parts = np.array([part_of.get(name, "") for name in names])
    held_out = {part: np.flatnonzero(parts == part) for part in ("val", "test") if (parts == part).any()}
    complete = sum(map(len, held_out.values())) == len(names)
    return held_out if complete else {"evaluated": np.arange(len(names))}


def run_thresholds(predictions: Path, attributes: list[str], parts: list[str]) -> dict[str, np.ndarray]:
    """Thresholds of the run that wrote the table, [A] by part; .5 where its metrics.json is not beside it.

    The model that is kept, which test images are scored by, may have others than the scored one.
    """
    half = np.full(len(attributes), 0.5)
    file = predictions.parent / METRICS_FILE
    try:
        metrics = json.loads(file.read_text(encoding="utf-8"))
        scored = {k: p["attributes"] for k, p in metrics.items() if isinstance(p, dict) and "attributes" in p}
        first = next(iter(scored.values()))
        thresholds = {
            part: np.array([scored.get(part, first)[name]["threshold"] for name in attributes], dtype=float)
            for part in parts
        }
    except (OSError, ValueError, TypeError, KeyError, StopIteration, AttributeError, RecursionError):
        return {part: half for part in parts}
    if any((values != half).any() for values in thresholds.values()):
        log.info("thresholds: those of %s; a run chooses them on its own images", file)
    return thresholds
