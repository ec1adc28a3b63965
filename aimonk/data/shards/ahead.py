"""Copies of the next shards of an epoch, made while the network trains on the present ones."""

import contextlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from aimonk.data.sampling import PADDING, Batch
from aimonk.data.shards.images import Shard, ShardImage

AHEAD = 2  # shards


class CopiesAhead:
    """Makes copies in a thread, for shards that are read in a known order.

    Args:
        images: By row of the label table, N.
        shards: Number of the shard of each, [N].
    """

    def __init__(self, images: Sequence[ShardImage], shards: np.ndarray):
        numbers, rows = np.unique(shards, return_index=True)
        self.shards = shards
        self.by_number = {number: images[row].shard for number, row in zip(numbers, rows, strict=True)}
        self.pool = ThreadPoolExecutor(1)

    def follow(self, batches: Sequence[Batch]) -> Callable[[int], None]:
        """A function to call with the index of each batch before it is loaded, from 0."""
        firsts: list[tuple[int, Shard]] = []  # first batch of each shard, in this order
        found = set()
        for i, batch in enumerate(batches):
            for number in dict.fromkeys(self.shards[batch.rows[batch.rows != PADDING]].tolist()):
                if number not in found:
                    found.add(number)
                    firsts.append((i, self.by_number[number]))
        submitted = 0

        def reached(i: int) -> None:
            nonlocal submitted
            while submitted < len(firsts) and firsts[max(0, submitted - AHEAD)][0] <= i:
                self.pool.submit(_copy, firsts[submitted][1])
                submitted += 1

        return reached


def _copy(shard: Shard) -> None:
    # the loader makes the copy again where this fails, and reports why
    with contextlib.suppress(Exception):
        if shard.copies is not None:
            os.close(shard.copies.open(shard.address, shard.state))
