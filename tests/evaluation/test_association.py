"""Associations against tables computed by hand and against scipy."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimonk.evaluation.association import associate, associate_unknown, fisher_exact, strongest_dependence

NAMES = ["hat", "coat", "shoe"]


def test_phi_and_p_value_by_hand():
    # hat and coat: both 3, hat only 1, coat only 1, neither 3, and one row with NA
    hat = [1, 1, 1, 1, 0, 0, 0, 0, 1]
    coat = [1, 1, 1, 0, 1, 0, 0, 0, 1]
    labels = np.array([hat, coat]).T
    mask = np.ones((9, 2), dtype=bool)
    mask[8, 1] = False
    (row,) = associate(labels, mask, NAMES[:2])
    assert row["attributes"] == ["hat", "coat"]
    assert (row["known"], row["both"]) == (8, 3)
    assert row["phi"] == pytest.approx((3 * 3 - 1 * 1) / 16)
    # tea-tasting lady: (16 + 1) / 70 on either side
    assert row["p_value"] == pytest.approx(34 / 70)
    assert row["interval"][0] < 0.5 < row["interval"][1]
    assert row["p_adjusted"] == row["p_value"]


def test_constant_and_unknown_attributes_are_not_tested():
    rng = np.random.default_rng(0)
    labels = np.stack([rng.integers(0, 2, 50), np.ones(50, int), rng.integers(0, 2, 50)], axis=1)
    mask = np.ones((50, 3), dtype=bool)
    rows = associate(labels, mask, NAMES)
    undefined = [row for row in rows if "coat" in row["attributes"]]
    assert len(undefined) == 2
    assert all(row["phi"] is row["p_value"] is row["p_adjusted"] is None for row in undefined)
    (defined,) = [row for row in rows if "coat" not in row["attributes"]]
    assert defined["p_adjusted"] == defined["p_value"]
    mask[:, 1] = False
    assert all(row["known"] == 0 for row in associate(labels, mask, NAMES) if "coat" in row["attributes"])
    json.dumps(rows + associate_unknown(labels, mask, NAMES))


def test_associated_pairs_come_first():
    rng = np.random.default_rng(1)
    hat = rng.random(400) < 0.5
    coat = np.where(rng.random(400) < 0.8, hat, ~hat)
    rows = associate(np.stack([hat, coat, rng.random(400) < 0.5], axis=1), np.ones((400, 3), bool), NAMES)
    assert rows[0]["attributes"] == ["hat", "coat"]
    assert rows[0]["phi"] == pytest.approx(0.6, abs=0.1)
    assert rows[0]["p_adjusted"] < 1e-6 < 0.05 < rows[1]["p_adjusted"]


def test_dependent_na_is_found():
    rng = np.random.default_rng(2)
    labels = (rng.random((600, 3)) < 0.5).astype(int)
    mask = rng.random((600, 3)) > 0.2
    # hats are NA under half of the coats; shoes are often NA where coats are
    mask[:, 0] = ~((labels[:, 1] == 1) & (rng.random(600) < 0.5))
    mask[:, 2] = np.where(rng.random(600) < 0.7, mask[:, 1], mask[:, 2])
    rows = associate_unknown(labels, mask, NAMES)
    significant = {(r["attribute"], r["given"], r["on"]) for r in rows if r["p_adjusted"] <= 0.05}
    assert significant == {("hat", "coat", "value"), ("coat", "shoe", "unknown")}
    assert len(rows) == 6 + 3


def test_random_na_is_rarely_called_dependent():
    rng = np.random.default_rng(3)
    claims = 0
    for _ in range(60):
        labels, mask = rng.random((200, 3)) < 0.4, rng.random((200, 3)) < 0.7
        claims += any((row["p_adjusted"] or 1) <= 0.05 for row in associate_unknown(labels, mask, NAMES))
    assert claims <= 8


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 5) | st.integers(0, 40), min_size=4, max_size=4))
def test_fisher_equals_scipy(counts):
    stats = pytest.importorskip("scipy.stats")
    table = np.array(counts).reshape(2, 2)
    assert fisher_exact(table) == pytest.approx(stats.fisher_exact(table).pvalue, rel=1e-6)


def test_fisher_with_margins_that_force_an_overlap():
    # margins 4 of 5 and 4 of 5: the overlap is 3 with 12/15, or 4 with 3/15
    assert fisher_exact(np.array([[4, 0], [0, 1]])) == pytest.approx(1 / 5)
    assert fisher_exact(np.array([[3, 1], [1, 0]])) == pytest.approx(1)


def test_fisher_on_a_large_table():
    assert fisher_exact(np.array([[50_000, 50_000], [50_000, 50_000]])) == pytest.approx(1)
    assert fisher_exact(np.array([[60_000, 40_000], [40_000, 60_000]])) < 1e-300


def test_wrong_number_of_names_raises():
    with pytest.raises(ValueError, match=r"shapes \(5, 2\) and \(5, 2\); expected \[N, 3\]"):
        associate(np.zeros((5, 2)), np.ones((5, 2), bool), NAMES)


def test_strong_association_of_few_entries_comes_last() -> None:
    rng = np.random.default_rng(0)
    first = rng.random(200) < 0.5
    labels = np.stack([first, first ^ (rng.random(200) < 0.2), first], axis=1).astype(float)
    mask = np.ones((200, 3), dtype=bool)
    mask[3:, 2] = False
    pairs = associate(labels, mask, ["a", "b", "c"])
    assert pairs[0]["attributes"] == ["a", "b"] and pairs[0]["p_adjusted"] < 0.001


def test_strongest_dependence_by_hand():
    # NA of hat: 3 of 4 rows with a coat, 1 of 4 without; independent of shoe
    coat, shoe = np.array([1, 1, 1, 1, 0, 0, 0, 0]), np.array([1, 0, 1, 0, 1, 0, 1, 0])
    labels = np.stack([np.ones(8, int), coat, shoe], axis=1)
    mask = np.ones((8, 3), dtype=bool)
    mask[:, 0] = [False, False, False, True, False, True, True, True]
    hat, *others = strongest_dependence(labels, mask)
    assert hat.given == 1 and hat.phi == pytest.approx(0.5)
    # the tea-tasting lady, times two pairs
    assert hat.p_adjusted == pytest.approx(2 * 34 / 70)
    assert others == [None, None]
    assert strongest_dependence(labels, np.ones((8, 3), bool)) == [None] * 3


def test_strongest_dependence_is_that_of_all_tests():
    rng = np.random.default_rng(5)
    labels = (rng.random((20_000, 4)) < 0.5).astype(int)
    mask = rng.random(labels.shape) > 0.3
    mask[:, 1] = rng.random(20_000) > np.where(labels[:, 3] == 1, 0.6, 0.2)
    mask[:, 2] &= mask[:, 0]
    names = ["a", "b", "c", "d"]
    rows = [row for row in associate_unknown(labels, mask, names) if row["on"] == "value"]
    rows = [row for row in rows if row["p_value"] is not None]
    assert len(rows) == 11, "a is known wherever c is"
    for a, found in enumerate(strongest_dependence(labels, mask)):
        expected = min((row for row in rows if row["attribute"] == names[a]), key=lambda r: r["p_value"])
        assert (names[found.given], found.phi) == (expected["given"], pytest.approx(expected["phi"]))
        assert found.p_adjusted == pytest.approx(min(1, 11 * expected["p_value"]))


def test_dependence_on_constant_attributes_is_not_tested():
    labels, mask = np.ones((6, 2), int), np.ones((6, 2), bool)
    mask[:3, 0] = False
    assert strongest_dependence(labels, mask) == [None, None]
