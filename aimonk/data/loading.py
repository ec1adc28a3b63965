"""Data loading: batches of inputs, labels and mask by row number."""

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from aimonk.data.dataset import StoredSubset
from aimonk.data.images.folder import decode_all
from aimonk.data.sampling import PADDING, BatchList

log = logging.getLogger(__name__)

# rows [B], views [B] -> inputs [B, ...], and whether each is available, bool [B]
InputLoader = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Pixels:
    """Loads augmented uint8 images [B, 3, H, W] from decoded images or from files.

    Args:
        images: Decoded images [N, H, W, 3], stored ones, or the paths of the files.
        augmentation: Called with images and views.
        size: Pixels per side, for files.
        resize: As for `decode`, for files.
    """

    def __init__(
        self,
        images: np.ndarray | StoredSubset | list[Path],
        augmentation: Callable,
        size: int,
        resize: str,
    ):
        self.images = images
        self.augmentation = augmentation
        self.size = size
        self.resize = resize
        # whether a warning was logged for each image; shared with the worker processes
        self.warned = torch.zeros(len(images), dtype=torch.bool).share_memory_()

    def __call__(self, rows: Tensor, views: Tensor) -> tuple[Tensor, Tensor]:
        available = torch.ones(len(rows), dtype=torch.bool)
        if isinstance(self.images, np.ndarray):
            pixels = self.images[rows.numpy()]
        else:
            pixels, errors = self._read(rows.numpy())
            for position, reason in errors.items():
                self._warn(int(rows[position]), reason)
                available[position] = False
        # [B, H, W, 3] permuted to [B, 3, H, W] is in channels_last format
        return self.augmentation(torch.from_numpy(pixels).permute(0, 3, 1, 2), views), available

    def _read(self, rows: np.ndarray) -> tuple[np.ndarray, dict[int, str]]:
        """Pixels [B, H, W, 3], and position -> reason for files that cannot be read, which are zero."""
        if not isinstance(self.images, list):
            return self.images.read(rows)
        pixels, errors = np.zeros((len(rows), self.size, self.size, 3), np.uint8), {}
        for position, (_, values) in enumerate(decode_all(self.images, self.size, self.resize, rows)):
            if isinstance(values, str):
                errors[position] = values
            else:
                pixels[position] = values
        return pixels, errors

    def _warn(self, row: int, reason: str) -> None:
        """Log a warning for an image that was readable at the start of the run, once."""
        if not self.warned[row]:
            name = self.images[row] if isinstance(self.images, list) else f"image {row}"
            log.warning("%s: %s; skipping it from now on", name, reason)
        self.warned[row] = True


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
