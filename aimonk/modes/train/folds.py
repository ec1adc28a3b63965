"""`data.folds=5`: a model per fold, every image scored by one that did not see it, and a model of all."""

import logging
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from aimonk.data.dataset import ImageSet
from aimonk.data.splits import stratified_folds
from aimonk.files.atomic import write_json
from aimonk.files.tensors import load_tensors, save_tensors
from aimonk.modes.train.one_model import choose, evaluate_parts, train_and_evaluate, train_once, write_models
from aimonk.modes.train.outputs import write_results
from aimonk.runtime import distributed

log = logging.getLogger(__name__)

OUTCOME_FILE = "outcome.pth"  # of a fold: what a cross-validation that goes on needs of it


def cross_validate(
    cfg: DictConfig,
    images: ImageSet,
    groups: np.ndarray | None,
    out_dir: Path,
    stop: Callable[[], signal.Signals | None],
) -> None:
    """Train a model per fold, score each image by the one that did not see it, then train one on all."""
    table, folds = images.table, cfg.data.folds
    rows = np.arange(len(table))
    pooled, spread = np.full((cfg.data.repeats, *table.labels.shape), np.nan), []
    for repeat in range(cfg.data.repeats):
        fold_of = stratified_folds(table.labels, table.mask, folds, groups, cfg.seed + repeat)
        for fold in range(folds):
            if distributed.any_of(stop()):
                raise KeyboardInterrupt("cross-validation was interrupted: its folds so far are kept")
            name = f"fold_{fold + 1}" if cfg.data.repeats == 1 else f"repeat_{repeat + 1}_fold_{fold + 1}"
            log.info("%s", name)
            done = out_dir / name / OUTCOME_FILE
            # the other ranks have a folder of their own, with nothing in it
            finished = distributed.rank() == 0 and cfg.resume is not None and done.is_file()
            outcome = distributed.broadcast(load_tensors(done) if finished else None)
            if outcome is not None:
                pooled[repeat, outcome["rows"].numpy()] = outcome["logits"].numpy()
                spread.append(outcome["scores"])
                continue
            parts = {"train": rows[fold_of != fold], "val": rows[fold_of == fold], "test": rows[:0]}
            (out_dir / name).mkdir(parents=True, exist_ok=True)
            outcome, evaluations = train_and_evaluate(cfg, images, groups, parts, out_dir / name, stop)
            write_json(out_dir / name / "metrics.json", outcome.report | {"val": evaluations["val"].scores})
            scored, logits = outcome.parts["val"], outcome.logits["val"]
            pooled[repeat, scored] = logits
            spread.append(
                {key: evaluations["val"].scores[key] for key in ("mean_ap", "mean_auroc", "f1_macro")}
            )
            kept = {"rows": torch.from_numpy(scored), "logits": torch.from_numpy(logits)}
            save_tensors(done, kept | {"scores": spread[-1]})
    held_out = np.flatnonzero(~np.isnan(pooled).any(axis=(0, 2)))  # images that vanish meanwhile are not
    logits = pooled.mean(axis=0)[held_out]
    everything = {"train": rows, "val": rows[:0], "test": rows[:0]}
    log.info("all images: the model that is kept")
    outcome = train_once(cfg, images, everything, out_dir, stop)
    outcome.report["chosen_by"] = "the last epoch; the folds' models tell what it is worth"
    operating_point = choose(cfg, images, held_out, logits)
    evaluations = evaluate_parts(
        cfg, images, groups, everything | {"val": held_out}, {"val": logits}, operating_point
    )
    write_models(cfg, images, outcome, operating_point, out_dir)
    report = outcome.report | {"folds": spread}
    for key in spread[0]:
        values = [fold[key] for fold in spread if fold[key] is not None]
        report[f"{key}_spread"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    write_results(out_dir, images, groups, everything, {"val": held_out}, evaluations, report)
