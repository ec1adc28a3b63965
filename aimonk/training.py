"""The training loop: epochs, batches, evaluation, and which weights to keep."""

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from aimonk import distributed, metrics
from aimonk.data.loading import Rows, create_loader
from aimonk.data.sampling import Batch, BatchList, plan_epoch, split_batches
from aimonk.models.classifier import Classifier
from aimonk.models.freeze import FreezePolicy
from aimonk.progress import show_progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes:
        batch_size: Images per process and batch.
        accumulate: Batches per optimizer step.
        clip_norm: Largest norm of the gradient; None sets no limit.
        monitor: `mean_ap` or `loss` of the validation images: what decides which epoch is best.
        patience: Epochs without a better score after which training stops; None never stops early.
        min_delta: By how much a score must be better to count.
        ema: Decay of the moving average of the weights, which is then what is evaluated and kept; None for none.
        workers: Loader processes for work on single images.
        checkpoint_every: Iterations between checkpoints within an epoch; None for one at each epoch's end.
    """

    epochs: int
    batch_size: int
    accumulate: int
    clip_norm: float | None
    seed: int
    monitor: str
    patience: int | None
    min_delta: float
    ema: float | None
    amp: bool
    compile: bool
    workers: int
    checkpoint_every: int | None


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        epoch: The epoch in progress, from 1.
        batches: Batches of it that are done.
        losses: Training loss of each iteration so far.
        known: Known entries that each of them is a mean over.
        history: One record of each finished epoch.
        best: Record of the best epoch so far.
        best_state: Its weights: of all that ever trains.
    """

    epoch: int = 1
    batches: int = 0
    losses: list[float] = field(default_factory=list)
    known: list[int] = field(default_factory=list)
    history: list[dict] = field(default_factory=list)
    best: dict | None = None
    best_state: dict[str, Tensor] | None = None
    seconds: float = 0.0
    images: int = 0


