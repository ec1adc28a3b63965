"""`mode=infer`: which attributes do new images have?"""

import glob
import logging
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from aimonk.data.images.folder import decode_all, list_images
from aimonk.files.run_folder import newest_run
from aimonk.inference.predictor import Predictor
from aimonk.models.checkpoint import ModelInfo, load_model
from aimonk.models.classifier import Classifier
from aimonk.report.predictions import Answer, show
from aimonk.runtime.device import pick_device
from aimonk.runtime.progress import show_progress

log = logging.getLogger(__name__)

FORMATS = ("auto", "text", "csv", "json")
ALLOWED = ("mode", "image", "checkpoint", "format", "output", "threshold", "device", "batch_size")


def run(cfg: DictConfig, out_dir: Path, overrides: list[str]) -> None:
    """Print or write which attributes the images have.

    Raises:
        FileNotFoundError: No such image or checkpoint.
        ValueError: An image that cannot be read, told when the others are done; settings that make no sense.
    """
    check_overrides(overrides)
    if cfg.format not in FORMATS:
        raise ValueError(f"format is {cfg.format!r}; expected {', '.join(FORMATS)}")
    if cfg.batch_size < 1:
        raise ValueError(f"batch_size is {cfg.batch_size}; expected 1 or more")
    paths = find_paths(str(cfg.image))
    source = Path(cfg.checkpoint) if cfg.checkpoint is not None else newest_run(Path("outputs"))
    classifier, info = load_model(source)
    thresholds = read_thresholds(cfg.threshold, info)
    log.info("checkpoint: %s (epoch %d, %s)", source, info.epoch, info.chosen_by)

    probs, unreadable = predict_files(classifier, info, paths, cfg.batch_size, pick_device(cfg.device))
    answers = []
    for path, row in probs:
        present = [a for a, p, t in zip(info.attributes, row, thresholds, strict=True) if p >= t]
        answers.append(Answer(str(path), present, dict(zip(info.attributes, row.tolist(), strict=True))))
    show(answers, info.attributes, str(source), cfg.format, cfg.output)
    if unreadable:
        raise ValueError(f"{unreadable} of {len(paths)} images could not be read")


def check_overrides(overrides: list[str]) -> None:
    """See to it that nothing on the command line pretends to change what comes from the checkpoint.

    Raises:
        ValueError: Something does.
    """
    for override in overrides:
        key = override.split("=", 1)[0].lstrip("+~")
        if key not in ALLOWED:
            raise ValueError(
                f"{override}: with mode=infer everything but {', '.join(ALLOWED)} comes from the checkpoint"
            )


def find_paths(image: str) -> list[Path]:
    """The files that `image=` means: a file, the images of a folder, or what a pattern matches.

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
    """The checkpoint's thresholds, or the one given for all attributes.

    Raises:
        ValueError: Not a probability.
    """
    if threshold is None:
        return info.thresholds
    if isinstance(threshold, str) or not 0 <= threshold <= 1:
        raise ValueError(
            f"threshold is {threshold!r}; expected a probability, or null for the checkpoint's own"
        )
    return [float(threshold)] * len(info.attributes)


def predict_files(
    classifier: Classifier, info: ModelInfo, paths: list[Path], batch_size: int, device: torch.device
) -> tuple[list[tuple[Path, np.ndarray]], int]:
    """Calibrated probabilities [A] of every file that can be read, and how many cannot."""
    predictor = Predictor(classifier, device, len(paths))
    scale, bias = torch.tensor(info.scale), torch.tensor(info.bias)
    probs: list[tuple[Path, np.ndarray]] = []
    bad = 0
    with show_progress("images", len(paths)) as bar:
        for batch in decode_batches(paths, info.image_size, info.resize, batch_size):
            for path, problem in batch:
                if isinstance(problem, str):
                    log.error("%s: %s", path, problem)
                    bad += 1
            good = [(path, pixels) for path, pixels in batch if not isinstance(pixels, str)]
            if good:
                images = torch.from_numpy(np.stack([pixels for _, pixels in good])).permute(0, 3, 1, 2)
                rows = torch.sigmoid((scale * predictor(images) + bias).double()).numpy()
                probs += [(path, row) for (path, _), row in zip(good, rows, strict=True)]
            bar.advance(len(batch))
    return probs, bad


def decode_batches(
    paths: list[Path], size: int, resize: str, batch_size: int
) -> Iterator[list[tuple[Path, np.ndarray | str]]]:
    """Batches of files with their pixels, uint8 [size, size, 3], or an error message."""
    # the next batch is decoded while the network processes this one
    decoded = decode_all(paths, size, resize, np.arange(len(paths)), ahead=batch_size)
    while batch := [(paths[row], result) for row, result in islice(decoded, batch_size)]:
        yield batch
