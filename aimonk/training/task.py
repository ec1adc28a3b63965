"""A training task: what is trained, on what, how far it has come, and its logits."""

import copy
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

from aimonk.data.loading import Rows, create_loader, iterate
from aimonk.data.sampling import Batch, BatchList
from aimonk.models.classifier import Classifier
from aimonk.models.freeze import FreezePolicy
from aimonk.runtime import distributed


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
        ema: Decay of the moving average of the weights, which then is what is evaluated and kept; or None.
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
class TrainState:
    """How far a run has come.

    Attributes:
        epoch: The epoch in progress, from 1.
        batches: Batches of it that are done.
        losses: Training loss of each iteration so far.
        known: Known entries that each of them is a mean over.
        history: One record of each finished epoch.
        best: Record of the best epoch so far.
        best_state: Its weights: of all that ever trains.
        seconds: Spent on training so far, validation left out; epoch_seconds, of each finished epoch.
        images: Trained on in that time.
    """

    epoch: int = 1
    batches: int = 0
    losses: list[float] = field(default_factory=list)
    known: list[int] = field(default_factory=list)
    history: list[dict] = field(default_factory=list)
    best: dict | None = None
    best_state: dict[str, Tensor] | None = None
    seconds: float = 0.0
    epoch_seconds: list[float] = field(default_factory=list)
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
        suffix: Features, or images where nothing is frozen, to logits.
        local: The same, compiled where that is asked for.
        module: The same, summing gradients over all processes.
    """

    def __init__(self, task: Task, cut: int):
        self.cut = cut
        task.classifier.freeze(cut)
        fetch, is_features = task.fetch(cut)
        self.prefix = None if is_features or cut == 0 else task.classifier.prefix(cut)
        self.suffix = task.classifier.suffix(cut)
        self.local = torch.compile(self.suffix) if task.settings.compile else self.suffix
        self.module = DistributedDataParallel(self.local) if distributed.world_size() > 1 else self.local
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
            # shares of the held-out images may be unequal, so with them processes do not wait for each other
            return (self.module if torch.is_grad_enabled() else self.local)(inputs)


@torch.inference_mode()
def predict(task: Task, phase: Phase, rows: np.ndarray) -> tuple[np.ndarray, Tensor]:
    """Logits of rows of the label table, without augmentation.

    Returns:
        The rows whose images are there, [n], and their logits, [n, A] on the CPU.
    """
    task.classifier.eval()
    mine = rows[distributed.parts(len(rows))[distributed.rank()]]
    size = 4 * task.settings.batch_size
    blocks = [mine[i : i + size] for i in range(0, len(mine), size)]
    phase.batches.batches = [Batch(block, np.zeros_like(block), 0, True, True) for block in blocks]
    parts = [torch.zeros(0, task.labels.shape[1], device=task.device)]
    there = [torch.zeros(0, dtype=torch.bool)]
    for inputs, _, _, had in iterate(phase.loader):
        parts.append(phase.logits(task, inputs).float())
        there.append(had)
    kept = distributed.all_gather(torch.cat(there))
    return rows[kept.numpy()], distributed.all_gather(torch.cat(parts))[kept]


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
    return {
        key: value.detach().cpu().clone()
        for key, value in state.items()
        if not key.startswith(frozen or "\0")
    }
