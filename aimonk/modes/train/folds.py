"""Cross-validation (`data.folds=5`): every image is scored by a model that was not trained on it."""

import logging
from collections.abc import Iterator

import numpy as np
import torch

from aimonk.data.splits import stratified_folds
from aimonk.files.atomic import write_json
from aimonk.files.run_folder import METRICS_FILE, MODEL_FILE, OUTCOME_FILE
from aimonk.files.tensors import load_tensors, save_tensors
from aimonk.modes.train.checkpoints import write_last, write_model
from aimonk.modes.train.context import Parts, RunContext
from aimonk.modes.train.one_model import train_model
from aimonk.modes.train.refit import Outcome, train_and_evaluate, write_splits
from aimonk.modes.train.scoring import choose_held_out, evaluate_parts, evaluate_rows
from aimonk.runtime import distributed
from aimonk.runtime.ranks import rank

log = logging.getLogger(__name__)

SPREAD = ("mean_ap", "mean_auroc", "f1_macro")  # scores whose spread over the folds is reported


def cross_validate(run: RunContext, parts: Parts) -> Outcome:
    """Score each training image by a model not trained on it, then train on all and score the test part.

    Args:
        parts: Training and test rows; no validation rows.
    """
    table, rows = run.images.table, parts["train"]
    row_of = {name: row for row, name in enumerate(table.names)}
    pooled, scores = np.full((run.cfg.data.repeats, *table.labels.shape), np.nan), []
    for repeat, name, fold in plan_folds(run, rows):
        if distributed.any_rank(run.stop()):
            raise KeyboardInterrupt("the cross-validation was interrupted: finished folds are kept")
        log.info("%s", name)
        outcome = read_outcome(run, name, fold) or train_fold(run.in_folder(name), fold)
        pooled[repeat, [row_of[image] for image in outcome["names"]]] = outcome["logits"].numpy()
        scores.append(outcome["scores"])
    scored = rows[~np.isnan(pooled[:, rows]).any(axis=(0, 2))]  # without images that no longer exist
    log.info("training the final model on all training images")
    write_splits(run, parts)
    model = train_model(run, parts)
    model.report["chosen_by"] += "; the folds estimate its scores"
    logits = pooled.mean(axis=0)[scored]
    operating_point = choose_held_out(run, scored, logits)
    evaluations = {"val": evaluate_rows(run, scored, logits, operating_point, chosen=True)}
    evaluations |= evaluate_parts(run, model, operating_point, model.logits)
    write_model(run, MODEL_FILE, model, operating_point, evaluations)
    write_last(run, model, operating_point)
    model.report |= {"folds": scores} | spread(scores)
    held_out = {"val": scored} | {name: model.parts[name] for name in model.logits}
    return Outcome(model, operating_point, evaluations, held_out)


def plan_folds(run: RunContext, rows: np.ndarray) -> Iterator[tuple[int, str, Parts]]:
    """Repeat, folder name and parts of each fold of these rows."""
    labels, mask = run.images.table.labels[rows], run.images.table.mask[rows]
    groups = None if run.groups is None else run.groups[rows]
    folds, repeats = run.cfg.data.folds, run.cfg.data.repeats
    for repeat in range(repeats):
        fold_of = stratified_folds(labels, mask, folds, groups, run.cfg.data.split_seed + repeat)
        for fold in range(folds):
            name = f"fold_{fold + 1}" if repeats == 1 else f"repeat_{repeat + 1}_fold_{fold + 1}"
            held_out = fold_of == fold
            yield repeat, name, {"train": rows[~held_out], "val": rows[held_out], "test": rows[:0]}


def read_outcome(run: RunContext, name: str, fold: Parts) -> dict | None:
    """The outcome of a fold that this run has finished already, on every process; None otherwise."""
    path, outcome = run.out_dir / name / OUTCOME_FILE, None
    # the other processes have a run folder of their own, which is empty
    if rank() == 0 and run.cfg.resume is not None and path.is_file():
        outcome = load_tensors(path)
        is_own = run.cfg.resume_force or outcome.get("run") == run.digest
        if not is_own or not set(outcome["names"]) <= {run.images.table.names[row] for row in fold["val"]}:
            log.warning("%s is not of this run; the fold is trained again", path)
            outcome = None
    return distributed.broadcast(outcome)


def train_fold(run: RunContext, parts: Parts) -> dict:
    """Train and evaluate the model of a fold; names, logits and scores of its held-out images."""
    write_splits(run, parts)
    outcome = train_and_evaluate(run, parts)
    model, scores = outcome.model, outcome.evaluations["val"].scores
    write_json(run.out_dir / METRICS_FILE, model.report | {"val": scores})
    content = {
        "run": run.digest,
        "names": [run.images.table.names[row] for row in model.parts["val"]],
        "logits": torch.from_numpy(model.logits["val"]),
        "scores": {key: scores[key] for key in SPREAD},
    }
    save_tensors(run.out_dir / OUTCOME_FILE, content)
    return content


def spread(folds: list[dict]) -> dict[str, float | None]:
    """Standard deviation of each score over the folds; None below two defined values."""
    deviations = {}
    for key in SPREAD:
        values = [fold[key] for fold in folds if fold[key] is not None]
        deviations[f"{key}_spread"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return deviations
