"""The life of a training run: started or resumed, trained, finished, interrupted or failed."""

import logging
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf

from aimonk.data.duplicates import find_groups
from aimonk.files.atomic import write_text
from aimonk.files.run_folder import (
    CONFIG_FILE,
    LABELS_FILE,
    STATE_FILE,
    Pruned,
    clear_run_folder,
    is_finished,
    locked,
    run_status,
)
from aimonk.modes.train.advice import advising
from aimonk.modes.train.context import Parts, RunContext
from aimonk.modes.train.folds import cross_validate
from aimonk.modes.train.outputs import log_next_steps, write_results
from aimonk.modes.train.refit import train_and_refit
from aimonk.modes.train.resume import compare_configs, compare_labels, refuse_changes, run_digest, save_labels
from aimonk.modes.train.splits import find_assignment, split_parts
from aimonk.modes.train.tracking import tracking
from aimonk.runtime import distributed
from aimonk.runtime.determinism import make_deterministic
from aimonk.runtime.device import pick_device
from aimonk.runtime.interrupt import Interrupt
from aimonk.runtime.progress import watch
from aimonk.setup.build import build
from aimonk.setup.checks import check_components
from aimonk.setup.data import cache_folder, open_data
from aimonk.setup.effects import given_keys, unused_in_training, warn_without_effect
from aimonk.setup.optimizer import log_choice, uses_solver
from aimonk.setup.runs import warn_about_training_images
from aimonk.setup.trial import trial_reports
from aimonk.training.state import TrainState

log = logging.getLogger(__name__)


def run(cfg: DictConfig, out_dir: Path, overrides: list[str]) -> None:
    """Train and write the run folder.

    Raises:
        ValueError: An error in the config or the data.
        FileNotFoundError: Data or weights do not exist.
        FloatingPointError: The loss is not finite.
        KeyboardInterrupt: The run was interrupted; everything is written.
    """
    # the status of a resumed run is left alone until its config is accepted
    with locked(out_dir), run_status(out_dir, owned=cfg.resume is None) as status:
        if cfg.resume is None:
            check_components(cfg)
        make_deterministic(cfg.deterministic)  # before pick_device starts CUDA
        pick_device(cfg.device)  # an invalid one is an error before the processes wait for each other
        distributed.init_process_group()
        started_in = distributed.broadcast(out_dir)  # other ranks have a temporary folder of their own
        if cfg.resume is not None:
            if is_finished(started_in):
                log.info("already finished: %s", started_in)
                if compare_configs(started_in / CONFIG_FILE, cfg):
                    log.warning(
                        "a finished run keeps its settings; a new run with backbone.weights=%s starts from "
                        "its weights",
                        shlex.quote(f"{started_in}"),
                    )
                return
            # the settings come from the folder, so nothing is built before they are compared
            refuse_changes(compare_configs(started_in / CONFIG_FILE, cfg), cfg.resume_force)
            status.owned = True
            check_components(cfg)
        else:
            clear_run_folder(out_dir)
        with advising(out_dir, cache_folder(cfg)), Interrupt() as interrupt:
            write_text(out_dir / CONFIG_FILE, OmegaConf.to_yaml(cfg, resolve=True))
            status.write("running")
            started = time.perf_counter()
            try:
                with tracking(cfg, out_dir) as tracked:
                    reports = [tracked.report, *trial_reports(cfg)]
                    run = open_run(cfg, out_dir, started_in, interrupt, reports)
                    train(run, given_keys(overrides))
                    state = "finished" if interrupt.signal is None else "interrupted"
                    tracked.finish(state)
            except Pruned as reason:
                status.write("pruned", reason=f"{reason}")
                log.info("pruned (%s): %s", reason, out_dir)
                return
            status.write(state, seconds=round(time.perf_counter() - started, 2))
    if interrupt.signal is None:
        for leftover in out_dir.rglob(STATE_FILE):
            leftover.unlink()
    log.info("%s: %s", status.state, out_dir)
    log_next_steps(out_dir)
    if interrupt.signal is not None:
        raise KeyboardInterrupt  # ends a sweep too, and sets the exit status


def open_run(
    cfg: DictConfig,
    out_dir: Path,
    started_in: Path,
    interrupt: Interrupt,
    reports: Sequence[Callable[[TrainState], None]],
) -> RunContext:
    """Open the data, and refuse to resume a run whose labels have changed.

    Args:
        reports: Called one after another after each epoch.
    """
    images = open_data(cfg)
    digest = run_digest(cfg, images.table)
    # a rank that could not read an image would train on other rows than the others
    if distributed.any_rank(distributed.broadcast(digest) != digest):
        raise ValueError(
            "the processes have different labels, or could read different images; run the command again"
        )
    if cfg.resume is not None:
        refuse_changes(compare_labels(started_in / LABELS_FILE, images.table), cfg.resume_force)
    groups = find_groups(images.hashes, images.table.names, cfg.data.duplicate_distance, watch)
    save_labels(out_dir / LABELS_FILE, images.table, groups)

    def report(state: TrainState) -> None:
        for function in reports:
            function(state)

    return RunContext(cfg, images, groups, out_dir, interrupt.requested, digest, report)


def train(run: RunContext, given: list[str]) -> None:
    """Cross-validate if `data.folds` is set; otherwise train and score one model.

    Args:
        given: Settings of the command line.
    """
    parts = split_parts(run.cfg, run.images, run.groups)
    held_out = parts["train"] if run.cfg.data.folds else np.concatenate([parts["val"], parts["test"]])
    names = [run.images.table.names[row] for row in held_out]
    warn_about_training_images(Path(run.cfg.backbone.weights), names)
    warn_without_effect(given, find_unused(run, parts, given))
    log_choice(run.cfg, len(parts["train"]) + len(parts["val"]))
    write_results(run, cross_validate(run, parts) if run.cfg.data.folds else train_and_refit(run, parts))


def find_unused(run: RunContext, parts: Parts, given: list[str]) -> Iterator[tuple[Sequence[str], str]]:
    """Settings without effect in this run; arguments as in `train`."""
    cfg, policy = run.cfg, build(run.cfg, "freeze")
    if run.images.shards is not None and run.images.is_stored:
        yield ("data.window",), "decoded images are stored"
    yield from unused_in_training(
        cfg,
        given,
        assigned=find_assignment(cfg, run.images.table)[1],
        has_val=bool(cfg.data.folds) or len(parts["val"]) > 0,
        cuda=pick_device(cfg.device).type == "cuda",
        views=build(cfg, "augmentation").views,
        frozen=policy.solves_head or any(stages is not None for stages in policy.schedule.values()),
        solver=uses_solver(cfg, len(parts["train"]) + len(parts["val"])),
    )
