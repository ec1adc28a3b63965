"""Images that can no longer be read while a run trains."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from aimonk.data.sampling import PADDING, Batch
from aimonk.files.text import plural
from aimonk.runtime.ranks import world_size
from aimonk.training.task import Task

MAX_MISSING = 0.01  # share of an epoch's images that may be missing


@dataclass
class MissingImages:
    """Images of an epoch that can no longer be read: dropped from their batches, and an error above 1 %.

    Attributes:
        expected: Images of the epoch in this process.
        count: How many of these were missing.
        lost: Known and unknown entries of the missing images of the current iteration, [2].
    """

    task: Task
    expected: int
    count: int = 0
    lost: np.ndarray | int = 0

    def drop(
        self, batch: Batch, inputs: Tensor, labels: Tensor, mask: Tensor, exists: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
        """Inputs, labels, mask and existence of the images, and the entries in the mean of the iteration.

        The policy for unknown labels weights the unknown ones of these entries.

        Raises:
            FileNotFoundError: More than 1 % of the images are missing, or all entries of an iteration.
        """
        missing = batch.rows[~exists.numpy() & (batch.rows != PADDING)]
        known = self.task.mask[missing]
        self.lost = np.array([known.sum(), (~known).sum()]) + (0 if batch.first else self.lost)
        self.count += len(missing)
        is_alone = world_size() == 1  # the other processes of an iteration do not know what is lost
        counts = np.array([batch.known, batch.unknown])
        weights = np.array([1.0, self.task.missing.weight])
        planned = float(weights @ counts)
        entries = float(weights @ (counts - self.lost)) if is_alone else planned
        if self.count > MAX_MISSING * self.expected or (planned and not entries):
            total = plural(self.expected, "training image")
            raise FileNotFoundError(
                f"{self.count} of {total} can no longer be read; restore the files and resume the run"
            )
        if is_alone and len(missing):
            inputs, labels, mask, exists = (x[exists] for x in (inputs, labels, mask, exists))
        return inputs, labels, mask, exists, entries
