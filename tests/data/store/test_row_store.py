import gc
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from aimonk.data.store import locks, space
from aimonk.data.store.row_store import RowStore
from aimonk.data.store.stored_array import Row

KEYS = [f"image {i} é\0{i}" for i in range(20)]
SHAPE, DTYPE = (3, 4), "float32"
ROW_BYTES = 48


def age(folder: Path, seconds: int) -> None:
    os.utime(folder, (time.time() - seconds,) * 2)


@pytest.fixture
def read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulates a read-only file system, for root too."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(locks.FileLock, "acquire", refuse)
    for name in ("mkdir", "rename", "replace", "utime"):
        monkeypatch.setattr(os, name, refuse)


def test_rows_are_computed_once(fetch, computer, values) -> None:
    first, second = computer(), computer(100)
    found = fetch(first)
    assert (found.computed, found.errors, first.requested) == (20, {}, [list(range(20))])
    assert values(found) == list(range(20)) and found.array.dtype == DTYPE
    again = fetch(second)
    assert (again.computed, second.requested, values(again)) == (0, [], list(range(20)))


def test_indices_are_those_of_an_array(fetch, computer) -> None:
    expected = np.stack([np.full(SHAPE, i, DTYPE) for i in range(20)])
    array = fetch(computer()).array
    assert (len(array), array.shape, array.ndim, array.dtype) == (20, (20, *SHAPE), 3, DTYPE)
    for index in (3, -1, np.int64(4), slice(None), slice(5, 1, -2), [2, 2], np.array([[0, -3], [7, 7]])):
        assert array[index].shape == expected[index].shape and (array[index] == expected[index]).all()
    is_even = np.arange(20) % 2 == 0
    assert (array[is_even] == expected[is_even]).all()
    for index in (20, -21, [0, 20]):
        with pytest.raises(IndexError):
            array[index]


def test_order_and_type_of_computed_rows(tmp_path: Path) -> None:
    def compute(rows: np.ndarray) -> Iterator[Row]:
        for row in rows[::-1].tolist():
            yield row, np.full((2, 2), row).T

    found = RowStore(tmp_path, 10**6).rows("f", ["a", "b", "c"], (2, 2), "float16", compute)
    assert found.array[:][:, 0, 0].tolist() == [0, 1, 2] and found.array.dtype == np.float16
    with pytest.raises(ValueError, match=r"row 0 has the shape \(2, 2\); expected \(2, 3\)"):
        RowStore(tmp_path, 10**6).rows("f", ["a"], (2, 3), "float16", compute)
    with pytest.raises(ValueError, match="1 of 2 rows not computed"):
        RowStore(tmp_path, 10**6).rows("f", ["x", "y"], (2, 2), "float16", lambda rows: compute(rows[:1]))


def test_empty_set(computer, tmp_path: Path) -> None:
    found = RowStore(tmp_path, 10**6).rows("f", [], SHAPE, DTYPE, computer())
    assert found.array.shape == (0, *SHAPE) and found.computed == 0


def test_changed_key_costs_one_row(fetch, computer, values) -> None:
    fetch(computer(errors={5: "broken"}))
    compute, keys = computer(100), [*KEYS[:7], "changed", *KEYS[8:]]
    found = fetch(compute, keys)
    assert compute.requested == [[7]] and found.computed == 1
    assert [v for i, v in enumerate(values(found)) if i != 5] == [0, 1, 2, 3, 4, 6, 107, *range(8, 20)]
    assert found.errors == {5: "broken"}
    more = fetch(compute, [*keys[::-1], "new"])
    assert compute.requested[1:] == [[20]] and more.errors == {14: "broken"}


def test_families_share_no_rows(fetch, computer, values) -> None:
    fetch(computer())
    found = fetch(computer(50), family="other weights")
    assert found.computed == 20 and values(found)[0] == 50


def test_least_recently_used_sets_are_removed_first(fetch, computer, sets, values) -> None:
    folders = {}
    for position, family in enumerate("abc"):
        fetch(computer(), family=family)
        (folders[family],) = set(sets()) - set(folders.values())
        age(folders[family], 1000 - position)
    size = sum(file.stat().st_size for file in folders["a"].iterdir())
    gc.collect()
    age(folders["b"], 2000)
    fetch(computer(), family="a")  # using a set updates its time
    gc.collect()
    assert fetch(computer(), family="d", limit=3 * size).computed == 20
    assert [f for f in "abc" if folders[f].exists()] == ["a", "c"]
    gc.collect()
    assert fetch(computer(), family="e", limit=3 * size).computed == 20
    assert [f for f in "abc" if folders[f].exists()] == ["a"]
    assert fetch(computer(), family="a").computed == 0


def test_none_where_a_set_does_not_fit(
    fetch, computer, sets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = computer()
    assert fetch(compute, limit=20 * ROW_BYTES) is None
    usage = space.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(space.shutil, "disk_usage", lambda _: usage._replace(free=500))
    assert fetch(compute) is None
    assert compute.requested == [] and sets() == []


def test_space_of_an_earlier_attempt_counts(fetch, computer, monkeypatch, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="fire"):
        fetch(computer(fail_at=12))
    usage = space.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(space.shutil, "disk_usage", lambda _: usage._replace(free=500))
    assert fetch(computer()).computed == 8


@pytest.mark.parametrize("below", ["", "sub/"])
def test_folder_that_cannot_be_created(
    computer, tmp_path: Path, below: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("mine")
    compute = computer()
    assert RowStore(tmp_path / f"file/{below}", 10**9).rows("f", KEYS, SHAPE, DTYPE, compute) is None
    (record,) = caplog.records
    assert "cannot write to" in record.message and "cache_dir=" in record.message
    assert compute.requested == [] and (tmp_path / "file").read_text() == "mine"


def test_read_only_folder(
    fetch, computer, values, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    fetch(computer())
    request.getfixturevalue("read_only")
    found = fetch(computer())  # existing sets are usable
    assert found.computed == 0 and values(found) == list(range(20))
    assert fetch(computer(), family="other") is None
    assert "Read-only file system" in caplog.text


def test_find_and_remove(fetch, computer, sets, values, tmp_path: Path) -> None:
    cache = RowStore(tmp_path / "cache", 10**9)
    assert cache.find("family", KEYS, SHAPE, DTYPE, computer()) is None
    cache.remove("family", KEYS, SHAPE, DTYPE)
    used = fetch(computer())
    assert values(cache.find("family", KEYS, SHAPE, DTYPE, computer())) == list(range(20))
    assert cache.find("family", KEYS[1:], SHAPE, DTYPE, computer()) is None
    gc.collect()
    cache.remove("family", KEYS, SHAPE, DTYPE)  # it is in use
    assert len(sets()) == 1
    del used
    gc.collect()
    cache.remove("family", KEYS, SHAPE, DTYPE)
    assert cache.find("family", KEYS, SHAPE, DTYPE, computer()) is None and sets() == []
