"""`mode=evaluate`: how good is a finished model, or a table of its probabilities, on labelled images?"""

import csv
import logging
from dataclasses import dataclass
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
from aimonk.files.run_folder import newest_run
from aimonk.files.text import listed, tell, unguard
from aimonk.inference.predictor import predict_pixels
from aimonk.models.checkpoint import ModelInfo, load_model
from aimonk.report.csv_tables import format_predictions
from aimonk.report.html.run import REPORT_FILE, data_notes, write_report
from aimonk.report.tables import format_scores
from aimonk.runtime.device import pick_device
from aimonk.setup.data import label_paths, open_data

log = logging.getLogger(__name__)


def run(cfg: DictConfig, out_dir: Path, overrides: list[str]) -> None:
    """Score and write metrics.json, predictions.csv and report.html.

    Raises:
        FileNotFoundError: Data or a checkpoint that is not there.
        ValueError: Files with mistakes, or attributes that are not those of the model.
    """
    if cfg.predictions is not None and cfg.checkpoint is not None:
        raise ValueError("predictions= and checkpoint= exclude one another: which of them shall be scored?")
    if cfg.threshold is not None:
        parse_rule(cfg.threshold)
    subject = from_predictions(cfg) if cfg.predictions is not None else from_checkpoint(cfg)
    table = subject.table
    evaluation = evaluate_as_asked(cfg, subject)
    parts, evaluations = {"evaluated": np.arange(len(table))}, {"evaluated": evaluation}
    settings, report = OmegaConf.to_yaml(cfg, resolve=True), {"evaluated": evaluation.scores}
    write_text(out_dir / "config.yaml", settings)
    write_json(out_dir / "metrics.json", report)
    write_text(out_dir / "predictions.csv", format_predictions(table, parts, evaluations))
    notes = data_notes(subject.images, subject.groups, parts) if subject.images is not None else []
    pixels = None if subject.images is None else subject.images.pixels
    write_report(
        out_dir / REPORT_FILE, out_dir.name, report, evaluations, table, parts, pixels, settings, notes
    )
    log.info("\n%s\n", format_scores(evaluation.scores, f"{len(table)} images"))
    log.info("verdict: %s", verdict(evaluation.scores))
    log.info("written: %s", out_dir)


@dataclass
class Subject:
    """What is evaluations.

    Attributes:
        table: Labels, n rows.
        logits: Of the same images, [n, A].
        groups: Group number of each image, [n]; None where nobody looked.
        operating_point: From logits to answers.
        images: None where there are predictions only.
    """

    table: LabelTable
    logits: np.ndarray
    groups: np.ndarray | None
    operating_point: OperatingPoint
    images: ImageSet | None


def evaluate_as_asked(cfg: DictConfig, subject: Subject) -> Evaluation:
    """Score with the given thresholds, a fixed one, or by a rule whose choice is scored honestly."""
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
    """Run a model over the data set, which is brought to the model's image size."""
    source = Path(cfg.checkpoint) if cfg.checkpoint is not None else newest_run(Path("outputs"))
    classifier, info = load_model(source)
    log.info("checkpoint: %s (epoch %d, %s)", source, info.epoch, info.chosen_by)
    cfg = OmegaConf.merge(cfg, {"data": {"image_size": info.image_size, "resize": info.resize}})
    images = open_data(cfg)
    columns = match_attributes(images.table.attributes, info, cfg.data.attributes is None)
    table = images.table
    table = LabelTable(table.names, info.attributes, table.labels[:, columns], table.mask[:, columns])
    pixels = Pixels(images.pixels, lambda images, views: images, info.image_size, info.resize)
    logits = predict_pixels(classifier, pixels, len(table), cfg.batch_size, pick_device(cfg.device))
    warn_about_training_images(source, table.names)
    operating_point = OperatingPoint(
        Calibration(np.array(info.scale), np.array(info.bias)), np.array(info.thresholds)
    )
    groups = find_groups(images.pixels, table.names, cfg.data.duplicate_distance)
    return Subject(table, logits, groups, operating_point, images)


def warn_about_training_images(source: Path, names: list[str]) -> None:
    """Warn where the run's own record says that the model was trained on images it is now scored on."""
    record = (source if source.is_dir() else source.parent) / "splits.csv"
    if not record.is_file():
        return
    trained = {name for name, part in read_assignment(record).items() if part == "train"}
    seen = [name for name in names if name in trained]
    if seen:
        log.warning(
            "%d of these %d images have the names of images that the model was trained on: it is flattered",
            len(seen),
            len(names),
        )


def match_attributes(given: list[str], info: ModelInfo, unnamed: bool) -> list[int]:
    """Columns of the label file in the model's order.

    A file without a header takes the model's names, if it has as many columns.

    Raises:
        ValueError: The attributes are not the model's.
    """
    if unnamed and given == [f"Attr{i + 1}" for i in range(len(info.attributes))]:
        return list(range(len(given)))
    if sorted(given) != sorted(info.attributes):
        raise ValueError(
            f"the model has the attributes {listed(info.attributes)}; the labels have {listed(given)}. "
            "data.attributes=[...] names the columns of a file without a header"
        )
    return [given.index(name) for name in info.attributes]


def from_predictions(cfg: DictConfig) -> Subject:
    """Read a table of probabilities and the labels of its images; no image is opened."""
    attributes, names, probs = read_predictions(Path(cfg.predictions))
    labels = label_paths(cfg)[1]
    given = cfg.data.attributes
    if given is None:
        plain = read_labels(labels, None)
        unnamed = plain.attributes == [f"Attr{i + 1}" for i in range(len(attributes))]
        given = attributes if unnamed else plain.attributes
    table = read_labels(labels, list(given))
    if sorted(table.attributes) != sorted(attributes):
        raise ValueError(
            f"{cfg.predictions} has the attributes {listed(attributes)}, "
            f"{labels} has {listed(table.attributes)}"
        )
    row_of = {name: i for i, name in enumerate(table.names)}
    absent = [name for name in names if name not in row_of]
    if absent:
        raise ValueError(
            f"{len(absent)} images of {cfg.predictions} have no row in {labels}: {listed(absent)}"
        )
    table = table.take(np.array([row_of[name] for name in names]))
    columns = [table.attributes.index(name) for name in attributes]
    table = LabelTable(names, attributes, table.labels[:, columns], table.mask[:, columns])
    logits = torch.logit(torch.from_numpy(probs), eps=1e-12).numpy()
    count = len(attributes)
    operating_point = OperatingPoint(Calibration.identity(count), np.full(count, 0.5))
    return Subject(table, logits, None, operating_point, None)


def read_predictions(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    """Attributes, image names and probabilities [n, A] of a table such as a run's predictions.csv.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file has mistakes; the message tells the first ten with their lines.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no predictions at {path.absolute()}")
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a CSV table ({error})") from None
    if len(rows) < 2 or len(rows[0]) < 2:
        raise ValueError(f"{path}: expected a header and rows such as 'image_0.jpg,0.91,0.07'")
    attributes, names, probs, mistakes = [unguard(name) for name in rows[0][1:]], [], [], []
    for line, row in enumerate(rows[1:], start=2):
        try:
            values = [float(value) for value in row[1:]]
        except ValueError:
            values = []
        if len(values) != len(attributes) or not all(0 <= value <= 1 for value in values):
            mistakes.append(f"{path} line {line}: expected an image and {len(attributes)} probabilities")
        else:
            names.append(unguard(row[0]))
            probs.append(values)
    if mistakes:
        raise ValueError(tell(mistakes))
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: an image stands there twice")
    return attributes, names, np.array(probs)
