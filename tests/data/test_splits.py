import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimonk.data.splits import assigned_split, read_assignment, stratified_folds, stratified_split


def _draw(rows: int, attributes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels from 2 to 50 % positive, 15 % NA, with values of both kinds where unknown."""
    generator = np.random.default_rng(seed)
    labels = generator.random((rows, attributes)) < np.geomspace(0.02, 0.5, attributes)
    return labels.astype(np.float32), generator.random((rows, attributes)) > 0.15


def _gaps(labels: np.ndarray, mask: np.ndarray, parts: list[np.ndarray]) -> np.ndarray:
    """Deviation of each part from its share of 1s, 0s and NAs, in rows, [S, 3A]."""
    indicators = np.concatenate([mask & (labels == 1), mask & (labels == 0), ~mask], axis=1)
    return np.array([indicators[p].sum(0) - indicators.sum(0) * len(p) / len(labels) for p in parts])


def test_split_is_closer_to_its_shares_than_random():
    labels, mask = _draw(3000, 20)
    parts = stratified_split(labels, mask, (0.6, 0.2, 0.2), None, 0)
    random = np.split(np.random.default_rng(0).permutation(3000), [1800, 2400])
    ours, chance = (np.abs(_gaps(labels, mask, p)).mean() for p in (parts, random))
    assert ours < chance / 3
    assert [len(p) for p in parts] == [1800, 600, 600]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(3000))
    assert all((np.diff(p) > 0).all() for p in parts)


def test_group_split_is_closer_to_its_shares_than_random():
    labels, mask = _draw(6000, 20)
    groups = np.random.default_rng(1).permutation(np.arange(6000) * 2 // 5)
    parts = stratified_split(labels, mask, (0.8, 0.1, 0.1), groups, 0)
    order = np.random.default_rng(0).permutation(groups.max() + 1)
    random = [np.flatnonzero(np.isin(groups, g)) for g in np.split(order, [1920, 2160])]
    assert np.abs(_gaps(labels, mask, parts)).mean() < np.abs(_gaps(labels, mask, random)).mean() / 2
    assert [len(p) for p in parts] == [4800, 600, 600]


def test_rare_attributes_are_distributed():
    labels, mask = _draw(1000, 12)
    labels[:, 0] = 0
    mask[:, 0] = True
    labels[[3, 500, 501, 502, 999], 0] = 1
    fold = stratified_folds(labels, mask, 5, None, 0)
    assert sorted(fold[labels[:, 0] == 1]) == [0, 1, 2, 3, 4]
    parts = stratified_split(labels, mask, (0.6, 0.2, 0.2), None, 0)
    assert [int(labels[p, 0].sum()) for p in parts] == [3, 1, 1]


def test_unknown_labels_are_ignored():
    labels, mask = _draw(400, 6)
    other = np.where(mask, labels, 1 - labels)
    nan = np.where(mask, labels, np.nan)
    for changed in (other, nan):
        a, b = (stratified_folds(x, mask, 4, None, 3) for x in (labels, changed))
        assert np.array_equal(a, b)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 60),
    attributes=st.integers(1, 5),
    group_count=st.integers(1, 40),
    fractions=st.sampled_from(
        [(0.6, 0.2, 0.2), (0.8, 0.2), (0.8, 0.0, 0.2), (1.0,), (0.5, 0.5), (0.98, 0.01, 0.01)]
    ),
    seed=st.integers(0, 99),
)
def test_groups_stay_together_and_sizes_hold(rows, attributes, group_count, fractions, seed):
    labels, mask = _draw(rows, attributes, seed)
    groups = np.random.default_rng(seed).integers(0, group_count, rows) * 7 - 3
    parts = stratified_split(labels, mask, fractions, groups, seed)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(rows))
    holders = [set(groups[p]) for p in parts]
    assert sum(map(len, holders)) == len(set(groups))
    used = [f > 0 for f in fractions]
    assert all(len(p) == 0 for p, u in zip(parts, used, strict=True) if not u)
    if len(set(groups)) >= sum(used):
        assert all(len(p) > 0 for p, u in zip(parts, used, strict=True) if u)
    largest = np.unique(groups, return_counts=True)[1].max()
    # one more row where a part with a share below one row was given one
    slack = max(largest, 1) + len(fractions) - 1
    assert all(abs(len(p) - f * rows) <= slack for p, f in zip(parts, fractions, strict=True))


@settings(derandomize=True, max_examples=40, deadline=None)
@given(rows=st.integers(2, 60), folds=st.integers(2, 10), seed=st.integers(0, 99), grouped=st.booleans())
def test_folds_hold_out_each_row_once(rows, folds, seed, grouped):
    labels, mask = _draw(rows, 3, seed)
    groups = np.arange(rows) // 2 if grouped else None
    if folds > (rows if groups is None else len(set(groups))):
        with pytest.raises(ValueError, match=rf"^folds is {folds}; expected at most"):
            stratified_folds(labels, mask, folds, groups, seed)
        return
    fold = stratified_folds(labels, mask, folds, groups, seed)
    sizes = np.bincount(fold, minlength=folds)
    assert len(sizes) == folds
    assert sizes.min() > 0
    if groups is None:
        assert sizes.max() - sizes.min() <= 1
    else:
        assert all(len(set(fold[groups == g])) == 1 for g in groups)


def test_equal_seeds_give_equal_splits():
    labels, mask = _draw(500, 8)
    groups = np.arange(500) // 3
    one, two, other = (stratified_split(labels, mask, (0.7, 0.3), groups, s) for s in (5, 5, 6))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[0], other[0])


def test_small_tables():
    one = np.ones((2, 1), np.float32)
    parts = stratified_split(one, one > 0, (0.8, 0.2), None, 0)
    assert [len(p) for p in parts] == [1, 1]
    nothing_known = stratified_split(np.zeros((10, 3)), np.zeros((10, 3), bool), (0.6, 0.2, 0.2), None, 0)
    assert [len(p) for p in nothing_known] == [6, 2, 2]
    single = np.zeros((10, 1), np.float32)
    single[4] = 1
    assert 4 in stratified_split(single, single >= 0, (0.8, 0.2), None, 0)[0]
    empty = stratified_split(np.zeros((0, 2)), np.zeros((0, 2), bool), (0.8, 0.2), None, 0)
    assert [len(p) for p in empty] == [0, 0]


def test_group_larger_than_the_smaller_part():
    labels, mask = _draw(20, 2)
    groups = np.where(np.arange(20) < 9, 0, np.arange(20))
    train, val = stratified_split(labels, mask, (0.8, 0.2), groups, 0)
    assert (len(train), len(val)) == (16, 4)
    assert set(range(9)) <= set(train)


@pytest.mark.parametrize("fractions", [(0.8, 0.3), (1.2, -0.2), (), (float("nan"), 1.0)])
def test_fractions_must_sum_to_1(fractions):
    labels, mask = _draw(10, 2)
    with pytest.raises(
        ValueError, match=r"^fractions is \[.*\]; expected non-negative numbers that sum to 1$"
    ):
        stratified_split(labels, mask, fractions, None, 0)


def test_shapes_are_checked():
    labels, mask = _draw(10, 2)
    with pytest.raises(ValueError, match=r"shapes \[10, 2\] and \[9, 2\]; expected \[N, A\] for both"):
        stratified_split(labels, mask[:9], (0.8, 0.2), None, 0)
    with pytest.raises(ValueError, match=r"groups has the shape \[9\]; expected \[10\]"):
        stratified_split(labels, mask, (0.8, 0.2), np.zeros(9, int), 0)
    with pytest.raises(ValueError, match=r"folds is 1; expected 2 or more"):
        stratified_folds(labels, mask, 1, None, 0)


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffa.jpg train\nb c.jpg   val\nsub/d.jpg\ttest\n",
        "\ufeffimage,split\r\na.jpg,train\r\n\r\nb c.jpg, val\r\nsub/d.jpg,TEST",
        '# mine\nname\tpart\n./a.jpg\ttrain\n"b c.jpg"\tval\nsub/d.jpg\ttest\nsub/d.jpg\ttest\n',
        'image;split\na.jpg;Training\n"b c.jpg";VALID\nsub/d.jpg;testing\n',
        "a.jpg TRAINING\nb c.jpg validation\nb c.jpg dev\nsub/d.jpg test\n",
    ],
)
def test_split_file_is_read(tmp_path, text):
    file = tmp_path / "split.txt"
    file.write_bytes(text.encode())
    assert read_assignment(file) == {"a.jpg": "train", "b c.jpg": "val", "sub/d.jpg": "test"}


def test_all_errors_of_a_split_file_are_reported(tmp_path):
    file = tmp_path / "split.txt"
    rows = ["a.jpg trian", "b.jpg val", "b.jpg train", ",val", "c.jpg"] + [f"{i}.jpg x" for i in range(9)]
    file.write_text("\n".join(rows))
    with pytest.raises(ValueError) as caught:
        read_assignment(file)
    errors = str(caught.value).splitlines()
    assert errors[0] == f"{file} line 1: the split of 'a.jpg' is 'trian'; expected train, val, test"
    assert errors[1] == f"{file} line 3: 'b.jpg' is assigned to train, and to val above"
    assert errors[2] == f"{file} line 4: the image name before 'val' is empty"
    assert errors[3] == f"{file} line 5: the split of 'c.jpg' is ''; expected train, val, test"
    assert errors[10:] == ["and 3 more"]


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "no rows"), (b"name split\n", "no rows"), (b"\xff\xfe", "UTF-8")]
)
def test_split_file_without_rows(tmp_path, content, message):
    file = tmp_path / "split.txt"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_assignment(file)
    with pytest.raises(FileNotFoundError, match="no split file"):
        read_assignment(tmp_path / "other.txt")


def test_assigned_split_from_a_mapping_and_a_file(tmp_path):
    given_split = {"d": "val", "a": "train", "b": "test", "c": "train"}
    file = tmp_path / "split.csv"
    file.write_text("".join(f"{name},{split}\n" for name, split in given_split.items()))
    for assignment in (given_split, file, str(file)):
        parts = assigned_split(assignment, list("abcd"))
        assert [p.tolist() for p in parts] == [[0, 2], [3], [1]]


def test_assigned_split_lists_mismatches():
    given_split = {"a": "train", "x": "val", "b": "dev"}
    with pytest.raises(ValueError) as caught:
        assigned_split(given_split, ["a", "b", *(f"{i}.jpg" for i in range(12))])
    errors = str(caught.value).splitlines()
    first = ", ".join(f"{i}.jpg" for i in range(10))
    assert errors == [
        f"the assignment: 12 images without a split: {first} and 2 more",
        "the assignment: 1 name without an image: x",
        "the assignment: 1 image with a split other than train, val, test: b",
    ]


def test_assigned_split_warns_of_divided_duplicates(caplog):
    given_split = {"a": "train", "b": "train", "c": "val", "d": "test"}
    with caplog.at_level(logging.WARNING):
        assigned_split(given_split, list("abcd"), np.array([0, 0, 1, 2]))
        assert not caplog.records
        assigned_split(given_split, list("abcd"), np.array([0, 1, 0, 2]))
    assert "the assignment: 1 duplicate photograph in different splits: a (train) = c (val)" in caplog.text
