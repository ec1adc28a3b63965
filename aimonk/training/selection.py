"""Which epoch's weights are kept, and when training stops early."""

import logging
import math

import numpy as np
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from aimonk.evaluation import metrics
from aimonk.training.phase import Phase, predict
from aimonk.training.state import TrainState, averaged, trained_state
from aimonk.training.task import Settings, Task

log = logging.getLogger(__name__)


def finish_epoch(task: Task, phase: Phase, state: TrainState, steps: int) -> None:
    """Validate, step a plateau schedule, and keep the weights if the epoch is the best so far.

    Args:
        steps: Iterations of the epoch.

    Raises:
        FloatingPointError: A logit of the validation images is not finite.
    """
    record = summarise_training(state, steps) | validate(task, phase)
    if isinstance(task.scheduler, ReduceLROnPlateau):
        task.scheduler.step(score(task.settings, record) if len(task.val_rows) else -record["train_loss"])
    state.history.append(record)
    is_better = state.best is None or score(task.settings, record) > score(task.settings, state.best)
    # without validation images the last epoch is kept
    if is_better or not len(task.val_rows):
        state.best = record
        with averaged(task):
            state.best_state = trained_state(task)


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
    return {
        "val_loss": loss.item(),
        "mean_ap": metrics.mean_ap(labels, mask, probs),
        "f1_macro": metrics.f1_macro(labels, mask, probs, thresholds),
    }


def score(settings: Settings, record: dict) -> float:
    """The monitored value of an epoch; greater is better."""
    value = record["mean_ap"] if settings.monitor == "mean_ap" else record["val_loss"]
    return -math.inf if value is None else (value if settings.monitor == "mean_ap" else -value)


def epochs_without_improvement(settings: Settings, state: TrainState) -> int:
    """Epochs since the monitored value last improved by more than `min_delta`."""
    best, since = -math.inf, 0
    for record in state.history:
        since += 1
        if score(settings, record) > best + settings.min_delta:
            best, since = score(settings, record), 0
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
