"""Mean AP of a checkpoint and of its exported model on labelled images, `data=...`."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from aimonk.data.dataset import ImageSet
from aimonk.data.labels import LabelTable
from aimonk.data.loading import Pixels
from aimonk.evaluation.metrics import mean_ap
from aimonk.evaluation.paired import mean_ap_difference_error
from aimonk.models.checkpoint import ModelInfo
from aimonk.modes.evaluate.subject import match_attributes
from aimonk.runtime.progress import show_progress
from aimonk.setup.data import open_data
from aimonk.setup.effects import given_keys
from aimonk.setup.runs import warn_about_training_images

BATCH = 32

log = logging.getLogger(__name__)


class Labelled:
    """Labelled images.

    Attributes:
        table: The labels, in the model's order of attributes.
    """

    def __init__(self, images: ImageSet, table: LabelTable, info: ModelInfo):
        self.table = table
        self.load = Pixels(images.pixels, lambda images, views: images, info.image_size, info.resize)

    def __len__(self) -> int:
        return len(self.table)

    def predict(self, model: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Probabilities [N, A] of a model of images [B, size, size, 3]."""
        parts = []
        with show_progress("images", len(self)) as bar:
            for rows in torch.arange(len(self)).split(BATCH):
                images, exists = self.load(rows, torch.zeros_like(rows))
                if not exists.all():
                    raise ValueError("some images can no longer be read")
                parts.append(model(images.permute(0, 2, 3, 1).numpy()))
                bar.advance(len(rows))
        return np.concatenate(parts)


def names_data(overrides: Sequence[str]) -> bool:
    """Whether the command line gives labelled images."""
    return any(key.split(".")[0] == "data" for key in given_keys(overrides))


def open_labelled(cfg: DictConfig, source: Path, info: ModelInfo) -> Labelled:
    """The labelled images of `data=...`, decoded as the model expects them.

    Raises:
        FileNotFoundError: The label file or the folder does not exist.
        ValueError: Errors in the files, or attributes other than the model's.
    """
    match = partial(match_attributes, info=info, may_rename=cfg.data.attributes is None)
    cfg = OmegaConf.merge(cfg, {"data": {"image_size": info.image_size, "resize": info.resize}})
    images = open_data(cfg, check=match)
    table = match(images.table)
    warn_about_training_images(source, table.names)
    return Labelled(images, table, info)


def report_mean_ap(
    labelled: Labelled, checkpoint: Callable[[np.ndarray], np.ndarray], exported: Callable
) -> None:
    """Log the mean AP of both, and the difference."""
    labels, mask = labelled.table.labels, labelled.table.mask
    probs = [labelled.predict(checkpoint), labelled.predict(exported)]
    before, after = (mean_ap(labels, mask, of) for of in probs)
    if before is None or after is None:
        log.info("mean AP is undefined: no attribute has known entries of both classes")
        return
    log.info(
        "mean AP on %d labelled images: %.4f before, %.4f exported, difference %+.4f (standard error %.4f)",
        len(labelled),
        before,
        after,
        after - before,
        mean_ap_difference_error(labels, mask, *probs),
    )
