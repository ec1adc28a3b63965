"""Which rows train, validate and test, by the data section of the config."""

import logging
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from aimonk.data.dataset import ImageSet
from aimonk.data.labels import LabelTable
from aimonk.data.splits import SPLITS, assigned_split, stratified_split
from aimonk.files.text import plural
from aimonk.modes.train.context import Parts
from aimonk.setup.checks import read_fractions

log = logging.getLogger(__name__)


def split_parts(cfg: DictConfig, images: ImageSet, groups: np.ndarray | None) -> Parts:
    """Rows of each part: assigned by a file or a column, otherwise drawn by the fractions.

    With `data.folds` the folds take the place of the validation images, so there are none of these.

    Raises:
        ValueError: Invalid fractions, no image left to train on, or validation images assigned beside folds.
    """
    table, folds = images.table, cfg.data.folds
    assignment, source = find_assignment(cfg, table)
    if assignment is not None:
        log.info("%s assigns the images to train, val and test", source)
        rows = assigned_split(assignment, table.names, groups)
        if folds and len(rows[1]):
            raise ValueError(
                f"data.folds is {folds}; expected null, since {source} assigns "
                f"{plural(len(rows[1]), 'image')} to val: assign them to train or test, or unset data.folds"
            )
    else:
        fractions = read_fractions(cfg)
        rows = stratified_split(table.labels, table.mask, fractions, groups, cfg.data.split_seed)
        for name, fraction, part in zip(SPLITS, fractions, rows, strict=True):
            if fraction and not len(part):
                raise ValueError(f"{len(table)} images are too few: none is left for {name} ({fraction:g})")
    if not len(rows[0]):
        raise ValueError("no image is assigned to train")
    return dict(zip(SPLITS, rows, strict=True))


def find_assignment(cfg: DictConfig, table: LabelTable) -> tuple[Path | dict[str, str] | None, str]:
    """A split file, or the splits in the labels, and their name; None where the fractions decide."""
    if cfg.data.splits is not None:
        return Path(cfg.data.splits), str(cfg.data.splits)
    if table.splits is None:
        return None, ""
    return dict(zip(table.names, table.splits, strict=True)), "the split in the labels"
