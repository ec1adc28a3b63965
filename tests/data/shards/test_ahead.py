import os
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

from aimonk.data.sampling import PADDING, Batch, BatchList
from aimonk.data.shards.ahead import CopiesAhead
from aimonk.data.shards.images import Shard, ShardImage


def follow(copied: list[str], shards: list[int]) -> Callable:
    """`CopiesAhead.follow` for rows of these shards, which notes the copies; shard 4 cannot be copied."""

    def copy(address: str, state: str) -> int:
        copied.append(address)
        if address == "4":
            raise OSError("no connection")
        return os.open(os.devnull, os.O_RDONLY)

    copies = SimpleNamespace(open=copy)
    images = [ShardImage(Shard(f"{number}", "", copies), "", 0, 0) for number in shards]
    ahead = CopiesAhead(images, np.array(shards))
    # in this thread, so that the test does not depend on another one
    ahead.pool = SimpleNamespace(submit=lambda function, *arguments: function(*arguments))
    return ahead.follow


def test_two_shards_ahead_of_the_loader() -> None:
    copied: list[str] = []
    shards = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    batches = BatchList(follow(copied, shards))
    rows = [[0, 2], [3, 1], [4, 5], [6, 7], [8, 9], [10, PADDING]]
    batches.batches = [Batch(np.array(own), np.zeros(2, int), 0, 0, True, True) for own in rows]
    seen = [len(copied) for _ in batches]
    assert copied == ["0", "1", "2", "3", "4", "5"], "in the order of their first use, each once"
    assert seen == [4, 4, 5, 6, 6, 6]
    assert [len(copied) for _ in batches][-1] == 12, "again in the next epoch"
