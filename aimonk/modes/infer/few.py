"""Predictions for a few images, in this process and in memory."""

import logging
import os
from itertools import chain
from pathlib import Path

from omegaconf import DictConfig

from aimonk.files.text import plural
from aimonk.inference.blocks.block import Block
from aimonk.inference.images import Answer, predict_images
from aimonk.inference.onnx_file import OnnxModel
from aimonk.inference.predictor import SEVERAL, CalibratedModel, open_model
from aimonk.modes.infer.decisions import read_thresholds, warn_of_doubtful
from aimonk.modes.infer.writing import write_predictions
from aimonk.report.predictions import Prediction, Predictions
from aimonk.runtime.device import pick_device
from aimonk.runtime.progress import show_progress
from aimonk.setup.runs import describe_checkpoint

log = logging.getLogger(__name__)


def predict_few(cfg: DictConfig, blocks: list[Block], source: Path) -> None:
    """Predict in this process, hold all predictions, and write them; errors as `run`, of command.py."""
    in_shards = blocks[0].shard is not None
    count = None if in_shards else sum(len(block.files) for block in blocks)
    model = open_model(source, pick_device(cfg.device), SEVERAL if count is None else count)
    info = model.info
    thresholds = read_thresholds(cfg.threshold, info)
    log.info("checkpoint: %s", describe_checkpoint(source, info))

    answers = predict_blocks(model, blocks, cfg.batch_size, count)
    images = []
    for answer in answers:
        if answer.probs is None:
            continue
        present = [a for a, p, t in zip(info.attributes, answer.probs, thresholds, strict=True) if p >= t]
        by_name = dict(zip(info.attributes, answer.probs.tolist(), strict=True))
        images.append(Prediction(answer.image, present, by_name))
    limits = dict(zip(info.attributes, thresholds, strict=True))
    verdicts = dict(zip(info.attributes, info.beats_chance, strict=True))
    predictions = Predictions(images, str(source), limits, verdicts)
    write_predictions(predictions, cfg.format, cfg.output)
    warn_of_doubtful(info)
    if len(images) < len(answers):
        unreadable = len(answers) - len(images)
        raise ValueError(f"{unreadable} of {plural(len(answers), 'image')} could not be read")


def predict_blocks(
    model: CalibratedModel | OnnxModel, blocks: list[Block], batch_size: int, count: int | None
) -> list[Answer]:
    """The answers for all images; those that could not be read are logged.

    Args:
        count: Number of images; None where it is unknown.
    """
    images = chain.from_iterable(block.read() for block in blocks)
    answers: list[Answer] = []
    with show_progress("images", count) as bar:
        for batch in predict_images(model, images, batch_size, os.cpu_count() or 1, with_features=False):
            for answer in batch:
                if answer.reason is not None:
                    log.error("%s: %s", answer.image, answer.reason)
            answers += batch
            bar.advance(len(batch))
    return answers
