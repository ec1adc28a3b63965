"""`mode=audit`: examine a data set, and whether its labels can be learned."""

import logging
from dataclasses import fields
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from aimonk.auditing.examine import Audit, examine
from aimonk.data.dataset import ImageSet
from aimonk.data.images.headers import odd_files, read_headers, summarise_sizes
from aimonk.files.atomic import write_json, write_text
from aimonk.files.run_folder import AUDIT_FILE, AUDIT_PAGE, CONFIG_FILE
from aimonk.report.audit_summary import summarise
from aimonk.report.html.audit import format_page
from aimonk.runtime.progress import watch
from aimonk.setup.data import open_data
from aimonk.setup.features import frozen_features

log = logging.getLogger(__name__)


def run(cfg: DictConfig, out_dir: Path, overrides: list[str]) -> None:
    """Examine the data set, log a summary, and write audit.json and audit.html.

    Raises:
        FileNotFoundError: The label file or the folder does not exist.
        ValueError: Mistakes in the labels, or the features cannot be stored.
    """
    found, images, files = examine_data(cfg)
    write_text(out_dir / CONFIG_FILE, OmegaConf.to_yaml(cfg, resolve=True))
    write_json(out_dir / AUDIT_FILE, describe(found, images, files))
    write_text(out_dir / AUDIT_PAGE, format_page(found, files, images.pixels, cfg.top))
    for line in summarise(found, files):
        log.info("%s", line)
    log.info("written: %s", out_dir)


def examine_data(cfg: DictConfig) -> tuple[Audit, ImageSet, dict]:
    """The audit of a data set, its images, and what their files are."""
    images = open_data(cfg)
    files, features = describe_files(images), frozen_features(cfg, images)[1]
    distance = cfg.data.duplicate_distance
    found = examine(images.file_table, images.table, images.hashes, features, distance, cfg.seed, watch)
    return found, images, files


def describe(found: Audit, images: ImageSet, files: dict) -> dict:
    """The content of audit.json."""
    content = {f.name: getattr(found, f.name) for f in fields(found) if f.name != "table"}
    return files | {"unreadable": sorted(images.unreadable)} | content


def describe_files(images: ImageSet) -> dict:
    """Numbers of rows and usable images, names of problematic files, and sizes and formats of the others."""
    headers = read_headers(images.paths)
    return {
        "rows": len(images.file_table),
        "images": len(images),
        "missing": images.missing,
        "unreadable": images.unreadable,
        "unlisted": images.unlisted,
        "odd": odd_files(images.table.names, headers),
        **summarise_sizes(headers),
    }
