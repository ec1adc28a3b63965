"""The training loop: epochs, batches, validation, and which weights to keep."""

import logging
import math
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from aimonk.data.loading import iterate
from aimonk.data.sampling import Batch, plan_epoch, split_batches
from aimonk.evaluation import metrics
from aimonk.runtime import distributed
from aimonk.runtime.progress import show_progress
from aimonk.training.task import Phase, Settings, Task, TrainState, averaged, predict, trained_state

log = logging.getLogger(__name__)


def fit(task: Task, progress: TrainState, stop: Callable[[], object], save: Callable[[], None]) -> None:
    """Train until the last epoch, an early stop or a request to stop; continues where `progress` stands.

    Args:
        progress: Updated as training goes on.
        stop: Asked after each iteration whether to end here; true for yes.
        save: Called at the end of each epoch, and every `checkpoint_every` iterations.

    Raises:
        FloatingPointError: The loss is not a number any more.
    """
    settings, phase = task.settings, None
    for epoch in range(progress.epoch, settings.epochs + 1):
        cut = task.policy.cut(epoch, len(task.classifier.stages))
        if phase is None or phase.cut != cut:
            phase = Phase(task, cut)
        order = plan_epoch(task.train_rows, task.weights, task.views, settings.seed, epoch)
        batches = split_batches(
            *order,
            task.mask,
            settings.batch_size,
            settings.accumulate,
            distributed.rank(),
            distributed.world_size(),
        )
        before = progress.seconds
        train_one_epoch(task, phase, batches, progress, stop, save)
        if progress.batches < len(batches):
            save()
            return
        progress.history.append(_record(task, phase, progress, batches))
        progress.epoch_seconds.append(progress.seconds - before)
        progress.epoch, progress.batches = epoch + 1, 0
        _keep_best(task, progress)
        _log_epoch(settings, progress)
        save()
        if distributed.any_of(stop()) or _is_stuck(settings, progress):
            return


def train_one_epoch(
    task: Task,
    phase: Phase,
    batches: list[Batch],
    progress: TrainState,
    stop: Callable[[], object],
    save: Callable[[], None],
) -> None:
    """Train on the batches that `progress` has not seen yet.

    Raises:
        FloatingPointError: The loss is not a number any more.
    """
    settings, started = task.settings, time.perf_counter()
    task.classifier.train()
    phase.batches.batches = batches[progress.batches :]
    # reading a loss waits for the GPU, so there losses are read many at a time
    block = 1 if task.device.type == "cpu" else 50
    losses, known, rates, images = [], [], [], 0
    total = torch.zeros((), device=task.device)

    def read_losses() -> None:
        values = distributed.all_reduce(torch.stack(losses)).tolist() if losses else []
        progress.losses += values
        progress.known += known
        _check_finite(values, rates, progress)
        for read in (losses, known, rates):
            read.clear()

    with show_progress(f"epoch {progress.epoch}/{settings.epochs}", len(batches)) as bar:
        bar.advance(progress.batches)
        for batch, (inputs, labels, mask, _) in zip(
            phase.batches.batches, iterate(phase.loader), strict=True
        ):
            if batch.first:
                # randomness inside the network is a function of the iteration, so a resumed run repeats it
                key = np.random.SeedSequence([settings.seed, progress.epoch, progress.batches])
                torch.manual_seed(int(key.generate_state(1)[0]))
            labels, mask = labels.to(task.device, non_blocking=True), mask.to(task.device, non_blocking=True)
            logits = phase.logits(task, inputs)
            # this batch's share of the mean over the known entries of all processes and accumulated batches
            loss = task.criterion(logits, labels, mask) * (mask.sum() / max(1, batch.known))
            # DistributedDataParallel takes the mean of the gradients where the sum is meant
            task.scaler.scale(loss * distributed.world_size()).backward()
            total += loss.detach()
            progress.batches += 1
            images += len(batch.rows)
            if not batch.last:
                continue
            rates.append(highest_lr(task.optimizer))
            _step(task, phase)
            losses.append(total)
            known.append(batch.known)
            total = torch.zeros((), device=task.device)
            if len(losses) >= block:
                read_losses()
            if progress.losses:
                rate = images / (time.perf_counter() - started)
                bar.advance(settings.accumulate, f"loss {progress.losses[-1]:.4f}  {rate:.0f} images/s")
            if (
                settings.checkpoint_every
                and (len(progress.losses) + len(losses)) % settings.checkpoint_every == 0
            ):
                read_losses()
                save()
            # the processes agree on it, or they would wait for one another for ever; where losses were read
            # they have just met anyway
            if (not losses or distributed.world_size() == 1) and distributed.any_of(stop()):
                break
    read_losses()
    progress.seconds += time.perf_counter() - started
    progress.images += images * distributed.world_size()


