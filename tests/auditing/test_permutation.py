"""The permutation test: permutations, statistic, and size."""

from __future__ import annotations

import numpy as np
import pytest

from aimonk.auditing.permutation import compare, own_part, permutation_test, permute
from aimonk.auditing.ridge import principal_components


def test_groups_are_permuted_with_groups_of_equal_size():
    groups = np.array([7, 3, 3, 7, 5, 1, 9, 9, 2])
    y = np.array([1.0, 0, 1, 0, 1, 0, 1, 1, 0])
    permuted = permute(y, groups, 200, np.random.default_rng(0))
    assert permuted.shape == (9, 201)
    np.testing.assert_array_equal(permuted[:, 0], y)
    pairs = [[0, 3], [1, 2], [6, 7]]
    seen = {tuple(sorted(map(tuple, [column[pair] for pair in pairs]))) for column in permuted.T}
    assert seen == {((0, 1), (1, 0), (1, 1))}
    assert len({tuple(column[[0, 3]]) for column in permuted.T}) == 3
    assert set(permuted[[4, 5, 8]].sum(0)) == {1}


def test_own_part_sums_pairs_within_groups():
    rng = np.random.default_rng(1)
    scores, weights = rng.normal(size=(12, 5)), rng.random(5)
    groups = np.array([0, 1, 1, 2, 3, 3, 3, 4, 5, 0, 6, 7])
    centred = rng.normal(size=(12, 3))
    kernel = (scores * weights) @ scores.T
    kernel[groups[:, None] != groups] = 0
    expected = np.einsum("ip,ij,jp->p", centred, kernel, centred)
    np.testing.assert_allclose(own_part(scores, weights, centred, groups), expected)


def p_of(features, y, groups, seed=0, permutations=99):
    known = np.ones(len(y), dtype=bool)
    return permutation_test(
        principal_components(features), y, known, groups, permutations, np.random.default_rng(seed)
    )


def test_p_is_minimal_with_a_signal_one_without_permutations():
    rng = np.random.default_rng(2)
    features = rng.normal(size=(80, 10))
    y = (features[:, 0] > 0).astype(float)
    assert p_of(features, y, np.arange(80)) == 0.01
    assert p_of(features, y, np.repeat([0, 1], [30, 50])) == 1
    assert p_of(np.ones((80, 10)), y, np.arange(80)) == 1


def test_p_is_the_rank_among_statistics_between_groups():
    rng = np.random.default_rng(4)
    features, groups = rng.standard_t(2, size=(24, 6)), np.arange(24) // 2
    y = (rng.random(20) < 0.4).astype(float)
    components = principal_components(features)
    weights = 1 / (components.variances + 1)
    kernel = (components.scores[:20] * weights) @ components.scores[:20].T
    kernel[groups[:20, None] == groups[:20]] = 0
    centred = permute(y, groups[:20], 99, np.random.default_rng(5)) - y.mean()
    statistic = np.einsum("ip,ij,jp->p", centred, kernel, centred)
    p = compare(components.scores[:20], [weights], centred, groups[:20])
    assert p == np.mean(statistic >= statistic[0] - 1e-6)
    assert 0.02 < p < 0.98


@pytest.mark.parametrize("prevalence", [0.5, 0.08])
@pytest.mark.slow
def test_p_is_uniform_without_a_signal(prevalence):
    rng = np.random.default_rng(3)
    p = []
    for seed in range(250):
        # strong directions, outliers and twins with equal labels make a naive test too liberal
        features = np.repeat(rng.standard_t(3, size=(50, 30)) * np.linspace(3, 0.1, 30), 2, axis=0)
        y = np.repeat(rng.random(50) < prevalence, 2).astype(float)
        if 0 < y.sum() < len(y):
            p.append(p_of(features, y, np.arange(100) // 2, seed))
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(p))
    assert np.mean(p) == pytest.approx(0.5, abs=0.07)


@pytest.mark.parametrize("images", [40, 150, 600])
@pytest.mark.slow
def test_constant_statistic_gives_p_one(images):
    # the simplex: all images have the same distance, so that no permutation changes the statistic
    scores = principal_components(np.eye(images)).scores
    rng = np.random.default_rng(images)
    y = (rng.random(images) < 0.3).astype(float)
    centred = permute(y, np.arange(images), 99, rng) - y.mean()
    assert compare(scores, [np.ones(scores.shape[1])], centred, np.arange(images)) == 1


@pytest.mark.parametrize("sizes", [(30, 50), (150, 250), (61, 139)])
def test_p_is_one_where_no_group_can_be_permuted(sizes):
    rng = np.random.default_rng(sum(sizes))
    groups = np.repeat([0, 1], sizes)
    y = (rng.random(len(groups)) < np.where(groups == 0, 0.9, 0.1)).astype(float)
    assert p_of(rng.normal(size=(len(groups), 100)) + 3 * groups[:, None], y, groups) == 1


def test_ties_of_few_permutable_labels_are_counted():
    # images 0 and 1 can be exchanged, the large groups cannot
    sizes = [1, 1, *range(50, 90)]
    groups, rng = np.repeat(np.arange(len(sizes)), sizes), np.random.default_rng(0)
    features = rng.normal(size=(len(groups), 30))
    y = (features[:, 0] > 0).astype(float)
    for label in (0.0, 1.0):
        y[:2] = label, 1 - label
        scores = principal_components(features).scores
        centred = permute(y, groups, 199, rng) - y.mean()
        kernel = scores.astype(float) @ scores.T.astype(float) * (groups[:, None] != groups)
        exact = np.einsum("ip,ij,jp->p", centred, kernel, centred, optimize=True)
        expected = np.mean(exact >= exact[0] - 1e-6 * np.ptp(exact))
        assert compare(scores, [np.ones(30)], centred, groups) == expected


def test_many_attributes_take_few_permutations_unless_evident(monkeypatch):
    drawn = []

    def counted(y, groups, permutations, rng):
        drawn.append(permutations)
        return permute(y, groups, permutations, rng)

    monkeypatch.setattr("aimonk.auditing.permutation.permute", counted)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(80, 10)).astype(np.float32)
    components = principal_components(features)
    known, groups = np.ones(80, dtype=bool), np.arange(80)
    evident = (features[:, 0] > 0).astype(float)
    assert permutation_test(components, evident, known, groups, 5000, np.random.default_rng(1)) == 1 / 5001
    assert sum(drawn) == 5000
    drawn.clear()
    noise = rng.permutation(evident)
    p = permutation_test(components, noise, known, groups, 5000, np.random.default_rng(1))
    assert sum(drawn) == 999 and p > 0.02
