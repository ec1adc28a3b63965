"""Which rows train, validate and test, by the data section of the config."""

import logging
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from aimonk.data.dataset import ImageSet
from aimonk.data.splits import SPLITS, assigned_split, stratified_split
from aimonk.modes.train.context import Parts

log = logging.getLogger(__name__)


def split_parts(cfg: DictConfig, images: ImageSet, groups: np.ndarray | None) -> Parts:
    """Rows of each part: assigned by a file or a column, otherwise drawn by the fractions.

    Raises:
        ValueError: Invalid fractions, or no image left to train on.
    """
    table, data = images.table, cfg.data
    if data.splits is not None:
        rows = assigned_split(Path(data.splits), table.names, groups)
    elif table.splits is not None:
        log.info("the column 'split' of the label file assigns the images to train, val and test")
        rows = assigned_split(dict(zip(table.names, table.splits, strict=True)), table.names, groups)
    else:
        fractions = read_fractions(cfg)
        rows = stratified_split(table.labels, table.mask, fractions, groups, cfg.seed)
        for name, fraction, part in zip(SPLITS, fractions, rows, strict=True):
            if fraction and not len(part):
                raise ValueError(f"{len(table)} images are too few: none is left for {name} ({fraction:g})")
    if not len(rows[0]):
        raise ValueError("no image is assigned to train")
    return dict(zip(SPLITS, rows, strict=True))


def read_fractions(cfg: DictConfig) -> tuple[float, float, float]:
    """Share of the images that train, validate and test.

    Raises:
        ValueError: A share is out of range, or none is left to train on.
    """
    val, test = cfg.data.val_fraction, cfg.data.test_fraction
    for key, value in (("val_fraction", val), ("test_fraction", test)):
        if not 0 <= value < 1:
            raise ValueError(f"data.{key} is {value}; expected 0 to below 1")
    if 1 - val - test <= 0:
        raise ValueError("data.val_fraction and data.test_fraction leave no images to train on")
    return 1 - val - test, val, test
