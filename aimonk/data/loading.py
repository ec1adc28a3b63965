"""Data loading: batches of inputs, labels and mask by row number."""

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from aimonk.data.images.decoding import decode
from aimonk.data.sampling import PADDING, BatchList

log = logging.getLogger(__name__)

# rows [B], views [B] -> inputs [B, ...], and whether each is available, bool [B]
InputLoader = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Pixels:
    """Loads augmented uint8 images [B, 3, H, W] from decoded images or from files.

    Args:
        images: Decoded images [N, H, W, 3], or the paths of the files.
        augmentation: Called with images and views.
        size: Pixels per side, for files.
        resize: As for `decode`, for files.
    """

    def __init__(self, images: np.ndarray | list[Path], augmentation: Callable, size: int, resize: str):
        self.images = images
        self.augmentation = augmentation
        self.size = size
        self.resize = resize
        if isinstance(images, list):
            # whether a warning was logged for each file; shared with the worker processes
            self.warned = torch.zeros(len(images), dtype=torch.bool).share_memory_()

    def __call__(self, rows: Tensor, views: Tensor) -> tuple[Tensor, Tensor]:
        available = torch.ones(len(rows), dtype=torch.bool)
        if not isinstance(self.images, list):
            pixels = torch.from_numpy(self.images[rows.numpy()])
        else:
            pixels = torch.stack([self._decode(row, available, i) for i, row in enumerate(rows.tolist())])
        # [B, H, W, 3] permuted to [B, 3, H, W] is in channels_last format
        return self.augmentation(pixels.permute(0, 3, 1, 2), views), available

    def _decode(self, row: int, available: Tensor, position: int) -> Tensor:
        try:
            return torch.from_numpy(decode(self.images[row], self.size, self.resize).copy())
        except ValueError as error:  # the file was readable at the start of the run
            if not self.warned[row]:
                log.warning("%s: %s; skipping it from now on", self.images[row], error)
            self.warned[row] = True
            available[position] = False
            return torch.zeros(self.size, self.size, 3, dtype=torch.uint8)


class Rows(Dataset):
    """Inputs, labels and mask of the rows of a label table.

    Args:
        load_inputs: Rows and views to inputs.
        labels: 0 or 1, [N, A].
        mask: True where known, [N, A].
    """

    def __init__(self, load_inputs: InputLoader, labels: np.ndarray, mask: np.ndarray):
        self.load_inputs = load_inputs
        self.labels = torch.from_numpy(labels)
        self.mask = torch.from_numpy(mask)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, keys: list[tuple[int, int]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Inputs [B, ...], labels and mask [B, A], and availability [B], of pairs of row and view."""
        rows, views = torch.tensor(keys, dtype=torch.int64).unbind(1)
        real = rows != PADDING
        rows = rows.clamp(min=0)
        inputs, available = self.load_inputs(rows, views)
        available = available & real
        return inputs, self.labels[rows], self.mask[rows] & available[:, None], available


def create_loader(rows: Rows, batches: BatchList, workers: int, pin_memory: bool) -> DataLoader:
    """A loader of the batches in a list, which may be replaced between epochs."""
    return DataLoader(
        rows,
        batch_sampler=batches,
        collate_fn=_keep_batch,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
    )


def iterate(loader: DataLoader) -> Iterator[tuple[Tensor, ...]]:
    """Yield the loader's batches.

    Raises:
        RuntimeError: A worker process died; the message starts with `DataLoader worker`.
    """
    try:
        yield from loader
    except (ConnectionError, EOFError, RuntimeError) as error:
        # with pinned memory, a thread of torch receives the batches, and its error does not name the cause
        if isinstance(error, RuntimeError) and not f"{error}".startswith("Pin memory thread"):
            raise
        # the worker that holds the batch died; during the sleep torch may raise an error that names it
        time.sleep(1)
        raise RuntimeError(f"DataLoader worker died: {error or type(error).__name__}") from error


def _keep_batch(batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return batch