def _step(task: Task, phase: Phase) -> None:
    if task.settings.clip_norm is not None:
        task.scaler.unscale_(task.optimizer)
        nn.utils.clip_grad_norm_(phase.suffix.parameters(), task.settings.clip_norm)
    task.scaler.step(task.optimizer)
    task.scaler.update()
    task.optimizer.zero_grad(set_to_none=True)
    if not isinstance(task.scheduler, ReduceLROnPlateau):
        task.scheduler.step()
    if task.average is not None:
        task.average.update_parameters(task.classifier.suffix(task.lowest_cut))


def highest_lr(optimizer: Optimizer) -> float:
    """The learning rate of the next step, the highest of all groups."""
    return max(group["lr"] for group in optimizer.param_groups)


def _check_finite(values: list[float], rates: list[float], progress: TrainState) -> None:
    for i, value in enumerate(values):
        if not math.isfinite(value):
            del progress.losses[len(progress.losses) - len(values) + i + 1 :]
            raise _diverged("the loss", progress, rates[i])


def _diverged(what: str, progress: TrainState, lr: float) -> FloatingPointError:
    return FloatingPointError(
        f"{what} is not a finite number at iteration {len(progress.losses)} (epoch {progress.epoch}, "
        f"learning rate {lr:.3g}); try a lower optimizer.lr, clip_norm=1, loss.max_weight=10 with "
        "loss=pos_weight, or amp=false"
    )


def _record(task: Task, phase: Phase, progress: TrainState, batches: list[Batch]) -> dict:
    """What there is to say of the epoch that has just ended."""
    steps = sum(batch.last for batch in batches)
    losses, known = np.array(progress.losses[-steps:]), np.array(progress.known[-steps:])
    record = {
        "epoch": progress.epoch,
        "iteration": len(progress.losses),
        "train_loss": float((losses * known).sum() / max(1, known.sum())),
        "val_loss": None,
        "mean_ap": None,
        "f1_macro": None,
    }
    if len(task.val_rows):
        with averaged(task):
            rows, logits = predict(task, phase, task.val_rows)
        labels, mask = task.labels[rows], task.mask[rows]
        if not torch.isfinite(logits).all():
            raise _diverged("a logit of the validation images", progress, highest_lr(task.optimizer))
        moved = [torch.as_tensor(a).to(task.device) for a in (logits, labels, mask)]
        probs = torch.sigmoid(logits.double()).numpy()
        record["val_loss"] = task.criterion(*moved).item()
        record["mean_ap"] = metrics.mean_ap(labels, mask, probs)
        record["f1_macro"] = metrics.f1_macro(labels, mask, probs, np.full(labels.shape[1], 0.5))
    if isinstance(task.scheduler, ReduceLROnPlateau):
        task.scheduler.step(_score(task.settings, record) if len(task.val_rows) else -record["train_loss"])
    return record


def _score(settings: Settings, record: dict) -> float:
    """The monitored figure of an epoch, greater is better."""
    value = record["mean_ap"] if settings.monitor == "mean_ap" else record["val_loss"]
    return -math.inf if value is None else (value if settings.monitor == "mean_ap" else -value)


def _keep_best(task: Task, progress: TrainState) -> None:
    record, best = progress.history[-1], progress.best
    # without validation images the last epoch is the best there is
    if not len(task.val_rows) or best is None or _score(task.settings, record) > _score(task.settings, best):
        progress.best = record
        with averaged(task):
            progress.best_state = trained_state(task)


def _is_stuck(settings: Settings, progress: TrainState) -> bool:
    """Whether the score has not become better by min_delta within the last `patience` epochs."""
    if settings.patience is None or progress.history[-1]["val_loss"] is None:
        return False
    scores = [_score(settings, record) for record in progress.history]
    reached, since = -math.inf, 0
    for score in scores:
        since += 1
        if score > reached + settings.min_delta:
            reached, since = score, 0
    if since >= settings.patience:
        log.info("early stop: %s has not improved for %d epochs", settings.monitor, since)
    return since >= settings.patience


def _log_epoch(settings: Settings, progress: TrainState) -> None:
    record = progress.history[-1]
    text = f"epoch {record['epoch']}/{settings.epochs}: training loss {record['train_loss']:.4f}"
    if record["val_loss"] is not None:
        text += f", validation loss {record['val_loss']:.4f}"
    for name, title in (("mean_ap", "mean AP"), ("f1_macro", "macro F1")):
        if record[name] is not None:
            text += f", {title} {record[name]:.3f}"
    log.info("%s (%.0f images/s)", text, progress.images / max(progress.seconds, 1e-9))
