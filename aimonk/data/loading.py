"""Batches of inputs, labels and mask by row numbers, for a DataLoader."""

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

# rows [B], views [B] -> inputs [B, ...] and which of them could be had [B]
Fetch = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Pixels:
    """uint8 images [B, 3, H, W] in the wanted views, from decoded rows or straight from the files.

    Args:
        images: Decoded images [N, H, W, 3], or the paths of the files.
        augmentation: Called with images and views.
        size: Pixels per side; for files.
        resize: How files are brought to it.
    """

    def __init__(self, images: np.ndarray | list[Path], augmentation: Callable, size: int, resize: str):
        self.images = images
        self.augmentation = augmentation
        self.size = size
        self.resize = resize
        if isinstance(images, list):
            # which files have been complained of; shared with the loader's processes
            self.told = torch.zeros(len(images), dtype=torch.bool).share_memory_()

    def __call__(self, rows: Tensor, views: Tensor) -> tuple[Tensor, Tensor]:
        there = torch.ones(len(rows), dtype=torch.bool)
        if not isinstance(self.images, list):
            pixels = torch.from_numpy(self.images[rows.numpy()])
        else:
            pixels = torch.stack([self._decode(row, there, i) for i, row in enumerate(rows.tolist())])
        # [B, H, W, 3] seen as [B, 3, H, W] is channels_last already
        return self.augmentation(pixels.permute(0, 3, 1, 2), views), there

    def _decode(self, row: int, there: Tensor, position: int) -> Tensor:
        try:
            return torch.from_numpy(decode(self.images[row], self.size, self.resize).copy())
        except ValueError as error:  # it could be read when the run began
            if not self.told[row]:
                log.warning("%s: %s; left out from here on", self.images[row], error)
            self.told[row] = True
            there[position] = False
            return torch.zeros(self.size, self.size, 3, dtype=torch.uint8)


class Rows(Dataset):
    """What a batch of rows of a label table is made of.

    Args:
        fetch: Rows and views to inputs.
        labels: 0 or 1, [N, A].
        mask: True where known, [N, A].
    """

    def __init__(self, fetch: Fetch, labels: np.ndarray, mask: np.ndarray):
        self.fetch = fetch
        self.labels = torch.from_numpy(labels)
        self.mask = torch.from_numpy(mask)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, keys: list[tuple[int, int]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Inputs [B, ...], labels and mask [B, A] of pairs of row and view, and which are there [B]."""
        rows, views = torch.tensor(keys, dtype=torch.int64).unbind(1)
        real = rows != PADDING
        rows = rows.clamp(min=0)
        inputs, there = self.fetch(rows, views)
        there = there & real
        return inputs, self.labels[rows], self.mask[rows] & there[:, None], there


def create_loader(rows: Rows, batches: BatchList, workers: int, pin_memory: bool) -> DataLoader:
    """A loader that follows a list of batches, which may be exchanged between epochs."""
    return DataLoader(
        rows,
        batch_sampler=batches,
        collate_fn=_as_is,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
    )


def iterate(loader: DataLoader) -> Iterator[tuple[Tensor, ...]]:
    """The loader's batches.

    Raises:
        RuntimeError: One of its processes has died; the message starts with `DataLoader worker`.
    """
    try:
        yield from loader
    except (ConnectionError, EOFError, RuntimeError) as error:
        # for a GPU, a thread of torch's fetches the batches, and ends without a word
        if isinstance(error, RuntimeError) and not f"{error}".startswith("Pin memory thread"):
            raise
        # the process that has the batch is gone; torch raises here as soon as it hears which one
        time.sleep(1)
        raise RuntimeError(f"DataLoader worker is gone: {error or type(error).__name__}") from error


def _as_is(batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return batch
