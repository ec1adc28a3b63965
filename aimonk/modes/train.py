"""`mode=train`: from a config to a run folder with weights, curve, scores and predictions."""

import contextlib
import json
import logging
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf

from aimonk import distributed
from aimonk.build import cache_folder, open_data
from aimonk.checkpoint import STATUS_FILE, write_json, write_text
from aimonk.data.dataset import ImageSet
from aimonk.data.duplicates import find_groups
from aimonk.data.splits import SPLITS, assigned_split, stratified_split
from aimonk.determinism import make_deterministic
from aimonk.device import pick_device
from aimonk.interrupt import Interrupt
from aimonk.modes.assembly import check_components
from aimonk.modes.conclusion import write_results
from aimonk.modes.cross_validation import cross_validate
from aimonk.modes.training_run import Parts, train_and_judge
from aimonk.resume import (
    DATA_FILE,
    STATE_FILE,
    advising,
    compare_configs,
    compare_labels,
    refuse_changes,
    save_labels,
)

log = logging.getLogger(__name__)


def run(cfg: DictConfig, out_dir: Path, overrides: list[str]) -> None:
    """Train and write the run folder.

    Raises:
        ValueError: A mistake in the config or the data.
        FileNotFoundError: Data or weights that are not there.
        FloatingPointError: The loss is not a number any more.
    """
    own = cfg.resume is None  # the folder of an earlier run is left alone until it is clear that it may go on
    try:
        check_components(cfg)
        make_deterministic(cfg.deterministic)  # before pick_device starts CUDA
        distributed.start(pick_device(cfg.device))
        begun = distributed.share(out_dir)  # other ranks have a folder of their own, which is thrown away
        if cfg.resume is not None:
            if is_finished(begun):
                log.info("finished already: %s", begun)
                return
            refuse_changes(compare_configs(begun / "config.yaml", cfg), cfg.resume_force)
            own = True
        with advising(out_dir, cache_folder(cfg)), Interrupt() as interrupt:
            write_text(out_dir / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
            write_json(out_dir / STATUS_FILE, {"state": "running"})
            images = open_data(cfg)
            if cfg.resume is not None:
                refuse_changes(compare_labels(begun / DATA_FILE, images.table), cfg.resume_force)
            save_labels(out_dir / DATA_FILE, images.table)
            groups = find_groups(images.pixels, images.table.names, cfg.data.duplicate_distance)
            train = cross_validate if cfg.data.folds else train_split
            train(cfg, images, groups, out_dir, interrupt.requested)
            state = "finished" if interrupt.signal is None else "interrupted"
            write_json(out_dir / STATUS_FILE, {"state": state})
    except BaseException as error:
        state = "interrupted" if isinstance(error, KeyboardInterrupt | SystemExit) else "failed"
        reason = f"{error}" or type(error).__name__
        with contextlib.suppress(OSError):  # the disk may be what failed
            if own:
                write_json(out_dir / STATUS_FILE, {"state": state, "reason": reason})
        raise
    finally:
        distributed.stop()
    if state == "finished":
        for leftover in out_dir.rglob(STATE_FILE):
            leftover.unlink()
    log.info("%s: %s", state, out_dir)
    if state == "interrupted":
        raise KeyboardInterrupt  # all is written; this ends a sweep as well, and tells the shell


def is_finished(out_dir: Path) -> bool:
    """Whether the folder holds a run that has come to its end."""
    status = out_dir / STATUS_FILE
    return status.is_file() and json.loads(status.read_text())["state"] == "finished"


def train_split(
    cfg: DictConfig,
    images: ImageSet,
    groups: np.ndarray | None,
    out_dir: Path,
    stop: Callable[[], signal.Signals | None],
) -> None:
    """Train on one part of the images, choose on another, and score."""
    parts = split_parts(cfg, images, groups)
    outcome, judged = train_and_judge(cfg, images, groups, parts, out_dir, stop)
    held_out = {name: outcome.parts[name] for name in judged}
    write_results(out_dir, images, groups, outcome.parts, held_out, judged, outcome.report)


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
