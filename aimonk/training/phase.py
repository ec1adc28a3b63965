"""A phase: consecutive epochs with the same frozen stages."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from aimonk.data.loading import Rows, create_loader, iterate
from aimonk.data.sampling import Batch, BatchList
from aimonk.runtime import distributed
from aimonk.runtime.ranks import rank, world_size
from aimonk.training.task import Task


@dataclass
class Phase:
    """The network of a phase, cut behind its frozen stages, and a loader of its inputs.

    Attributes:
        cut: Number of frozen stages.
        are_features: Whether the loader gives outputs of the frozen stages, not images.
        prefix: Images to features; None where the loader gives features or nothing is frozen.
        suffix: Features, or images where nothing is frozen, to logits.
        local: The suffix, compiled if requested.
        module: The suffix, with gradients summed over all processes.
    """

    cut: int
    are_features: bool
    prefix: nn.Module | None
    suffix: nn.Module
    local: nn.Module
    module: nn.Module
    batches: BatchList
    loader: DataLoader

    def logits(self, task: Task, inputs: Tensor) -> Tensor:
        """Logits [B, A] of a batch from the loader."""
        return self.finish(task, self.start(task, inputs))

    def start(self, task: Task, inputs: Tensor) -> Tensor:
        """The suffix's inputs, on the device, of a batch from the loader."""
        inputs = inputs.to(task.device, non_blocking=True)
        if self.prefix is not None:
            with task.autocast(), torch.no_grad():
                return self.prefix(inputs)
        return inputs.float() if self.cut > 0 and task.precision is None else inputs

    def finish(self, task: Task, inputs: Tensor) -> Tensor:
        """Logits [B, A] of the suffix's inputs."""
        with task.autocast():
            # ranks may hold unequal shares of held-out images, so evaluation must not synchronise
            return (self.module if torch.is_grad_enabled() else self.local)(inputs)


def open_phase(task: Task, cut: int) -> Phase:
    """Freeze the first `cut` stages and open their inputs, which may compute features of every image."""
    task.classifier.freeze(cut)
    inputs = task.open_inputs(cut)
    suffix = task.classifier.suffix(cut)
    local = torch.compile(suffix) if task.settings.compile else suffix
    batches = BatchList(None if inputs.are_features else task.follow)
    workers = task.settings.workers if task.slow_loading and not inputs.are_features else 0
    rows = Rows(inputs.load, task.labels, task.mask)
    return Phase(
        cut=cut,
        are_features=inputs.are_features,
        prefix=None if inputs.are_features or cut == 0 else task.classifier.prefix(cut),
        suffix=suffix,
        local=local,
        module=DistributedDataParallel(local) if world_size() > 1 else local,
        batches=batches,
        loader=create_loader(rows, batches, workers, pin_memory=task.device.type == "cuda"),
    )


@torch.inference_mode()
def predict(task: Task, phase: Phase, rows: np.ndarray) -> tuple[np.ndarray, Tensor]:
    """Logits of rows of the label table, without augmentation.

    Returns:
        The rows whose images exist, [n], and their logits, [n, A] on the CPU.
    """
    task.classifier.eval()
    mine = rows[distributed.rank_shares(len(rows))[rank()]]
    size = 4 * task.settings.batch_size
    blocks = [mine[i : i + size] for i in range(0, len(mine), size)]
    phase.batches.batches = [Batch(block, np.zeros_like(block), 0, 0, True, True) for block in blocks]
    logits = [torch.zeros(0, task.labels.shape[1], device=task.device)]
    exists = [torch.zeros(0, dtype=torch.bool)]
    for inputs, _, _, found in iterate(phase.loader):
        logits.append(phase.logits(task, inputs).float())
        exists.append(found)
    kept = distributed.all_gather(torch.cat(exists))
    return rows[kept.numpy()], distributed.all_gather(torch.cat(logits))[kept]
