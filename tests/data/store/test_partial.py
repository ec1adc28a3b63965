"""Sets of which the first rows are stored only, and sets of packed rows."""

import gc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from aimonk.data.store.row_set import CHECKSUMS_FILE, ROWS_FILE
from aimonk.data.store.stored_array import Row

N = 500
KEYS = [f"image {i}" for i in range(N)]
SHAPE, DTYPE = (3, 4), "float32"
ROW = 48 + 4  # bytes with the checksum


def test_first_rows_are_stored(fetch, computer, values) -> None:
    assert fetch(computer(), KEYS, limit=100 * ROW) is None
    first = fetch(computer(), KEYS, limit=100 * ROW, partial=True)
    assert (first.computed, first.array.stored, len(first.array)) == (100, 100, N)
    assert not first.array.is_mapped
    compute = computer()
    found = fetch(compute, KEYS, limit=100 * ROW, partial=True)
    assert (found.computed, found.array.stored, compute.requested) == (0, 100, [])
    for _ in range(2):
        assert found.array[[3, 450, 99, 450, 100]][:, 0, 0].tolist() == [3, 450, 99, 450, 100]
    assert compute.requested == [[100, 450]] * 2  # the others are computed at every use


def test_set_grows_with_the_limit(fetch, computer, values) -> None:
    for limit, stored, new in ((100, 100, 100), (120, 100, 0), (130, 130, 30), (N, N, N - 130)):
        gc.collect()
        compute = computer()
        # an index takes some bytes too
        found = fetch(compute, KEYS, limit=limit * ROW + 10_000 * (limit == N), partial=True)
        assert (found.array.stored, found.computed) == (stored, new)
        assert sum(map(len, compute.requested)) == new
        del found
    assert values(fetch(computer(50), KEYS)) == list(range(N))


def test_set_of_the_first_rows_survives_a_request_for_all(fetch, computer, caplog) -> None:
    used = fetch(computer(), KEYS, limit=100 * ROW, partial=True)
    assert fetch(computer(), KEYS, limit=100 * ROW) is None
    assert "damaged" not in caplog.text
    again = fetch(computer(), KEYS, limit=100 * ROW, partial=True)
    assert (again.computed, again.array.stored, used.array.stored) == (0, 100, 100)


def test_set_in_use_does_not_grow(fetch, computer) -> None:
    used = fetch(computer(), KEYS, limit=100 * ROW, partial=True)
    assert fetch(computer(), KEYS, partial=True).array.stored == 100
    del used
    gc.collect()
    assert fetch(computer(), KEYS, partial=True).array.stored == N


def test_errors_of_rows_that_are_not_stored(fetch, computer) -> None:
    found = fetch(computer(errors={300: "bad"}), KEYS, limit=100 * ROW, partial=True)
    values, errors = found.array.read(np.array([299, 300, 50]))
    assert errors == {1: "bad"} and values[:, 0, 0].tolist() == [299, 0, 50]


class Packer:
    """Packs row i, filled with i, as i bytes of the value i % 256."""

    def __init__(self):
        self.requested: list[list[int]] = []

    def __call__(self, rows: np.ndarray) -> Iterator[Row]:
        self.requested.append(rows.tolist())
        for row in rows.tolist():
            yield row, "bad" if row == 7 else np.full(row, row % 256, np.uint8)


def unpack(content: np.ndarray) -> np.ndarray:
    assert (content == len(content) % 256).all()
    return np.full(SHAPE, len(content), DTYPE)


PACKED = {"unpack": unpack, "packed_bytes": lambda: 250.0, "partial": True}


def test_packed_rows(fetch) -> None:
    for computed in (N, 0):
        found = fetch(Packer(), KEYS, **PACKED)
        assert found.computed == computed and not found.array.is_mapped
        values, errors = found.array.read(np.arange(N))
        assert errors == {7: "bad"}
        assert [v for v in values[:, 0, 0] if v] == [i for i in range(1, N) if i != 7]


@pytest.mark.parametrize("name", [ROWS_FILE, CHECKSUMS_FILE])
def test_damaged_packed_rows_are_repaired(fetch, sets, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged row is repaired in place; after damage to the places of the rows, the set is written anew."""
    fetch(Packer(), KEYS, **PACKED)
    gc.collect()
    (folder,) = sets()
    content = bytearray((folder / name).read_bytes())
    start = sum(range(101)) - 7
    content[start + 50 if name == ROWS_FILE else 16 * 101 + 8] ^= 4
    (folder / name).write_bytes(content)
    compute = Packer()
    for _ in range(2):
        found = fetch(compute, KEYS, **PACKED)
        assert found.array[[99, 101, 102]][:, 0, 0].tolist() == [99, 101, 102]
        gc.collect()
    assert compute.requested == [[101]] and "damaged" in caplog.text
    assert [v for v in found.array.read(np.arange(8, N))[0][:, 0, 0]] == list(range(8, N))


def test_packed_rows_that_are_larger_than_expected(fetch, sets) -> None:
    """Writing ends at the limit; the mean size of the rows is 250 bytes."""
    options = PACKED | {"packed_bytes": lambda: 30.0}
    found = fetch(Packer(), KEYS, limit=25_000, **options)
    assert 200 < found.array.stored < 230 and found.array[450][0, 0] == 450
    (folder,) = sets()
    assert (folder / ROWS_FILE).stat().st_size < 25_000 + N
    gc.collect()
    again = fetch(Packer(), KEYS, limit=25_000, **options)
    assert again.computed == 0 and again.array.stored == found.array.stored


def test_packed_rows_are_copied(fetch) -> None:
    fetch(Packer(), KEYS, **PACKED)
    compute = Packer()
    found = fetch(compute, [*KEYS, "new"], **PACKED)
    assert compute.requested == [[500]] and found.errors == {7: "bad"}
    assert found.array[[3, 500]][:, 0, 0].tolist() == [3, 500]


def test_nothing_is_removed_in_vain(fetch, computer, sets, tmp_path: Path) -> None:
    fetch(computer(), family="a")
    gc.collect()
    assert fetch(computer(), KEYS, limit=100 * ROW) is None and len(sets()) == 1
