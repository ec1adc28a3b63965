import gc
import json
import os
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aimonk.data.store import building
from aimonk.data.store.row_set import CHECKSUMS_FILE, INDEX_FILE, ROWS_FILE, TransientReason

KEYS = [f"image {i} é\0{i}" for i in range(20)]
ROW_BYTES = 48


def flip_bit(file: Path, position: int) -> None:
    content = bytearray(file.read_bytes())
    content[position] ^= 4
    file.write_bytes(content)


def test_errors_are_stored(fetch, computer, values) -> None:
    errors = {3: "truncated \udcff é", 19: ""}
    for computed in (20, 0):
        found = fetch(computer(errors=errors))
        assert found.errors == errors and found.computed == computed
        assert values(found)[4:19] == list(range(4, 19))


def test_transient_errors_are_not_stored(fetch, computer, values) -> None:
    found = fetch(computer(errors={3: TransientReason("no permission"), 5: "truncated"}))
    assert found.errors == {3: "no permission", 5: "truncated"}
    compute = computer()
    again = fetch(compute)
    assert compute.requested == [[3]] and again.errors == {5: "truncated"} and values(again)[3] == 3
    assert fetch(computer()).computed == 0


@pytest.mark.parametrize(
    ("name", "damage", "rows"),
    [
        (ROWS_FILE, lambda file: flip_bit(file, 6 * ROW_BYTES + 5), {6}),
        (ROWS_FILE, lambda file: os.truncate(file, 17 * ROW_BYTES + 5), {17, 18, 19}),
        (ROWS_FILE, lambda file: os.truncate(file, 0), set(range(20)) - {2}),
        (ROWS_FILE, Path.unlink, set(range(20))),
        (CHECKSUMS_FILE, lambda file: flip_bit(file, 6 * 4 + 1), {6}),
        (CHECKSUMS_FILE, lambda file: os.truncate(file, 4 * 4 + 1), set(range(4, 20))),
        (CHECKSUMS_FILE, Path.unlink, set(range(20))),
        (INDEX_FILE, lambda file: os.truncate(file, 30), {2}),
        (INDEX_FILE, lambda file: file.write_text("[1, 2]"), {2}),
        (INDEX_FILE, lambda file: file.write_bytes(b"\xff\0"), {2}),
        (INDEX_FILE, lambda file: file.write_text(file.read_text().replace("image 9", "image 8")), set()),
        (
            INDEX_FILE,
            lambda file: file.write_text(file.read_text().replace('"2": "bad"', '"3": "bad"')),
            {2, 3},
        ),
        (INDEX_FILE, lambda file: file.write_text(file.read_text().replace("bad", "bat")), {2}),
        (INDEX_FILE, lambda file: file.write_text(json.dumps({"keys": KEYS, "errors": {}})), {2}),
    ],
)
@pytest.mark.slow
def test_damage_is_detected_and_repaired(
    fetch,
    computer,
    sets,
    values,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    damage: Callable,
    rows: set[int],
) -> None:
    """Row 2 has an error; only damaged rows are computed again."""
    fetch(computer(1, {2: "bad"}))
    gc.collect()
    (folder,) = sets()
    damage(folder / name)
    compute = computer(1, {2: "bad"})
    found = fetch(compute)
    assert compute.requested == ([sorted(rows)] if rows else [])
    assert "damaged" in caplog.text
    assert found.errors == {2: "bad"}
    assert [v for i, v in enumerate(values(found)) if i != 2] == [i + 1 for i in range(20) if i != 2]
    assert fetch(computer()).computed == 0
    assert len(list(tmp_path.glob("cache/*/building*"))) == 0


def test_damaged_index_does_not_mix_up_rows(fetch, computer, sets, values) -> None:
    fetch(computer())
    gc.collect()
    (folder,) = sets()
    index = json.loads((folder / INDEX_FILE).read_text())
    index["keys"][8:10] = index["keys"][9:7:-1]
    (folder / INDEX_FILE).write_text(json.dumps(index))
    compute = computer()
    found = fetch(compute, [*KEYS, "new"])
    assert compute.requested == [[8, 9, 20]] and values(found) == list(range(21))


def test_every_flipped_bit_of_the_rows_is_detected(fetch, computer, sets, values) -> None:
    fetch(computer())
    gc.collect()
    rng = np.random.default_rng(0)
    for _ in range(30):
        (folder,) = sets()
        position = int(rng.integers(0, 20 * ROW_BYTES))
        flip_bit(folder / ROWS_FILE, position)
        compute = computer()
        assert values(fetch(compute)) == list(range(20))
        assert compute.requested == [[position // ROW_BYTES]]


def test_exception_leaves_no_set_and_loses_no_row(fetch, computer, sets, values) -> None:
    with pytest.raises(OSError, match="the network is on fire"):
        fetch(computer(fail_at=12, errors={2: "bad"}))
    assert sets() == []
    compute = computer(errors={2: "bad"})
    found = fetch(compute)
    assert compute.requested == [[2, *range(12, 20)]]  # errors are computed again
    assert found.errors == {2: "bad"} and values(found)[12:] == list(range(12, 20))


def test_rows_of_an_unfinished_set_are_copied(fetch, computer, sets, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="fire"):
        fetch(computer(fail_at=12))
    compute = computer()
    fetch(compute, [*KEYS, "new"])
    assert compute.requested == [list(range(12, 21))]
    assert len(sets()) == 1 and not list(tmp_path.glob("cache/*/building*"))


def test_full_disk(fetch, computer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Simulated by a limit on file sizes; writing through a memory map would kill the process."""
    keys = [f"{i}" for i in range(3000)]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        assert fetch(computer(), keys) is None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "(File too large); nothing is stored there" in caplog.text
    assert not [f for f in tmp_path.rglob("*") if f.name == ROWS_FILE]
    assert fetch(computer(), keys).computed == 3000


def test_disk_that_fills_up_midway(fetch, computer, tmp_path: Path, monkeypatch, caplog) -> None:
    writes = iter(range(25))
    write_at = building.write_at

    def write(*arguments) -> None:
        if next(writes, None) is None:
            raise OSError(28, "No space left on device")
        write_at(*arguments)

    compute = computer()
    with monkeypatch.context() as patch:
        patch.setattr(building, "write_at", write)
        assert fetch(compute) is None
    assert compute.requested and "No space left on device" in caplog.text
    assert not [f for f in tmp_path.rglob("*") if f.name == ROWS_FILE]  # the space is freed
    assert fetch(computer()).computed == 20


def test_partial_writes_are_continued() -> None:
    class SlowFile:
        """A file that writes three bytes at a time."""

        content = b""

        def seek(self, offset: int) -> None:
            assert offset == 7

        def write(self, data: memoryview) -> int:
            self.content += bytes(data[:3])
            return min(3, len(data))

    file = SlowFile()
    building.write_at(file, 7, bytes(range(10)))
    assert file.content == bytes(range(10))
