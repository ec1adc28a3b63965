"""Sampling: the order and the views of the images of an epoch, and their division into batches."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

PADDING = -1  # a row without effect: it fills up the last batch of an epoch shared by processes


def shuffle(labels: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """Each image once per epoch: no weights."""
    return None


def weighted(labels: np.ndarray, mask: np.ndarray, power: float) -> np.ndarray:
    """Sampling probabilities, [N], that favour images with rare known labels.

    The weight of an entry is the inverse frequency of its value among the attribute's known entries, the
    weight of an image the mean over its known entries; an image without any has the mean weight.

    Args:
        labels: 0 or 1, [N, A].
        mask: True where known, [N, A].
        power: Exponent of the weights: 0 samples uniformly, 1 balances fully.
    """
    if power < 0:
        raise ValueError(f"sampler.power is {power}; expected 0 or more")
    known = np.maximum(mask.sum(axis=0), 1)
    positive_share = (labels * mask).sum(axis=0) / known
    share = np.where(labels > 0.5, positive_share, 1 - positive_share)
    entries = np.where(mask, 1 / np.maximum(share, 1e-9), 0)
    count = mask.sum(axis=1)
    weights = np.where(count > 0, entries.sum(axis=1) / np.maximum(count, 1), 0)
    weights = np.where(count > 0, weights, weights[count > 0].mean() if (count > 0).any() else 1.0) ** power
    return weights / weights.sum()


@dataclass(frozen=True)
class Batch:
    """The batch of one process.

    Attributes:
        rows: Rows of the label table, or PADDING.
        views: View of each row.
        known: Known entries of the effective batch, over all processes and accumulated batches.
        unknown: Unknown entries of the same images.
        first: Whether it is the first of an effective batch.
        last: Whether the optimizer steps after it.
    """

    rows: np.ndarray
    views: np.ndarray
    known: int
    unknown: int
    first: bool
    last: bool


def plan_epoch(
    rows: np.ndarray, weights: np.ndarray | None, views: int | None, seed: int, epoch: int
) -> tuple[np.ndarray, np.ndarray]:
    """Order and views of the images of an epoch, determined by the seed and the epoch.

    Args:
        rows: The training rows, [n].
        weights: Sampling probabilities, with replacement, [n]; None visits each row once.
        views: Number of views; None if unbounded.

    Returns:
        Rows [n] and views [n].
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(rows) if weights is None else rng.choice(rows, len(rows), p=weights)
    chosen = rng.integers(1, 2**62, len(rows)) if views is None else rng.integers(0, views, len(rows))
    return order, chosen


def split_batches(
    order: np.ndarray,
    views: np.ndarray,
    mask: np.ndarray,
    batch_size: int,
    accumulate: int,
    rank: int,
    world: int,
) -> list[Batch]:
    """Divide an epoch into batches and return those of one process.

    Args:
        order: Rows of the label table, [n].
        views: Their views, [n].
        mask: Mask of the label table, [N, A].
        batch_size: Images per process and batch.
        accumulate: Batches per optimizer step.
    """
    known = mask.sum(axis=1)
    size, step = batch_size * world, batch_size * world * accumulate
    batches = []
    for start in range(0, len(order), step):
        end = min(start + step, len(order))
        total = int(known[order[start:end]].sum())
        unknown = (end - start) * mask.shape[1] - total
        for first in range(start, end, size):
            last = min(first + size, end)
            share = -(-(last - first) // world)  # the last batch is divided evenly, and padded
            mine = slice(first + rank * share, min(first + (rank + 1) * share, last))
            padding = (0, share - len(order[mine]))
            batches.append(
                Batch(
                    np.pad(order[mine], padding, constant_values=PADDING),
                    np.pad(views[mine], padding),
                    total,
                    unknown,
                    first == start,
                    last == end,
                )
            )
    return batches


class BatchList(Sampler):
    """A batch sampler over a list, which may be replaced between epochs.

    Args:
        follow: Called with the list at the start of each pass; returns a function that is called with the
            index of each batch before it is loaded.
    """

    def __init__(self, follow: Callable[[list[Batch]], Callable[[int], None]] | None = None) -> None:
        self.batches: list[Batch] = []
        self.follow = follow

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        reached = None if self.follow is None else self.follow(self.batches)
        for i, batch in enumerate(self.batches):
            if reached is not None:
                reached(i)
            yield list(zip(batch.rows.tolist(), batch.views.tolist(), strict=True))

    def __len__(self) -> int:
        return len(self.batches)
