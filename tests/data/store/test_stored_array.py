import gc
import json
import multiprocessing
import pickle
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from aimonk.data.store import stored_array
from aimonk.data.store.row_set import CHECKSUMS_FILE, INDEX_FILE, ROWS_FILE, RowSet, TransientReason
from aimonk.data.store.row_store import SAMPLE, RowStore
from aimonk.data.store.stored_array import Row

N = 500
KEYS = [f"image {i}" for i in range(N)]
SHAPE, DTYPE, ROW_BYTES = (3, 4), "float32", 48
DAMAGED = 101  # not in the sample


def damage(folder: Path, name: str, position: int) -> None:
    content = bytearray((folder / name).read_bytes())
    content[position] ^= 4
    (folder / name).write_bytes(content)


@pytest.fixture
def damaged(fetch, computer, sets) -> Path:
    """The folder of a set of which row 101 is damaged and row 7 is an error."""
    fetch(computer(errors={7: "bad"}), KEYS)
    gc.collect()
    (folder,) = sets()
    damage(folder, ROWS_FILE, DAMAGED * ROW_BYTES + 5)
    return folder


def test_opening_verifies_a_sample(fetch, computer, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(computer(), KEYS)
    checked, is_intact = [], RowSet._is_intact
    monkeypatch.setattr(RowSet, "_is_intact", lambda self, row: checked.append(row) or is_intact(self, row))
    found = fetch(computer(), KEYS)
    assert len(checked) == SAMPLE and DAMAGED not in checked
    for _ in range(2):
        assert found.array[[3, DAMAGED, 3]][:, 0, 0].tolist() == [3, DAMAGED, 3]
    assert sorted(checked[SAMPLE:]) == [3, DAMAGED]  # each at its first use


def test_damaged_row_is_repaired_at_first_use(fetch, computer, damaged: Path, caplog) -> None:
    compute = computer()
    found = fetch(compute, KEYS)
    assert found.computed == 0 and compute.requested == [] and "damaged" not in caplog.text
    for _ in range(2):
        values, errors = found.array.read(np.arange(N))
        assert errors == {7: "bad"}
        assert [v for i, v in enumerate(values[:, 0, 0]) if i != 7] == [i for i in range(N) if i != 7]
    assert compute.requested == [[DAMAGED]]
    assert [r.message for r in caplog.records] == [f"{damaged} has damaged rows; they are computed again"]
    assert fetch(computer(50), KEYS).array[DAMAGED][0, 0] == DAMAGED  # in the file too


def test_damaged_checksum_is_repaired(fetch, computer, damaged: Path) -> None:
    damage(damaged, CHECKSUMS_FILE, 4 * (DAMAGED + 1) + 1)
    compute = computer()
    assert fetch(compute, KEYS).array[[DAMAGED, DAMAGED + 1]][:, 0, 0].tolist() == [DAMAGED, DAMAGED + 1]
    assert fetch(compute, KEYS).array[[DAMAGED, DAMAGED + 1]][:, 0, 0].tolist() == [DAMAGED, DAMAGED + 1]
    assert compute.requested == [[DAMAGED, DAMAGED + 1]]


def test_damaged_row_that_cannot_be_computed(fetch, computer, damaged: Path) -> None:
    found = fetch(computer(errors={DAMAGED: "the file is gone"}), KEYS)
    values, errors = found.array.read(np.array([5, DAMAGED]))
    assert errors == {1: "the file is gone"} and (values[0] == 5).all() and not values[1].any()
    for row, reason in ((7, "bad"), (DAMAGED, "the file is gone")):
        with pytest.raises(ValueError, match=f"row {row} has no values: {reason}"):
            found.array[[3, row]]
    assert fetch(computer(), KEYS).array[DAMAGED][0, 0] == DAMAGED  # the error is not stored


def test_damage_in_a_read_only_folder(fetch, computer, damaged: Path, monkeypatch, caplog) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(stored_array, "FileIO", refuse)
    compute = computer()
    found = fetch(compute, KEYS)
    for _ in range(2):
        assert found.array[DAMAGED][0, 0] == DAMAGED
    assert compute.requested == [[DAMAGED]] * 2 and len(caplog.records) == 1


def test_lost_error_message(fetch, computer, damaged: Path) -> None:
    index = json.loads((damaged / INDEX_FILE).read_text())
    (damaged / INDEX_FILE).write_text(json.dumps(index | {"errors": {}}))
    compute = computer(errors={7: "bad"})
    found = fetch(compute, KEYS)
    rows = compute.requested[0] if compute.requested else [7]
    assert 7 in rows and found.array.read(np.array([7]))[1] == {0: "bad"}


def test_transient_error_is_retried_without_reading_the_set(
    fetch, computer, sets, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(computer(errors={DAMAGED: TransientReason("no permission")}), KEYS)
    gc.collect()
    checked, is_intact = [], RowSet._is_intact
    monkeypatch.setattr(RowSet, "_is_intact", lambda self, row: checked.append(row) or is_intact(self, row))
    compute = computer()
    found = fetch(compute, KEYS)
    assert (found.computed, found.errors, compute.requested) == (1, {}, [[DAMAGED]])
    assert len(checked) <= SAMPLE + 1 and found.array[DAMAGED][0, 0] == DAMAGED
    assert fetch(computer(), KEYS).computed == 0


def test_sets_of_earlier_versions_are_opened(fetch, computer, sets) -> None:
    """Their files, written by hand: rows, CRC-32 of values and key, and keys with errors."""
    fetch(computer(), KEYS)
    (folder,) = sets()
    rows = [np.full(SHAPE, i, DTYPE).tobytes() for i in range(N)]
    checksums = [zlib.crc32(key.encode(), zlib.crc32(row)) for key, row in zip(KEYS, rows, strict=True)]
    checksums[7] = zlib.crc32(KEYS[7].encode(), zlib.crc32(b"\0bad"))
    (folder / ROWS_FILE).write_bytes(b"".join(rows))
    np.array(checksums, "uint32").tofile(folder / CHECKSUMS_FILE)
    (folder / INDEX_FILE).write_text(json.dumps({"keys": KEYS, "errors": {"7": "bad"}}))
    compute = computer()
    found = fetch(compute, KEYS)
    assert found.errors == {7: "bad"} and (found.array[8:][:, 0, 0] == np.arange(8, N)).all()
    assert compute.requested == []


def compute_again(rows: np.ndarray) -> Iterator[Row]:
    return ((row, np.full(SHAPE, row, DTYPE)) for row in rows.tolist())


def read_damaged(array: Callable, results) -> None:
    results.put(array[DAMAGED][0, 0])


@pytest.mark.parametrize("how", ["fork", "pickle"])
def test_damage_in_another_process(damaged: Path, tmp_path: Path, caplog, how: str) -> None:
    found = RowStore(tmp_path / "cache", 10**9).rows("family", KEYS, SHAPE, DTYPE, compute_again)
    if how == "pickle":  # as by a process that is spawned
        sent = pickle.dumps(found.array)
        assert len(sent) < 1000 and pickle.loads(sent)[DAMAGED][0, 0] == DAMAGED
    else:
        context = multiprocessing.get_context("fork")
        results = context.SimpleQueue()
        process = context.Process(target=read_damaged, args=(found.array, results))
        process.start()
        assert results.get() == DAMAGED
        process.join()
    caplog.clear()
    assert found.array[DAMAGED][0, 0] == DAMAGED and not caplog.records  # the other process has repaired it
