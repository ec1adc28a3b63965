"""A training task: the model, the data, and how to train."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from aimonk.data.mixing import CutMix, Mixup
from aimonk.data.streaming import Stream
from aimonk.models.classifier import Classifier
from aimonk.models.freeze import FreezePolicy
from aimonk.training.losses import MaskedLoss
from aimonk.training.missing_labels import MissingLabels
from aimonk.training.optimizers import HeadSolver


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes:
        batch_size: Images per process and batch.
        accumulate: Batches per optimizer step.
        clip_norm: Maximum norm of the gradient; None sets no limit.
        label_smoothing: Distance of the training targets from 0 and 1, times 2.
        monitor: `mean_ap` or `loss` of the validation images; it selects the best epoch.
        patience: Epochs without an improvement after which training stops; None disables early stopping.
        min_delta: Smallest change that counts as an improvement.
        ema: Decay of the moving average of the weights, which is then evaluated and kept; None disables it.
        workers: Loader processes for per-image work.
        checkpoint_every: Iterations between checkpoints within an epoch; None saves at its end only.
    """

    epochs: int
    batch_size: int
    accumulate: int
    clip_norm: float | None
    label_smoothing: float
    seed: int
    monitor: str
    patience: int | None
    min_delta: float
    ema: float | None
    amp: bool
    compile: bool
    workers: int
    checkpoint_every: int | None


class Inputs(NamedTuple):
    """Inputs of the network for a given number of frozen stages.

    Attributes:
        load: Rows [B] and views [B] to inputs [B, ...] and to which of them exist, [B].
        are_features: True for outputs of the frozen stages, False for images.
    """

    load: Callable
    are_features: bool


def warm_decay(decay: float, updates: int) -> float:
    """Decay of the moving average after a number of updates.

    It rises to its value, as in TensorFlow's ExponentialMovingAverage with `num_updates`: at a constant
    decay, a short run would mostly keep its initial weights.
    """
    return min(decay, (1 + updates) / (10 + updates))


@dataclass
class Task:
    """What is trained, on what.

    Attributes:
        missing: What unknown entries add to the criterion.
        open_inputs: Number of frozen stages to `Inputs`.
        labels: 0 to 1, [N, A]; between them where `data.repeated=soft` keeps the shares of annotators.
        mask: True where known, [N, A].
        scheduler: None where the optimizer is a HeadSolver.
        train_rows: Rows of labels and mask to train on.
        val_rows: Rows to evaluate after each epoch; may be empty.
        weights: Sampling probabilities of train_rows; None visits each row once an epoch.
        views: Number of views of the augmentation; None if unbounded.
        mix: Mixes the inputs of the part that trains within each batch; None leaves them.
        slow_loading: Whether loading pixels is per-image work, best done by loader processes.
        stream: The order in which epochs read shards; None where images are files.
        follow: Prepares the images of batches, as of BatchList; None where there is nothing to prepare.
    """

    classifier: Classifier
    policy: FreezePolicy
    criterion: MaskedLoss
    missing: MissingLabels
    optimizer: Optimizer | HeadSolver
    scheduler: LRScheduler | ReduceLROnPlateau | None
    open_inputs: Callable[[int], Inputs]
    labels: np.ndarray
    mask: np.ndarray
    train_rows: np.ndarray
    val_rows: np.ndarray
    weights: np.ndarray | None
    views: int | None
    mix: Mixup | CutMix | None
    slow_loading: bool
    device: torch.device
    settings: Settings
    stream: Stream | None = None
    follow: Callable | None = None

    @cached_property
    def lowest_cut(self) -> int:
        """Fewest frozen stages of all epochs: the stages below never train."""
        return min(self.policy.cuts(self.settings.epochs, len(self.classifier.stages)))

    @cached_property
    def average(self) -> AveragedModel | None:
        """Moving average of every part that trains in some epoch."""
        if self.settings.ema is None:
            return None

        def update(averages: list[Tensor], current: list[Tensor], _: Tensor) -> None:
            decay = warm_decay(self.settings.ema, int(average.n_averaged))
            get_ema_multi_avg_fn(decay)(averages, current, _)

        suffix = self.classifier.suffix(self.lowest_cut)
        average = AveragedModel(suffix, multi_avg_fn=update, use_buffers=True)
        return average

    @cached_property
    def scaler(self) -> torch.amp.GradScaler:
        """Scales the loss under float16, where gradients would underflow; otherwise does nothing."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == torch.float16)

    @property
    def precision(self) -> torch.dtype | None:
        """Data type of matrix products under mixed precision; None for float32."""
        if not self.settings.amp or self.device.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.precision, enabled=self.precision is not None)
