"""Which rows train, validate and test, as the data section of the config decides."""

import logging
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from aimonk.data.dataset import ImageSet
from aimonk.data.splits import SPLITS, assigned_split, stratified_split
from aimonk.modes.train.one_model import Parts

log = logging.getLogger(__name__)


def split_parts(cfg: DictConfig, images: ImageSet, groups: np.ndarray | None) -> Parts:
    """Rows that train, validate and test.

    Raises:
        ValueError: Fractions that make no sense, or too few images for them.
    """
    table, data = images.table, cfg.data
    if data.splits is not None:
        rows = assigned_split(Path(data.splits), table.names, groups)
    elif table.splits is not None:
        log.info("the column 'split' of the label file says which images train, validate and test")
        rows = assigned_split(dict(zip(table.names, table.splits, strict=True)), table.names, groups)
    else:
        for key in ("val_fraction", "test_fraction"):
            if not 0 <= data[key] < 1:
                raise ValueError(f"data.{key} is {data[key]}; expected 0 to below 1")
        fractions = (1 - data.val_fraction - data.test_fraction, data.val_fraction, data.test_fraction)
        if fractions[0] <= 0:
            raise ValueError("data.val_fraction and data.test_fraction leave no images to train on")
        rows = stratified_split(table.labels, table.mask, fractions, groups, cfg.seed)
        for name, fraction, part in zip(SPLITS, fractions, rows, strict=True):
            if fraction and not len(part):
                raise ValueError(f"{len(table)} images are too few: none is left for {name} ({fraction:g})")
    parts = dict(zip(SPLITS, rows, strict=True))
    if not len(parts["train"]):
        raise ValueError("no image is assigned to train")
    return parts
