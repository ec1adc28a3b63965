"""Which epoch's weights are kept, and when training stops early."""

import logging
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from aimonk.evaluation import metrics
from aimonk.evaluation.paired import mean_ap_difference_error, mean_difference_error
from aimonk.training.optimizers import HeadSolver
from aimonk.training.phase import Phase, open_phase, predict
from aimonk.training.state import TrainState, averaged, trained_state
from aimonk.training.task import Settings, Task

log = logging.getLogger(__name__)


Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Selection:
    """The epoch whose weights are selected.

    Attributes:
        weights: Every part that trains in some epoch.
        why: The epoch and the reason, for people.
    """

    epoch: int
    iteration: int
    weights: Weights
    why: str


def finish_epoch(task: Task, phase: Phase, state: TrainState, steps: int) -> None:
    """Validate, step a plateau schedule, and remember the weights if the epoch is the best so far.

    Args:
        steps: Iterations of the epoch.

    Raises:
        FloatingPointError: A logit of the validation images is not finite.
    """
    record = summarise_training(state, steps) | validate(task, phase)
    if isinstance(task.scheduler, ReduceLROnPlateau):
        record["lr"] = max(group["lr"] for group in task.optimizer.param_groups)  # for a refit
        task.scheduler.step(score(task.settings, record) if len(task.val_rows) else -record["train_loss"])
    state.history.append(record)
    # equal scores, such as a mean AP of 1, are decided by the loss, and equal losses by the later epoch
    if not len(task.val_rows) or state.best is None or sort_key(task, record) >= sort_key(task, state.best):
        state.best = record
        with averaged(task):
            state.best_state = trained_state(task)


def select_epoch(task: Task, state: TrainState, last: Weights, groups: np.ndarray | None) -> Selection:
    """Keep the last epoch, unless an earlier one is better by more than the standard error of the difference.

    With few known labels, the best of many epochs is mostly the luckiest one.

    Args:
        last: The weights at the end of training.
        groups: Group number of each validation image, [n]; None if images are independent.
    """
    if state.best is None:
        why = "epoch 1, in which the run was interrupted"
        return Selection(state.epoch, len(state.losses), last, why)
    best, end = state.best, state.history[-1]
    is_solved = isinstance(task.optimizer, HeadSolver)
    final = "the exact solution" if is_solved else f"epoch {end['epoch']}, the last one"
    value = f"validation {describe_score(task.settings, best)}"
    if not len(task.val_rows):
        why = f"{final}; no images were held out"
    elif state.batches:
        why = f"epoch {best['epoch']}, the best one of an interrupted run, {value}"
    elif best["epoch"] == end["epoch"]:
        why = f"{final}, {value}"
    else:
        gain, error = compare_epochs(task, state, last, groups)
        if math.isnan(gain):
            return Selection(end["epoch"], end["iteration"], last, f"{final}, {value}")
        detail = f"by {gain:.4f} with a standard error of {error:.4f}"
        if not gain > error:
            why = f"{final}; epoch {best['epoch']} is better {detail}, {value}"
            return Selection(end["epoch"], end["iteration"], last, why)
        why = f"epoch {best['epoch']}, better than the last one, {value}, {detail}"
    return Selection(best["epoch"], best["iteration"], state.best_state, why)


def compare_epochs(
    task: Task, state: TrainState, last: Weights, groups: np.ndarray | None
) -> tuple[float, float]:
    """Gain of the best epoch over the last one and its standard error; nan where undefined.

    Changes the weights of the classifier.
    """
    phase = open_phase(task, task.policy.cut(state.history[-1]["epoch"], len(task.classifier.stages)))
    predictions = []
    for weights in (state.best_state, last):
        task.classifier.load_state_dict(weights, strict=False)
        predictions.append(predict(task, phase, task.val_rows))
    (rows, best), (end_rows, end) = predictions
    if not np.array_equal(rows, end_rows):  # images were deleted in between
        return math.nan, math.nan
    kept = None if groups is None else groups[np.isin(task.val_rows, rows)]
    labels, mask = task.labels[rows], task.mask[rows]
    if task.settings.monitor == "loss":
        differences = np.subtract(*(image_losses(task, logits, labels, mask) for logits in (end, best)))
        return float(differences.mean()), mean_difference_error(differences, kept)
    best, end = (torch.sigmoid(logits.double()).numpy() for logits in (best, end))
    labels, mask = decided(labels, mask)
    values = [metrics.mean_ap(labels, mask, probs) for probs in (best, end)]
    if None in values:
        return math.nan, math.nan
    return values[0] - values[1], mean_ap_difference_error(labels, mask, best, end, kept)


