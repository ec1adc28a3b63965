import numpy as np
import pytest

from aimonk.data.sampling import PADDING, plan_epoch, split_batches
from aimonk.data.streaming import Stream, share_sizes

SHARDS = np.sort(np.random.default_rng(0).integers(0, 30, 1003))  # of unequal sizes
ROWS = np.random.default_rng(1).permutation(1003)[:800]


def sequences(window: int, batch_size: int, accumulate: int, world: int, epoch: int = 1) -> list[np.ndarray]:
    """The rows that each process trains on, in their order."""
    stream = Stream(SHARDS, window, needed=True)
    order, views = plan_epoch(ROWS, None, None, 0, epoch)
    places = stream.arrange(order, 0, epoch, batch_size, world)
    mask = np.ones((len(SHARDS), 1), bool)
    arguments = (order[places], views[places], mask, batch_size, accumulate)
    batches = [split_batches(*arguments, rank, world) for rank in range(world)]
    assert len({len(own) for own in batches}) == 1, "or a process would wait for the others forever"
    return [np.concatenate([batch.rows for batch in own]) for own in batches]


def open_shards(rows: np.ndarray) -> int:
    """Shards between whose first and last image another one is read, at most."""
    shards = SHARDS[rows[rows != PADDING]]
    spans = [
        (np.flatnonzero(shards == shard)[0], np.flatnonzero(shards == shard)[-1]) for shard in set(shards)
    ]
    return max(sum(first <= i <= last for first, last in spans) for i in range(len(shards)))


@pytest.mark.parametrize(("world", "accumulate"), [(1, 1), (2, 1), (2, 3), (7, 2)])
def test_processes_read_each_image_once_and_own_shards(world: int, accumulate: int) -> None:
    rows = sequences(3, 8, accumulate, world)
    real = np.concatenate(rows)
    assert sorted(real[real != PADDING]) == sorted(ROWS)
    shards = [set(SHARDS[own[own != PADDING]].tolist()) for own in rows]
    for i, own in enumerate(shards):
        # steps of equal length divide one shard between two neighbours
        assert all(len(own & other) <= (1 if j == i + 1 else 0) for j, other in enumerate(shards) if j > i)
    assert max(map(open_shards, rows)) <= 3 + 1


def test_window_is_mixed() -> None:
    (rows,) = sequences(4, 8, 1, 1)
    batches = SHARDS[rows].reshape(-1, 8)
    assert np.median([len(set(batch)) for batch in batches]) >= 3
    (narrow,) = sequences(1, 8, 1, 1)
    changes = np.count_nonzero(np.diff(SHARDS[narrow]))
    assert changes == len(set(SHARDS[ROWS])) - 1
    assert (np.diff(narrow) < 0).any(), "images of one shard are in random order too"


def test_epochs_differ_and_repeat() -> None:
    first, again, other = (sequences(3, 8, 1, 2, epoch) for epoch in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_as_many_shards_as_the_window_are_read_in_any_order() -> None:
    (rows,) = sequences(30, 8, 1, 1)
    assert (rows == plan_epoch(ROWS, None, None, 0, 1)[0]).all()


@pytest.mark.parametrize(("count", "world"), [(0, 2), (1, 3), (16, 2), (17, 2), (31, 2), (5, 8)])
def test_share_sizes_are_those_of_the_batches(count: int, world: int) -> None:
    order = np.arange(count)
    own = [split_batches(order, order, np.ones((count, 1), bool), 8, 1, rank, world) for rank in range(world)]
    sizes = [sum(int((batch.rows != PADDING).sum()) for batch in batches) for batches in own]
    assert share_sizes(count, 8, world).tolist() == sizes


def test_weighted_draws_may_repeat_images() -> None:
    order = np.array([5, 5, 5, 700, 0, 700])
    places = Stream(SHARDS, 1, needed=True).arrange(order, 0, 1, 2, 1)
    assert sorted(places) == list(range(6))
