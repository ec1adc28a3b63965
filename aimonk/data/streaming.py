"""The order of an epoch that reads shards one after another, instead of images from anywhere."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Stream:
    """Shards of the images, and how many are mixed.

    Each process reads its own shards in random order, and at any time images of `window` of them, in random
    order. Few shards at a time need few open files and local copies, and are read from the disk once; but
    images of shards that are far apart in the order are never in one batch. A small window is therefore for
    shards whose images are mixed already. With as many shards as the window, the order is that of images
    from anywhere.

    The order depends on the seed, the epoch, the batch size and the number of processes, but not on the
    number of loader processes, which may differ when a run is resumed: these share the shards of their
    process, each of which stays in the page cache or the folder of copies while it is in the window.

    Attributes:
        shards: Number of the shard of each row of the label table, [N].
        window: Shards that are mixed at a time.
        needed: Whether epochs read shards, since decoded images are not stored.
    """

    shards: np.ndarray
    window: int
    needed: bool

    def arrange(self, order: np.ndarray, seed: int, epoch: int, batch_size: int, world: int) -> np.ndarray:
        """The places, [n], in which `split_batches` gives each process its own shards.

        Each place occurs once. Processes have equal numbers of batches, so that one shard may be divided
        between two of them.

        Args:
            order: Rows of the label table in random order, [n].
            batch_size: Images per process and batch.
            world: Number of processes.
        """
        rng = np.random.default_rng([seed, epoch, 1])
        turns = rng.permutation(self.shards.max(initial=0) + 1)[self.shards[order]]
        by_shard = np.argsort(turns, kind="stable")
        shares = np.split(by_shard, np.cumsum(share_sizes(len(order), batch_size, world))[:-1])
        shares = [self._mix(share, turns[share], rng) for share in shares]
        full = len(order) // (batch_size * world) * batch_size
        blocks = [share[:full].reshape(-1, 1, batch_size) for share in shares]
        return np.concatenate(
            [np.concatenate(blocks, axis=1).reshape(-1), *(share[full:] for share in shares)]
        )

    def _mix(self, share: np.ndarray, turns: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The share of a process, [n], with images of `window` shards mixed at any time."""
        turn = np.unique(turns, return_inverse=True)[1].reshape(-1)
        count = turn.max(initial=-1) + 1
        if count <= self.window:
            return np.sort(share)
        # each image moves by up to half a window; at both ends, images are reflected
        time = np.abs(turn + 0.5 + self.window * (rng.random(len(turn)) - 0.5))
        return share[np.argsort(count - np.abs(count - time), kind="stable")]


def share_sizes(count: int, batch_size: int, world: int) -> np.ndarray:
    """Images of each process, [world], as `split_batches` divides them."""
    full, rest = divmod(count, batch_size * world)
    share = -(-rest // world)
    return full * batch_size + np.clip(rest - share * np.arange(world), 0, share)
