"""Which images an epoch visits, in which order, in which views, and how they fall into batches."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

PADDING = -1  # a row that counts for nothing: it makes the last batch whole when processes share it


def shuffle(labels: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """Every image once an epoch: no weights."""
    return None


def weighted(labels: np.ndarray, mask: np.ndarray, power: float) -> np.ndarray:
    """Chances of being drawn, [N], that favour images with rare known labels.

    An entry weighs the inverse frequency of its value among the attribute's known entries, an image the mean
    over its known entries; one without any weighs as much as the average image.

    Args:
        labels: 0 or 1, [N, A].
        mask: True where known, [N, A].
        power: Weights are raised to it: 0 draws evenly, 1 balances fully.
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
    """One process's share of a step.

    Attributes:
        rows: Rows of the label table, or PADDING.
        views: The view of each.
        known: Known entries of the whole effective batch, over all processes and accumulated batches.
        first: Whether it opens an effective batch.
        last: Whether the optimizer steps after it.
    """

    rows: np.ndarray
    views: np.ndarray
    known: int
    first: bool
    last: bool


def plan_epoch(
    rows: np.ndarray, weights: np.ndarray | None, views: int | None, seed: int, epoch: int
) -> tuple[np.ndarray, np.ndarray]:
    """The order of an epoch and each image's view; a function of the seed and the epoch alone.

    Args:
        rows: The training rows, [n].
        weights: Chances of being drawn, with replacement, [n]; None visits each once.
        views: How many views there are; None for no end of them.

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
    """Cut an epoch into batches and give each process its share.

    Args:
        order: Rows of the label table, [n].
        views: Their views, [n].
        mask: Of the label table, [N, A].
        batch_size: Images per process and step.
        accumulate: Batches per optimizer step.
    """
    known = mask.sum(axis=1)
    size, step = batch_size * world, batch_size * world * accumulate
    batches = []
    for start in range(0, len(order), step):
        end = min(start + step, len(order))
        total = int(known[order[start:end]].sum())
        for first in range(start, end, size):
            last = min(first + size, end)
            share = -(-(last - first) // world)  # the last batch is spread evenly, and padded
            mine = slice(first + rank * share, min(first + (rank + 1) * share, last))
            padding = (0, share - len(order[mine]))
            batches.append(
                Batch(
                    np.pad(order[mine], padding, constant_values=PADDING),
                    np.pad(views[mine], padding),
                    total,
                    first == start,
                    last == end,
                )
            )
    return batches


class BatchList(Sampler):
    """Hands a list of batches to a DataLoader; the list may be exchanged between epochs."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for batch in self.batches:
            yield list(zip(batch.rows.tolist(), batch.views.tolist(), strict=True))

    def __len__(self) -> int:
        return len(self.batches)
