"""`mode=import`: convert labels of another format to a label file, or to a format of an annotation tool."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf

from aimonk.data.formats.coco.writing import format_coco
from aimonk.data.formats.label_studio.writing import format_label_studio
from aimonk.data.formats.text.comma_file import format_comma_file
from aimonk.data.images.folder import list_images
from aimonk.data.labels import LabelTable, has_image_suffix, select_attributes
from aimonk.data.repeated import combine
from aimonk.files.atomic import write_text
from aimonk.files.text import listed, plural, printable
from aimonk.report.meanings import format_meanings
from aimonk.setup.build import check_types
from aimonk.setup.data import SPLIT, label_paths, read_annotations

log = logging.getLogger(__name__)

WRITERS = {"csv": format_comma_file, "coco": format_coco, "label_studio": format_label_studio}


def run(cfg: DictConfig, out_dir: Path, overrides: list[str]) -> None:
    """Print what the labels mean, and write them.

    Raises:
        FileNotFoundError: There is no such label file, or no folder for the output.
        ValueError: Errors in the file or the settings, or labels that the format cannot express.
    """
    if cfg.to not in WRITERS:
        raise ValueError(f"to is {cfg.to!r}; expected {', '.join(WRITERS)}")
    if cfg.data.repeated == "soft":
        raise ValueError("data.repeated is 'soft'; expected error, merge or majority: a file has no shares")
    check_types(SPLIT, OmegaConf.to_container(cfg.data, resolve=True), "data")
    images, labels = label_paths(cfg)
    if images is None and cfg.to != "csv":
        raise ValueError(f"to is {cfg.to!r}; expected csv, since the images are in shards")
    # such as a file of splits or of the names of classes
    given = [Path(value) for value in cfg.data.values() if isinstance(value, str) and os.path.isfile(value)]
    output = check_output(cfg.output, labels, given)
    annotations = read_annotations(cfg, labels, images)
    table = select_attributes(combine(annotations, cfg.data.repeated, labels), cfg.data.attributes, labels)
    print("\n".join(map(printable, format_meanings(annotations, table).split("\n"))))
    warn_of_missing(table, images)
    write_text(output, WRITERS[cfg.to](table, images))
    log.info("labels of %s: %s", plural(len(table), "image"), output)


def check_output(output: str | None, labels: Path, given: Sequence[Path]) -> Path:
    """The output file, which is none of the files that are read.

    Args:
        given: Files that the settings name.

    Raises:
        ValueError: It is one of these, or not given.
        FileNotFoundError: Its folder does not exist.
    """
    if output is None or not Path(output).name or Path(output).is_dir():
        raise ValueError(f"output is {output}; expected the file to write, such as labels.csv")
    path = Path(output)
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"output is {output}; expected a file in an existing folder")
    if os.path.realpath(path) in map(os.path.realpath, (labels, *given)):
        raise ValueError(f"output is {output}; expected another file than those that are read")
    if has_image_suffix(path.name):
        raise ValueError(f"output is {output}; expected a file of labels, such as labels.csv, no image")
    if labels.is_dir() and path.exists() and labels.resolve() in path.resolve().parents:
        raise ValueError(f"output is {output}; expected a file outside {labels}, where labels are read")
    return path


def warn_of_missing(table: LabelTable, images: Path | None) -> None:
    """Warn of rows whose image is not in the folder, if there is one; they are written like the others."""
    if images is None:
        return
    if not images.is_dir():
        log.warning("no images folder at %s; names are written as they are in the labels", images.absolute())
        return
    exists = np.isin(table.names, list_images(images))
    absent = [name for name, found in zip(table.names, exists, strict=True) if not found]
    if absent:
        log.warning("no image in %s for %s: %s", images, plural(len(absent), "row"), listed(absent))