@dataclass
class Task:
    """What is trained, on what.

    Attributes:
        fetch: Number of frozen stages -> what gives the inputs, and whether these are features already.
        labels: 0 or 1, [N, A].
        mask: True where known, [N, A].
        train_rows: Rows of these tables to train on.
        val_rows: Rows to evaluate on; may be empty.
        weights: Chances of being drawn, one for each of train_rows; None visits each once.
        views: How many views the augmentation has; None for no end of them.
        slow_fetch: Whether fetching pixels is work on single images, best done by loader processes.
    """

    classifier: Classifier
    policy: FreezePolicy
    criterion: nn.Module
    optimizer: Optimizer
    scheduler: LRScheduler | ReduceLROnPlateau
    fetch: Callable
    labels: np.ndarray
    mask: np.ndarray
    train_rows: np.ndarray
    val_rows: np.ndarray
    weights: np.ndarray | None
    views: int | None
    slow_fetch: bool
    device: torch.device
    settings: Settings

    @cached_property
    def lowest_cut(self) -> int:
        """The fewest frozen stages of the whole run: what lies below never trains."""
        return min(self.policy.cuts(self.settings.epochs, len(self.classifier.stages)))

    @cached_property
    def average(self) -> AveragedModel | None:
        """The moving average of all that ever trains."""
        if self.settings.ema is None:
            return None
        average = get_ema_multi_avg_fn(self.settings.ema)
        return AveragedModel(self.classifier.suffix(self.lowest_cut), multi_avg_fn=average, use_buffers=True)

    @cached_property
    def scaler(self) -> torch.amp.GradScaler:
        """Scales the loss where half precision would round gradients to nothing; otherwise does nothing."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == torch.float16)

    @property
    def precision(self) -> torch.dtype | None:
        """What matrix products are computed in; None for float32."""
        if not self.settings.amp or self.device.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.precision, enabled=self.precision is not None)


class Phase:
    """A stretch of epochs in which the same stages are frozen.

    Attributes:
        module: Inputs to logits: the trainable suffix, behind the frozen prefix where inputs are images.
    """

    def __init__(self, task: Task, cut: int):
        self.cut = cut
        task.classifier.freeze(cut)
        fetch, is_features = task.fetch(cut)
        self.prefix = None if is_features or cut == 0 else task.classifier.prefix(cut)
        self.suffix = task.classifier.suffix(cut)
        self.module: nn.Module = self.suffix
        if task.settings.compile:
            self.module = torch.compile(self.module)
        if distributed.world() > 1:
            self.module = DistributedDataParallel(self.module)
        self.batches = BatchList()
        workers = task.settings.workers if task.slow_fetch and not is_features else 0
        rows = Rows(fetch, task.labels, task.mask)
        self.loader = create_loader(rows, self.batches, workers, pin_memory=task.device.type == "cuda")

    def logits(self, task: Task, inputs: Tensor) -> Tensor:
        """Logits [B, A] of a batch as the loader gives it."""
        inputs = inputs.to(task.device, non_blocking=True)
        with task.autocast():
            if self.prefix is not None:
                with torch.no_grad():
                    inputs = self.prefix(inputs)
            elif self.cut > 0 and task.precision is None:
                inputs = inputs.float()
            return self.module(inputs)


def fit(task: Task, progress: Progress, stop: Callable[[], object], save: Callable[[], None]) -> None:
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
            distributed.world(),
        )
        train_one_epoch(task, phase, batches, progress, stop, save)
        if progress.batches < len(batches):
            save()
            return
        progress.history.append(_record(task, phase, progress, batches))
        progress.epoch, progress.batches = epoch + 1, 0
        _keep_best(task, progress)
        _log_epoch(settings, progress)
        save()
        if stop() or _is_stuck(settings, progress):
            return


def train_one_epoch(
    task: Task,
    phase: Phase,
    batches: list[Batch],
    progress: Progress,
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
    losses, known, images = [], [], 0
    total = torch.zeros((), device=task.device)

    def read_losses() -> None:
        values = distributed.add(torch.stack(losses)).tolist() if losses else []
        progress.losses += values
        progress.known += known
        losses.clear()
        known.clear()
        _check_finite(values, progress, task.optimizer)

    with show_progress(f"epoch {progress.epoch}/{settings.epochs}", len(batches)) as bar:
        bar.advance(progress.batches)
        for batch, (inputs, labels, mask) in zip(phase.batches.batches, phase.loader, strict=True):
            if batch.first:
                # randomness inside the network is a function of the iteration, so a resumed run repeats it
                key = np.random.SeedSequence([settings.seed, progress.epoch, progress.batches])
                torch.manual_seed(int(key.generate_state(1)[0]))
            labels, mask = labels.to(task.device, non_blocking=True), mask.to(task.device, non_blocking=True)
            logits = phase.logits(task, inputs)
            # this batch's share of the mean over the known entries of all processes and accumulated batches
            loss = task.criterion(logits, labels, mask) * (mask.sum() / max(1, batch.known))
            # DistributedDataParallel takes the mean of the gradients where the sum is meant
            task.scaler.scale(loss * distributed.world()).backward()
            total += loss.detach()
            progress.batches += 1
            images += len(batch.rows)
            if not batch.last:
                continue
            _step(task, phase)
            losses.append(total)
            known.append(batch.known)
            total = torch.zeros((), device=task.device)
            if len(losses) >= block:
                read_losses()
            if progress.losses:
                rate = images / (time.perf_counter() - started)
                bar.advance(settings.accumulate, f"loss {progress.losses[-1]:.4f}  {rate:.0f} images/s")
            if settings.checkpoint_every and (len(progress.losses) + len(losses)) % settings.checkpoint_every == 0:
                read_losses()
                save()
            if stop():
                break
    read_losses()
    progress.seconds += time.perf_counter() - started
    progress.images += images * distributed.world()


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


def _check_finite(values: list[float], progress: Progress, optimizer: Optimizer) -> None:
    for i, value in enumerate(values):
        if not math.isfinite(value):
            del progress.losses[len(progress.losses) - len(values) + i + 1 :]
            raise _diverged("the loss", progress, optimizer)


def _diverged(what: str, progress: Progress, optimizer: Optimizer) -> FloatingPointError:
    lr = max(group["lr"] for group in optimizer.param_groups)
    return FloatingPointError(
        f"{what} is not a finite number at iteration {len(progress.losses)} (epoch {progress.epoch}, learning rate "
        f"{lr:.3g}); try a lower optimizer.lr, clip_norm=1, loss.max_weight=10 with loss=pos_weight, or amp=false"
    )


@torch.inference_mode()
def predict(task: Task, phase: Phase, rows: np.ndarray) -> Tensor:
    """Logits of rows of the label table as they are, without augmentation, [n, A] on the CPU."""
    task.classifier.eval()
    mine = rows[distributed.my_part(len(rows))]
    size = 4 * task.settings.batch_size
    blocks = [mine[i : i + size] for i in range(0, len(mine), size)]
    phase.batches.batches = [Batch(block, np.zeros_like(block), 0, True, True) for block in blocks]
    parts = [phase.logits(task, inputs).float() for inputs, _, _ in phase.loader]
    empty = torch.zeros(0, task.labels.shape[1], device=task.device)
    return distributed.join(torch.cat([empty, *parts]))


@contextmanager
def averaged(task: Task) -> Iterator[None]:
    """Within the block the classifier has the moving average of its weights, where there is one."""
    if task.average is None:
        yield
        return
    suffix = task.classifier.suffix(task.lowest_cut)
    own = copy.deepcopy(suffix.state_dict())
    suffix.load_state_dict(task.average.module.state_dict())
    yield
    suffix.load_state_dict(own)


def trained_state(task: Task) -> dict[str, Tensor]:
    """A copy, on the CPU, of the weights of all that ever trains in this run."""
    frozen = tuple(f"stages.{name}." for name in list(task.classifier.stages)[: task.lowest_cut])
    state = task.classifier.state_dict()
    return {key: value.detach().cpu().clone() for key, value in state.items() if not key.startswith(frozen or "\0")}


def _record(task: Task, phase: Phase, progress: Progress, batches: list[Batch]) -> dict:
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
        labels, mask = task.labels[task.val_rows], task.mask[task.val_rows]
        with averaged(task):
            logits = predict(task, phase, task.val_rows)
        if not torch.isfinite(logits).all():
            raise _diverged("a logit of the validation images", progress, task.optimizer)
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


def _keep_best(task: Task, progress: Progress) -> None:
    record, best = progress.history[-1], progress.best
    # without validation images the last epoch is the best there is
    if not len(task.val_rows) or best is None or _score(task.settings, record) > _score(task.settings, best):
        progress.best = record
        with averaged(task):
            progress.best_state = trained_state(task)


def _is_stuck(settings: Settings, progress: Progress) -> bool:
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


def _log_epoch(settings: Settings, progress: Progress) -> None:
    record = progress.history[-1]
    text = f"epoch {record['epoch']}/{settings.epochs}: training loss {record['train_loss']:.4f}"
    if record["val_loss"] is not None:
        text += f", validation loss {record['val_loss']:.4f}"
    for name, title in (("mean_ap", "mean AP"), ("f1_macro", "macro F1")):
        if record[name] is not None:
            text += f", {title} {record[name]:.3f}"
    log.info("%s (%.0f images/s)", text, progress.images / max(progress.seconds, 1e-9))


def pick_device(name: str) -> torch.device:
    """The device to use: `auto` takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        ValueError: No such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "cuda" and distributed.world() > 1:
        name = f"cuda:{distributed.local_rank()}"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device={name} cannot be used here ({str(error).splitlines()[0]})") from None
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device
