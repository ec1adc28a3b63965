"""Images that can no longer be read while a run trains."""

from dataclasses import dataclass

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
        lost: Known entries of the missing images of the current iteration.
    """

    task: Task
    expected: int
    count: int = 0
    lost: int = 0

    def drop(
        self, batch: Batch, inputs: Tensor, labels: Tensor, mask: Tensor, exists: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, int]:
        """Inputs, labels and mask of the images that exist, and the known entries of the entire iteration.

        Raises:
            FileNotFoundError: More than 1 % of the images are missing, or all known entries of an iteration.
        """
        missing = batch.rows[~exists.numpy() & (batch.rows != PADDING)]
        self.lost = int(self.task.mask[missing].sum()) + (0 if batch.first else self.lost)
        self.count += len(missing)
        is_alone = world_size() == 1  # the other processes of an iteration do not know what is lost
        known = batch.known - self.lost if is_alone else batch.known
        if self.count > MAX_MISSING * self.expected or (batch.known and not known):
            total = plural(self.expected, "training image")
            raise FileNotFoundError(
                f"{self.count} of {total} can no longer be read; restore the files and resume the run"
            )
        if is_alone and len(missing):
            inputs, labels, mask = inputs[exists], labels[exists], mask[exists]
        return inputs, labels, mask, known
