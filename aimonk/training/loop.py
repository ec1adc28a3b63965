"""The training loop: epochs, batches, losses and steps."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from aimonk.data.loading import iterate
from aimonk.data.sampling import Batch, plan_epoch, split_batches
from aimonk.runtime import distributed
from aimonk.runtime.progress import show_progress
from aimonk.runtime.ranks import rank, world_size
from aimonk.training.missing_images import MissingImages
from aimonk.training.phase import Phase, open_phase
from aimonk.training.selection import finish_epoch, stops_early
from aimonk.training.state import TrainState
from aimonk.training.targets import known_loss, unknown_loss
from aimonk.training.task import Settings, Task

log = logging.getLogger(__name__)

LOSSES_PER_READ = 50  # reading a loss waits for the accelerator


def fit(
    task: Task,
    state: TrainState,
    last_epoch: int,
    stop: Callable[[], object],
    save: Callable[[], None],
    report: Callable[[TrainState], None],
) -> None:
    """Train from `state` until the last epoch, an early stop or a request to stop.

    Args:
        state: Updated during training.
        last_epoch: May be earlier than the end of the learning rate's schedule.
        stop: Called after each iteration; a true value ends training there.
        save: Called at the end of each epoch, and every `checkpoint_every` iterations.
        report: Called by every process after each complete epoch, after `save`; may raise to end training.

    Raises:
        FloatingPointError: The loss or a validation logit is not finite.
    """
    settings, phase = task.settings, None
    if state.history and not state.batches and stops_early(settings, state):
        return  # as before the interruption
    for epoch in range(state.epoch, last_epoch + 1):
        cut = task.policy.cut(epoch, len(task.classifier.stages))
        if phase is None or phase.cut != cut:
            phase = open_phase(task, cut)
        # within an epoch the order stays, even if images are stored by now; processes agree on it
        if not state.batches and task.stream is not None:
            state.streams = distributed.any_rank(task.stream.needed and not phase.are_features)
        batches = plan_batches(task, epoch, state.streams)
        before = state.seconds
        train_one_epoch(task, phase, batches, state, stop, save)
        if state.batches < len(batches):
            save()
            return
        try:
            finish_epoch(task, phase, state, steps=sum(batch.last for batch in batches))
        except FloatingPointError as error:
            raise diverged(f"{error}", state, highest_lr(task.optimizer)) from None
        state.epoch_seconds.append(state.seconds - before)
        state.epoch, state.batches = epoch + 1, 0
        log_epoch(settings, state)
        save()
        report(state)
        if distributed.any_rank(stop()) or stops_early(settings, state):
            return


def plan_batches(task: Task, epoch: int, streams: bool = False) -> list[Batch]:
    """This process's batches of an epoch.

    Args:
        streams: Whether shards are read one after another.
    """
    settings = task.settings
    rows, views = plan_epoch(task.train_rows, task.weights, task.views, settings.seed, epoch)
    sizes = (settings.batch_size, settings.accumulate)
    if streams:
        places = task.stream.arrange(rows, settings.seed, epoch, settings.batch_size, world_size())
        rows, views = rows[places], views[places]
    return split_batches(rows, views, task.mask, *sizes, rank(), world_size())


def train_one_epoch(
    task: Task,
    phase: Phase,
    batches: list[Batch],
    state: TrainState,
    stop: Callable[[], object],
    save: Callable[[], None],
) -> None:
    """Train on the batches that `state` does not count as done.

    Raises:
        FloatingPointError: The loss is not finite.
        FileNotFoundError: Too many images can no longer be read.
    """
    settings, started, images = task.settings, time.perf_counter(), 0
    missing = MissingImages(task, sum(len(batch.rows) for batch in batches))
    task.classifier.train()
    phase.batches.batches = batches[state.batches :]
    buffer = LossBuffer(state, size=1 if task.device.type == "cpu" else LOSSES_PER_READ)
    total = torch.zeros((), device=task.device)
    with show_progress(f"epoch {state.epoch}/{settings.epochs}", len(batches)) as bar:
        bar.advance(state.batches)
        for batch, loaded in zip(phase.batches.batches, iterate(phase.loader), strict=True):
            if batch.first:
                seed_iteration(task, state)
            *loaded, entries = missing.drop(batch, *loaded)
            total += backward(task, phase, state.epoch, entries, *loaded)
            state.batches += 1
            images += len(batch.rows)
            if not batch.last:
                continue
            lr = highest_lr(task.optimizer)
            step(task, phase)
            buffer.add(total, entries, lr)
            total = torch.zeros((), device=task.device)
            if state.losses:
                rate = images / (time.perf_counter() - started)
                bar.advance(settings.accumulate, f"loss {state.losses[-1]:.4f}  {rate:.0f} images/s")
            if settings.checkpoint_every and buffer.iteration % settings.checkpoint_every == 0:
                buffer.flush()
                save()
            if should_stop(buffer, stop):
                break
    buffer.flush()
    state.seconds += time.perf_counter() - started
    state.images += images * world_size()


def seed_iteration(task: Task, state: TrainState) -> None:
    """Seed the randomness in the network and of mixed inputs by the iteration: a resumed run repeats it."""
    key = np.random.SeedSequence([task.settings.seed, state.epoch, state.batches])
    # torch.manual_seed also notes the call, with its stack, for each accelerator that is not in use
    seed = torch.default_generator.manual_seed if task.device.type == "cpu" else torch.manual_seed
    seed(int(key.generate_state(1)[0]))


def backward(
    task: Task,
    phase: Phase,
    epoch: int,
    entries: float,
    inputs: Tensor,
    labels: Tensor,
    mask: Tensor,
    exists: Tensor,
) -> Tensor:
    """Add a batch's gradients, and return its part of the loss.

    Args:
        entries: Known entries of all processes and accumulated batches of the iteration, and the unknown ones
            by their weight; the loss of the iteration is the mean over them.
        exists: False for rows of padding and for missing images, [B] on the CPU.
    """
    if not len(inputs):
        return torch.zeros((), device=task.device)
    labels, mask = (x.to(task.device, non_blocking=True) for x in (labels, mask))
    inputs, mix = phase.start(task, inputs), None
    if task.mix is not None:
        inputs, mix = task.mix(inputs)
    logits = phase.finish(task, inputs)
    loss = known_loss(task.criterion, logits, labels, mask, task.settings.label_smoothing, mix)
    loss = loss + unknown_loss(task.missing, task.criterion, logits, mask, exists, epoch, mix)
    loss = loss / (entries or 1)
    # DistributedDataParallel averages gradients where they have to be summed
    task.scaler.scale(loss * world_size()).backward()
    return loss.detach()


def step(task: Task, phase: Phase) -> None:
    """Update the weights, the learning rate and the moving average."""
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


def should_stop(buffer: "LossBuffer", stop: Callable[[], object]) -> bool:
    """Whether any process requests a stop; processes ask together, after they exchanged losses."""
    if world_size() > 1 and buffer.losses:
        return False
    return distributed.any_rank(stop())


@dataclass
class LossBuffer:
    """Losses that are still on the device; `flush` moves them into the state.

    Attributes:
        size: Losses that are read at a time.
        losses: This process's part of each loss, scalars.
        entries: Entries in the mean of each loss.
        rates: Learning rate of each step.
    """

    state: TrainState
    size: int
    losses: list[Tensor] = field(default_factory=list)
    entries: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    @property
    def iteration(self) -> int:
        """Iterations of the run so far."""
        return len(self.state.losses) + len(self.losses)

    def add(self, loss: Tensor, entries: float, lr: float) -> None:
        """Append the loss of an iteration; flush if the buffer is full."""
        self.losses.append(loss)
        self.entries.append(entries)
        self.rates.append(lr)
        if len(self.losses) >= self.size:
            self.flush()

    def flush(self) -> None:
        """Read the losses, summed over processes.

        Raises:
            FloatingPointError: One is not finite; the state ends with it.
        """
        values = distributed.all_reduce(torch.stack(self.losses)).tolist() if self.losses else []
        for value, entries, lr in zip(values, self.entries, self.rates, strict=True):
            self.state.losses.append(value)
            self.state.known.append(entries)
            if not math.isfinite(value):
                raise diverged("the loss", self.state, lr)
        for pending in (self.losses, self.entries, self.rates):
            pending.clear()


def highest_lr(optimizer: Optimizer) -> float:
    """The highest learning rate of all parameter groups."""
    return max(group["lr"] for group in optimizer.param_groups)


def diverged(what: str, state: TrainState, lr: float) -> FloatingPointError:
    return FloatingPointError(
        f"{what} is not finite at iteration {len(state.losses)} (epoch {state.epoch}, "
        f"learning rate {lr:.3g}); try a lower optimizer.lr, clip_norm=1, loss.max_weight=10 with "
        "loss=pos_weight, or amp=false"
    )


def log_epoch(settings: Settings, state: TrainState) -> None:
    record = state.history[-1]
    text = f"epoch {record['epoch']}/{settings.epochs}: training loss {record['train_loss']:.4f}"
    if record["val_loss"] is not None:
        text += f", validation loss {record['val_loss']:.4f}"
    for name, title in (("mean_ap", "mean AP"), ("f1_macro", "macro F1")):
        if record[name] is not None:
            text += f", {title} {record[name]:.3f}"
    log.info("%s (%.0f images/s)", text, state.images_per_second)
