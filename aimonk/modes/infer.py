"""`mode=infer`: predict the attributes of new images."""

import glob
import logging
import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from aimonk.data.images.folder import decode_all, list_images
from aimonk.files.atomic import write_text
from aimonk.files.text import listed, plural, printable
from aimonk.inference.onnx_file import OnnxModel
from aimonk.inference.predictor import CalibratedModel, open_model
from aimonk.models.checkpoint import ModelInfo
from aimonk.report.predictions import Prediction, Predictions, print_table, to_csv, to_json, to_jsonl, to_text
from aimonk.runtime.device import pick_device
from aimonk.runtime.progress import show_progress
from aimonk.setup.effects import given_keys
from aimonk.setup.runs import describe_checkpoint, find_checkpoint

log = logging.getLogger(__name__)

FORMATS = ("auto", "text", "csv", "json", "jsonl")
ALLOWED = ("mode", "image", "checkpoint", "format", "output", "threshold", "device", "batch_size")


def run(cfg: DictConfig, out_dir: Path, overrides: list[str]) -> None:
    """Print or write the predictions for the images.

    Raises:
        FileNotFoundError: No such image or checkpoint.
        ValueError: An invalid setting, or unreadable images, which are reported after all others are done.
    """
    check_overrides(overrides)
    if cfg.format not in FORMATS:
        raise ValueError(f"format is {cfg.format!r}; expected {', '.join(FORMATS)}")
    if cfg.batch_size < 1:
        raise ValueError(f"batch_size is {cfg.batch_size}; expected 1 or more")
    paths = find_paths(str(cfg.image))
    check_output(cfg.output, paths)
    source = find_checkpoint(cfg.checkpoint)
    model = open_model(source, pick_device(cfg.device), len(paths))
    info = model.info
    thresholds = read_thresholds(cfg.threshold, info)
    log.info("checkpoint: %s", describe_checkpoint(source, info))

    probs, unreadable = predict_files(model, paths, cfg.batch_size)
    images = []
    for path, row in probs:
        present = [a for a, p, t in zip(info.attributes, row, thresholds, strict=True) if p >= t]
        by_name = dict(zip(info.attributes, row.tolist(), strict=True))
        images.append(Prediction(str(path), present, by_name))
    limits = dict(zip(info.attributes, thresholds, strict=True))
    verdicts = dict(zip(info.attributes, info.beats_chance, strict=True))
    predictions = Predictions(images, str(source), limits, verdicts)
    write_predictions(predictions, cfg.format, cfg.output)
    if predictions.doubtful:
        log.warning(
            "the model's run found no evidence that it predicts better than chance: %s",
            listed(predictions.doubtful),
        )
    if unreadable:
        raise ValueError(f"{unreadable} of {plural(len(paths), 'image')} could not be read")


def check_output(output: str | None, paths: list[Path]) -> None:
    """Reject an output file that is one of the images, or that cannot be written.

    Raises:
        ValueError: It is one of the images.
        FileNotFoundError: Its folder does not exist.
    """
    if output is not None and not Path(output).absolute().parent.is_dir():
        raise FileNotFoundError(f"output is {output}; expected a file in an existing folder")
    if output is not None and os.path.realpath(output) in map(os.path.realpath, paths):
        raise ValueError(f"output is {output}; expected another file than the images")


def check_overrides(overrides: list[str]) -> None:
    """Reject overrides of settings that come from the checkpoint.

    Raises:
        ValueError: There is such an override.
    """
    for override, key in zip(overrides, given_keys(overrides), strict=True):
        if key not in ALLOWED:
            allowed = ", ".join(ALLOWED)
            raise ValueError(
                f"{override}: with mode=infer, all settings but {allowed} come from the checkpoint"
            )


def find_paths(image: str) -> list[Path]:
    """The files that `image=` names: a file, the images of a folder, or the matches of a pattern.

    Raises:
        FileNotFoundError: There are none.
    """
    path = Path(image)
    if path.is_dir():
        found = [path / name for name in list_images(path)]
    elif os.path.lexists(path):
        found = [path]
    else:
        found = sorted(p for p in map(Path, glob.glob(image, recursive=True)) if not p.is_dir())
    if not found:
        raise FileNotFoundError(f"no image at {path.absolute()}")
    return found


def read_thresholds(threshold: float | None, info: ModelInfo) -> list[float]:
    """The checkpoint's thresholds, or one threshold for all attributes.

    Raises:
        ValueError: The threshold is not a probability.
    """
    if threshold is None:
        return info.thresholds
    if isinstance(threshold, str) or not 0 <= threshold <= 1:
        raise ValueError(
            f"threshold is {threshold!r}; expected a probability, or null for the checkpoint's thresholds"
        )
    return [float(threshold)] * len(info.attributes)


def predict_files(
    model: CalibratedModel | OnnxModel, paths: list[Path], batch_size: int
) -> tuple[list[tuple[Path, np.ndarray]], int]:
    """Calibrated probabilities [A] for each readable file, and the number of unreadable files."""
    info = model.info
    probs: list[tuple[Path, np.ndarray]] = []
    unreadable = 0
    with show_progress("images", len(paths)) as bar:
        for batch in decode_batches(paths, info.image_size, info.resize, batch_size):
            readable = []
            for path, pixels in batch:
                if isinstance(pixels, str):
                    log.error("%s: %s", path, pixels)
                    unreadable += 1
                else:
                    readable.append((path, pixels))
            if readable:
                rows = model(np.stack([pixels for _, pixels in readable]))
                probs += [(path, row) for (path, _), row in zip(readable, rows, strict=True)]
            bar.advance(len(batch))
    return probs, unreadable


def decode_batches(
    paths: list[Path], size: int, resize: str, batch_size: int
) -> Iterator[list[tuple[Path, np.ndarray | str]]]:
    """Batches of files with their pixels, uint8 [size, size, 3], or an error message."""
    # the next batch is decoded while the network processes this one
    decoded = decode_all(paths, size, resize, np.arange(len(paths)), ahead=batch_size)
    while batch := [(paths[row], result) for row, result in islice(decoded, batch_size)]:
        yield batch


def write_predictions(predictions: Predictions, format: str, output: str | None) -> None:
    """Write the predictions to a file, or to the terminal where `output` is None.

    `auto` takes the format from the output's suffix; on a terminal it prints a table.
    """
    suffix = "" if output is None else Path(output).suffix.lower()
    if format == "auto" and suffix == ".png":
        # loading matplotlib takes as long as predicting for many images
        from aimonk.report.plots.prediction import plot_predictions

        if predictions.images:
            plot_predictions(Path(output), predictions.images)
        return
    if format == "auto" and output is None and sys.stdout.isatty():
        return print_table(predictions)
    if format == "auto":
        format = suffix.removeprefix(".")
    if format == "csv":
        content = to_csv(predictions)
    elif format == "json":
        content = to_json(predictions)
    elif format == "jsonl":
        content = to_jsonl(predictions)
    else:
        content = to_text(predictions)
    if output is None:
        sys.stdout.write("\n".join(map(printable, content.split("\n"))) if sys.stdout.isatty() else content)
    else:
        write_text(Path(output), content)
        log.info("predictions for %s: %s", plural(len(predictions.images), "image"), output)