def decided(labels: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels of the majority of the annotators, 0 or 1, and where there is one, [n, A] each."""
    return (labels > 0.5).astype(labels.dtype), mask & (labels != 0.5)


def image_losses(task: Task, logits: Tensor, labels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Loss of each image, [n], scaled so that their mean is the loss per known entry."""
    known = torch.from_numpy(mask).to(task.device)
    values = torch.where(known, torch.from_numpy(labels).to(task.device), 0)
    entries = torch.where(known, task.criterion.entries(logits.to(task.device).float(), values), 0)
    return entries.sum(dim=1).cpu().double().numpy() * len(mask) / max(1, mask.sum())


def summarise_training(state: TrainState, steps: int) -> dict:
    """Number, last iteration and mean loss per known entry of the epoch that has just ended."""
    losses, known = np.array(state.losses[-steps:]), np.array(state.known[-steps:])
    return {
        "epoch": state.epoch,
        "iteration": len(state.losses),
        "train_loss": float((losses * known).sum() / max(1, known.sum())),
    }


def validate(task: Task, phase: Phase) -> dict:
    """Loss, mean AP and macro F1 of the validation images; None where undefined or without such images.

    Raises:
        FloatingPointError: A logit is not finite.
    """
    if not len(task.val_rows):
        return {"val_loss": None, "mean_ap": None, "f1_macro": None}
    with averaged(task):
        rows, logits = predict(task, phase, task.val_rows)
    if not torch.isfinite(logits).all():
        raise FloatingPointError("a logit of the validation images")
    labels, mask = task.labels[rows], task.mask[rows]
    loss = task.criterion(*(torch.as_tensor(a).to(task.device) for a in (logits, labels, mask)))
    probs = torch.sigmoid(logits.double()).numpy()
    thresholds = np.full(labels.shape[1], 0.5)
    labels, mask = decided(labels, mask)
    return {
        "val_loss": loss.item(),
        "mean_ap": metrics.mean_ap(labels, mask, probs),
        "f1_macro": metrics.f1_macro(labels, mask, probs, thresholds),
    }


def score(settings: Settings, record: dict) -> float:
    """The monitored value of an epoch; greater is better."""
    value = record["mean_ap"] if settings.monitor == "mean_ap" else record["val_loss"]
    return -math.inf if value is None else (value if settings.monitor == "mean_ap" else -value)


def describe_score(settings: Settings, record: dict) -> str:
    """The monitored value of an epoch, for people."""
    name, key = ("mean AP", "mean_ap") if settings.monitor == "mean_ap" else ("loss", "val_loss")
    return f"{name} undefined" if record[key] is None else f"{name} {record[key]:.4f}"


def sort_key(task: Task, record: dict) -> tuple[float, float]:
    """The monitored value of an epoch, then its loss; greater is better."""
    return score(task.settings, record), -record["val_loss"]


def epochs_without_improvement(settings: Settings, state: TrainState) -> int:
    """Epochs since the score last rose by more than `min_delta`, or since an equal score got a lower loss."""
    best, loss, since = -math.inf, math.inf, 0
    for record in state.history:
        since += 1
        value = score(settings, record)
        if value > best + settings.min_delta or (value == best and record["val_loss"] < loss):
            best, loss, since = value, record["val_loss"], 0
    return since


def stops_early(settings: Settings, state: TrainState) -> bool:
    """Whether the patience is exhausted; logs it."""
    if settings.patience is None or state.history[-1]["val_loss"] is None:
        return False
    since = epochs_without_improvement(settings, state)
    if since < settings.patience:
        return False
    log.info("early stop: %s has not improved for %d epochs", settings.monitor, since)
    return True
