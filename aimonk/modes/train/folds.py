"""Cross-validation (`data.folds=5`): every image is scored by a model that was not trained on it."""

import logging
from collections.abc import Iterator

import numpy as np
import torch

from aimonk.data.splits import stratified_folds
from aimonk.files.atomic import write_json
from aimonk.files.run_folder import METRICS_FILE, OUTCOME_FILE
from aimonk.files.tensors import load_tensors, save_tensors
from aimonk.modes.train.context import Parts, RunContext
from aimonk.modes.train.one_model import train_and_evaluate, train_model, write_models
from aimonk.modes.train.outputs import write_results
from aimonk.modes.train.scoring import choose_thresholds, evaluate_parts
from aimonk.runtime import distributed

log = logging.getLogger(__name__)

SPREAD = ("mean_ap", "mean_auroc", "f1_macro")  # scores whose spread over the folds is reported


def cross_validate(run: RunContext) -> None:
    """Train a model per fold, score each image by the one that was not trained on it, then train on all."""
    table = run.images.table
    rows = np.arange(len(table))
    pooled, scores = np.full((run.cfg.data.repeats, *table.labels.shape), np.nan), []
    for repeat, name, parts in plan_folds(run, rows):
        if distributed.any_rank(run.stop()):
            raise KeyboardInterrupt("the cross-validation was interrupted: finished folds are kept")
        log.info("%s", name)
        outcome = read_outcome(run, name) or train_fold(run.in_folder(name), parts)
        pooled[repeat, outcome["rows"].numpy()] = outcome["logits"].numpy()
        scores.append(outcome["scores"])
    held_out = np.flatnonzero(~np.isnan(pooled).any(axis=(0, 2)))  # without images that no longer exist
    logits = pooled.mean(axis=0)[held_out]
    everything = {"train": rows, "val": rows[:0], "test": rows[:0]}
    log.info("training the final model on all images")
    model = train_model(run, everything)
    model.report["chosen_by"] = "the last epoch; the folds estimate its scores"
    operating_point = choose_thresholds(run, held_out, logits)
    evaluations = evaluate_parts(run, {"val": held_out}, {"val": logits}, operating_point)
    write_models(run, model, operating_point)
    report = model.report | {"folds": scores} | spread(scores)
    write_results(run, everything, {"val": held_out}, evaluations, report)


def plan_folds(run: RunContext, rows: np.ndarray) -> Iterator[tuple[int, str, Parts]]:
    """Repeat, folder name and parts of each fold."""
    table, folds, repeats = run.images.table, run.cfg.data.folds, run.cfg.data.repeats
    for repeat in range(repeats):
        fold_of = stratified_folds(table.labels, table.mask, folds, run.groups, run.cfg.seed + repeat)
        for fold in range(folds):
            name = f"fold_{fold + 1}" if repeats == 1 else f"repeat_{repeat + 1}_fold_{fold + 1}"
            held_out = fold_of == fold
            yield repeat, name, {"train": rows[~held_out], "val": rows[held_out], "test": rows[:0]}


def read_outcome(run: RunContext, name: str) -> dict | None:
    """The outcome of a fold that an interrupted run finished, on every process; None otherwise."""
    path = run.out_dir / name / OUTCOME_FILE
    # the other processes have a run folder of their own, which is empty
    is_finished = distributed.rank() == 0 and run.cfg.resume is not None and path.is_file()
    return distributed.broadcast(load_tensors(path) if is_finished else None)


def train_fold(run: RunContext, parts: Parts) -> dict:
    """Train and evaluate the model of a fold; rows, logits and scores of its held-out images."""
    model, evaluations = train_and_evaluate(run, parts)
    scores = evaluations["val"].scores
    write_json(run.out_dir / METRICS_FILE, model.report | {"val": scores})
    outcome = {
        "rows": torch.from_numpy(model.parts["val"]),
        "logits": torch.from_numpy(model.logits["val"]),
        "scores": {key: scores[key] for key in SPREAD},
    }
    save_tensors(run.out_dir / OUTCOME_FILE, outcome)
    return outcome


def spread(folds: list[dict]) -> dict[str, float | None]:
    """Standard deviation of each score over the folds; None below two defined values."""
    deviations = {}
    for key in SPREAD:
        values = [fold[key] for fold in folds if fold[key] is not None]
        deviations[f"{key}_spread"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return deviations
