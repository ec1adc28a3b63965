import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimonk.data.sampling import PADDING, Batch, BatchList, plan_epoch, shuffle, split_batches, weighted

ROWS = np.arange(100, 150)
LABELS = np.array([[1, 0], [1, 1], [1, 0], [0, 0], [0, 0]], np.float32)
MASK = np.array([[1, 1], [1, 1], [1, 0], [1, 0], [0, 0]], bool)


def test_epoch_is_determined_by_seed_and_number() -> None:
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    first = plan_epoch(ROWS, None, 2, seed=3, epoch=5)
    np.random.seed(1)
    again = plan_epoch(ROWS, None, 2, seed=3, epoch=5)
    assert (first[0] == again[0]).all() and (first[1] == again[1]).all()
    for seed, epoch in ((3, 6), (4, 5), (5, 3)):
        order, views = plan_epoch(ROWS, None, 2, seed, epoch)
        assert (order != first[0]).any() and (views != first[1]).any()
    np.random.seed(0)
    assert (np.random.get_state()[1] == before).all()


def test_each_row_is_visited_once() -> None:
    order, views = plan_epoch(ROWS, None, 2, seed=0, epoch=1)
    assert sorted(order) == ROWS.tolist() and (order != ROWS).any()
    assert set(views) == {0, 1} and len(views) == 50


def test_views_are_within_range() -> None:
    assert not plan_epoch(ROWS, None, 1, 0, 1)[1].any()
    assert set(plan_epoch(np.arange(1000), None, 5, 0, 1)[1]) == set(range(5))
    endless = plan_epoch(ROWS, None, None, 0, 1)[1]
    # view 0 is the unchanged image; all views differ
    assert (endless > 0).all() and len(set(endless)) == 50
    assert not set(endless) & set(plan_epoch(ROWS, None, None, 0, 2)[1])


def test_weights_are_probabilities() -> None:
    chances = np.array([0.5, 0.25, 0.125, 0.125, 0])
    rows = np.array([7, 3, 9, 1, 2])
    drawn = np.concatenate([plan_epoch(rows, chances, 1, 0, epoch)[0] for epoch in range(2000)])
    assert len(drawn) == 10_000
    shares = [(drawn == row).mean() for row in rows]
    np.testing.assert_allclose(shares, chances, atol=0.02)


def test_shuffle_has_no_weights() -> None:
    assert shuffle(LABELS, MASK) is None


def test_weighted_equals_manual_calculation() -> None:
    # attribute 1: known 1 1 1 0, so a 1 weighs 4/3 and a 0 weighs 4; attribute 2: known 0 1, each weighs 2
    means = np.array([(4 / 3 + 2) / 2, (4 / 3 + 2) / 2, 4 / 3, 4, 0])
    means[4] = means[:4].mean()  # nothing known: the mean weight
    np.testing.assert_allclose(weighted(LABELS, MASK, 1.0), means / means.sum())
    np.testing.assert_allclose(weighted(LABELS, MASK, 0.5), means**0.5 / (means**0.5).sum())
    np.testing.assert_allclose(weighted(LABELS, MASK, 0), 0.2)


def test_weighted_balances_one_attribute() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((1000, 1)) < 0.08).astype(np.float32)
    chances = weighted(labels, np.ones_like(labels, bool), 1.0)
    np.testing.assert_allclose(chances[labels[:, 0] == 1].sum(), 0.5)
    order = plan_epoch(np.arange(1000), chances, 1, 0, 1)[0]
    assert 0.4 < labels[order].mean() < 0.6


def test_weighted_ignores_unknown_labels() -> None:
    other = np.where(MASK, LABELS, 1 - LABELS)
    assert (weighted(LABELS, MASK, 1.0) == weighted(other, MASK, 1.0)).all()


def test_weighted_in_degenerate_cases() -> None:
    nothing = np.zeros((3, 2), bool)
    np.testing.assert_allclose(weighted(np.zeros((3, 2), np.float32), nothing, 1.0), 1 / 3)
    np.testing.assert_allclose(weighted(np.ones((3, 2), np.float32), ~nothing, 1.0), 1 / 3)
    with pytest.raises(ValueError, match=r"sampler.power is -1; expected 0 or more"):
        weighted(LABELS, MASK, -1)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    n=st.integers(1, 60),
    batch_size=st.integers(1, 9),
    accumulate=st.integers(1, 4),
    world=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_processes_share_an_epoch(n: int, batch_size: int, accumulate: int, world: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((n + 5, 3)) < 0.6
    order = rng.permutation(n + 5)[:n]
    views = rng.integers(0, 2**62, n)
    ranks = [split_batches(order, views, mask, batch_size, accumulate, rank, world) for rank in range(world)]
    assert len({len(batches) for batches in ranks}) == 1

    seen: list[tuple[int, int]] = []
    groups: list[list[Batch]] = []
    for shares in zip(*ranks, strict=True):
        # all processes have the same number of images, at most batch_size
        assert len({(b.known, b.unknown, b.first, b.last, len(b.rows), len(b.views)) for b in shares}) == 1
        assert 0 < len(shares[0].rows) <= batch_size and len(shares[0].rows) == len(shares[0].views)
        group = [(r, v) for b in shares for r, v in zip(b.rows, b.views, strict=True) if r != PADDING]
        assert len(group) + world > sum(len(b.rows) for b in shares)  # less than one row of padding for each
        seen += group
        if shares[0].first:
            groups.append([])
        groups[-1] += shares
        assert len(groups[-1]) <= accumulate * world
    # each row once, in the epoch's order, in its view
    assert seen == list(zip(order.tolist(), views.tolist(), strict=True))
    for number, group in enumerate(groups):
        assert [b.last for b in group[:-world]] == [False] * (len(group) - world) and group[-1].last
        rows = np.concatenate([b.rows for b in group])
        group_mask = mask[rows[rows != PADDING]]
        assert {(b.known, b.unknown) for b in group} == {(group_mask.sum(), (~group_mask).sum())}
        if number < len(groups) - 1:
            assert len(rows) == batch_size * accumulate * world


def test_one_process_has_no_padding() -> None:
    batches = split_batches(np.arange(10), np.zeros(10, int), np.ones((10, 2), bool), 4, 1, 0, 1)
    assert [b.rows.tolist() for b in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [b.known for b in batches] == [8, 8, 4]


def test_more_processes_than_rows() -> None:
    batches = [
        split_batches(np.array([3]), np.array([9]), np.ones((5, 2), bool), 4, 2, r, 3) for r in range(3)
    ]
    assert [[b.rows.tolist() for b in rank] for rank in batches] == [[[3]], [[PADDING]], [[PADDING]]]
    assert {b.known for rank in batches for b in rank} == {2}


def test_batch_list() -> None:
    batches = BatchList()
    assert len(batches) == 0 and list(batches) == []
    batches.batches = [Batch(np.array([1, PADDING]), np.array([2**61, 0]), 4, 0, True, True)]
    assert len(batches) == 1 and list(batches) == [[(1, 2**61), (PADDING, 0)]]
