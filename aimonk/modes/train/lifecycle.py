"""`mode=train`: from a config to a run folder with weights, curve, scores and predictions."""

import contextlib
import logging
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf

from aimonk.data.dataset import ImageSet
from aimonk.data.duplicates import find_groups
from aimonk.files.atomic import write_json, write_text
from aimonk.files.run_folder import STATUS_FILE, is_finished
from aimonk.modes.train.folds import cross_validate
from aimonk.modes.train.one_model import train_and_evaluate
from aimonk.modes.train.outputs import write_results
from aimonk.modes.train.splits import split_parts
from aimonk.runtime import distributed
from aimonk.runtime.determinism import make_deterministic
from aimonk.runtime.device import pick_device
from aimonk.runtime.interrupt import Interrupt
from aimonk.setup.data import cache_folder, open_data
from aimonk.setup.task import check_components
from aimonk.training.resume import (
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
        begun = distributed.broadcast(out_dir)  # other ranks have a folder of their own, which is thrown away
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


def train_split(
    cfg: DictConfig,
    images: ImageSet,
    groups: np.ndarray | None,
    out_dir: Path,
    stop: Callable[[], signal.Signals | None],
) -> None:
    """Train on one part of the images, choose on another, and score."""
    parts = split_parts(cfg, images, groups)
    outcome, evaluations = train_and_evaluate(cfg, images, groups, parts, out_dir, stop)
    held_out = {name: outcome.parts[name] for name in evaluations}
    write_results(out_dir, images, groups, outcome.parts, held_out, evaluations, outcome.report)
