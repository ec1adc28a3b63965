import gc
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from aimonk.data.store import locks, row_set, row_store
from aimonk.data.store.row_set import CHECKSUMS_FILE, INDEX_FILE, ROWS_FILE, TransientReason
from aimonk.data.store.row_store import Row, RowStore, StoredRows

ROOT = Path(__file__).resolve().parents[2]
KEYS = [f"image {i} é\0{i}" for i in range(20)]
SHAPE, DTYPE = (3, 4), "float32"
ROW_BYTES = 48

# a process of its own; before a row is computed, a file tells of it
SCRIPT = """
import sys, time
from pathlib import Path
import numpy as np
from aimonk.data.store.row_store import RowStore
folder, log, pause = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
def compute(rows):
    for row in rows:
        (log / f"{row}_{sys.argv[4]}").touch()
        time.sleep(pause)
        while (log.parent / "wait").exists():
            time.sleep(0.01)
        yield int(row), np.full((3, 4), row, "float32")
keys = [f"image {i} é\\0{i}" for i in range(20)]
found = RowStore(folder, 10**9).rows("family", keys, (3, 4), "float32", compute)
print(found.computed, found.array[:, 0, 0].astype(int).tolist() == list(range(20)), flush=True)
"""


class Computer:
    """Row i is full of i + offset; remembers what it was asked for.

    Args:
        errors: Row number -> why it cannot be computed.
        fail_at: The row at which it breaks down.
    """

    def __init__(self, offset: float = 0, errors: dict[int, str] | None = None, fail_at: int | None = None):
        self.offset, self.errors, self.fail_at = offset, errors or {}, fail_at
        self.asked: list[list[int]] = []

    def __call__(self, rows: np.ndarray) -> Iterator[Row]:
        self.asked.append(rows.tolist())
        for row in rows.tolist():
            if row == self.fail_at:
                raise OSError(28, "the network is on fire")
            yield row, self.errors.get(row, np.full(SHAPE, row + self.offset, DTYPE))


@pytest.fixture
def fetch(tmp_path: Path) -> Callable[..., StoredRows | None]:
    """Asks the store under tmp_path / "cache" for rows."""

    def fetch(
        compute: Callable, keys: list[str] = KEYS, family: str = "family", limit: int = 10**9
    ) -> StoredRows | None:
        return RowStore(tmp_path / "cache", limit).rows(family, keys, SHAPE, DTYPE, compute)

    return fetch


def sets(folder: Path) -> list[Path]:
    return [
        f.parent for f in folder.glob(f"cache/*/*/{INDEX_FILE}") if not f.parent.name.startswith("building")
    ]


def values(found: StoredRows) -> list[int]:
    assert (found.array == found.array[:, :1, :1]).all()
    return found.array[:, 0, 0].astype(int).tolist()


def flip_bit(file: Path, position: int) -> None:
    content = bytearray(file.read_bytes())
    content[position] ^= 4
    file.write_bytes(content)


def test_rows_are_computed_once(fetch) -> None:
    first, second = Computer(), Computer(100)
    found = fetch(first)
    assert (found.computed, found.errors, first.asked) == (20, {}, [list(range(20))])
    assert values(found) == list(range(20)) and found.array.dtype == DTYPE
    again = fetch(second)
    assert (again.computed, second.asked, values(again)) == (0, [], list(range(20)))


def test_rows_are_mapped_and_read_only(fetch) -> None:
    for _ in range(2):
        found = fetch(Computer())
        assert isinstance(found.array, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            found.array[0] = 1


def test_order_and_type_of_what_is_computed(tmp_path: Path) -> None:
    def compute(rows: np.ndarray) -> Iterator[Row]:
        for row in rows[::-1].tolist():
            yield row, np.full((2, 2), row).T

    found = RowStore(tmp_path, 10**6).rows("f", ["a", "b", "c"], (2, 2), "float16", compute)
    assert found.array[:, 0, 0].tolist() == [0, 1, 2] and found.array.dtype == np.float16
    with pytest.raises(ValueError, match=r"row 0 has the shape \(2, 2\); expected \(2, 3\)"):
        RowStore(tmp_path, 10**6).rows("f", ["a"], (2, 3), "float16", compute)
    with pytest.raises(ValueError, match="1 of 2 rows were not computed"):
        RowStore(tmp_path, 10**6).rows("f", ["x", "y"], (2, 2), "float16", lambda rows: compute(rows[:1]))


def test_no_rows(tmp_path: Path) -> None:
    found = RowStore(tmp_path, 10**6).rows("f", [], SHAPE, DTYPE, Computer())
    assert found.array.shape == (0, *SHAPE) and found.computed == 0


def test_a_changed_key_costs_one_row(fetch) -> None:
    fetch(Computer(errors={5: "broken"}))
    compute, keys = Computer(100), [*KEYS[:7], "changed", *KEYS[8:]]
    found = fetch(compute, keys)
    assert compute.asked == [[7]] and found.computed == 1
    assert [v for i, v in enumerate(values(found)) if i != 5] == [0, 1, 2, 3, 4, 6, 107, *range(8, 20)]
    assert found.errors == {5: "broken"}
    more = fetch(compute, [*keys[::-1], "new"])
    assert compute.asked[1:] == [[20]] and more.errors == {14: "broken"}


def test_families_share_nothing(fetch) -> None:
    fetch(Computer())
    found = fetch(Computer(50), family="other weights")
    assert found.computed == 20 and values(found)[0] == 50


def test_errors_are_remembered(fetch) -> None:
    errors = {3: "truncated \udcff é", 19: ""}
    for computed in (20, 0):
        found = fetch(Computer(errors=errors))
        assert found.errors == errors and found.computed == computed
        assert values(found)[4:19] == list(range(4, 19))


def test_passing_errors_are_not_kept(fetch) -> None:
    found = fetch(Computer(errors={3: TransientReason("no permission"), 5: "truncated"}))
    assert found.errors == {3: "no permission", 5: "truncated"}
    compute = Computer()
    again = fetch(compute)
    assert compute.asked == [[3]] and again.errors == {5: "truncated"} and values(again)[3] == 3
    assert fetch(Computer()).computed == 0


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
def test_damage_is_noticed_and_repaired(
    fetch, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, damage: Callable, rows: set[int]
) -> None:
    """Row 2 has an error; only rows that were damaged are computed again."""
    fetch(Computer(1, {2: "bad"}))
    gc.collect()
    (folder,) = sets(tmp_path)
    damage(folder / name)
    compute = Computer(1, {2: "bad"})
    found = fetch(compute)
    assert compute.asked == ([sorted(rows)] if rows else [])
    assert "damaged" in caplog.text
    assert found.errors == {2: "bad"}
    assert [v for i, v in enumerate(values(found)) if i != 2] == [i + 1 for i in range(20) if i != 2]
    assert fetch(Computer()).computed == 0
    assert len(list(tmp_path.glob("cache/*/building*"))) == 0


def test_a_damaged_index_does_not_mix_up_rows(fetch, tmp_path: Path) -> None:
    fetch(Computer())
    gc.collect()
    (folder,) = sets(tmp_path)
    index = json.loads((folder / INDEX_FILE).read_text())
    index["keys"][8:10] = index["keys"][9:7:-1]
    (folder / INDEX_FILE).write_text(json.dumps(index))
    compute = Computer()
    found = fetch(compute, [*KEYS, "new"])
    assert compute.asked == [[8, 9, 20]] and values(found) == list(range(21))


def test_every_flipped_bit_of_the_rows_is_noticed(fetch, tmp_path: Path) -> None:
    fetch(Computer())
    gc.collect()
    rng = np.random.default_rng(0)
    for _ in range(30):
        (folder,) = sets(tmp_path)
        position = int(rng.integers(0, 20 * ROW_BYTES))
        flip_bit(folder / ROWS_FILE, position)
        compute = Computer()
        assert values(fetch(compute)) == list(range(20))
        assert compute.asked == [[position // ROW_BYTES]]


def test_an_exception_leaves_no_set_and_loses_nothing(fetch, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="the network is on fire"):
        fetch(Computer(fail_at=12, errors={2: "bad"}))
    assert sets(tmp_path) == []
    compute = Computer(errors={2: "bad"})
    found = fetch(compute)
    assert compute.asked == [[2, *range(12, 20)]]  # errors are cheap to find again
    assert found.errors == {2: "bad"} and values(found)[12:] == list(range(12, 20))


def test_an_unfinished_set_serves_another_one(fetch, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="fire"):
        fetch(Computer(fail_at=12))
    compute = Computer()
    fetch(compute, [*KEYS, "new"])
    assert compute.asked == [list(range(12, 21))]
    assert len(sets(tmp_path)) == 1 and not list(tmp_path.glob("cache/*/building*"))


def start(tmp_path: Path, pause: float, name: str) -> subprocess.Popen:
    (tmp_path / "log").mkdir(exist_ok=True)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "cache"), str(tmp_path / "log"), str(pause), name]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_a_killed_process_loses_nothing(fetch, tmp_path: Path) -> None:
    process = start(tmp_path, 0.1, "killed")
    while len(list((tmp_path / "log").iterdir())) < 6:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert sets(tmp_path) == []
    compute = Computer()
    assert values(fetch(compute)) == list(range(20))
    started = len(list((tmp_path / "log").iterdir()))
    (asked,) = compute.asked
    assert asked in (list(range(started - 1, 20)), list(range(started, 20)))


def test_processes_at_once_compute_once(tmp_path: Path) -> None:
    processes = [start(tmp_path, 0.02, str(i)) for i in range(4)]
    outputs = [process.communicate(timeout=120)[0].split() for process in processes]
    assert sorted(outputs) == [["0", "True"]] * 3 + [["20", "True"]]
    assert len(list((tmp_path / "log").iterdir())) == 20


def test_while_another_process_computes(fetch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wait, told = tmp_path / "wait", []
    wait.touch()
    process = start(tmp_path, 0, "first")
    while not list((tmp_path / "log").iterdir()):
        time.sleep(0.01)
    assert fetch(Computer(), family="b", limit=20 * (ROW_BYTES + 4)) is None  # what is being built stays
    monkeypatch.setattr(locks.log, "info", lambda message: (told.append(message), wait.unlink()))
    assert fetch(Computer()).computed == 0
    assert told == ["waiting for another run that computes the same rows"]
    assert process.communicate()[0].split() == ["20", "True"]


def age(folder: Path, seconds: int) -> None:
    os.utime(folder, (time.time() - seconds,) * 2)


def test_oldest_sets_go_first(fetch, tmp_path: Path) -> None:
    folders = {}
    for position, family in enumerate("abc"):
        fetch(Computer(), family=family)
        (folders[family],) = set(sets(tmp_path)) - set(folders.values())
        age(folders[family], 1000 - position)
    size = sum(file.stat().st_size for file in folders["a"].iterdir())
    gc.collect()
    age(folders["b"], 2000)
    fetch(Computer(), family="a")  # using a set makes it young
    gc.collect()
    assert fetch(Computer(), family="d", limit=3 * size).computed == 20
    assert [f for f in "abc" if folders[f].exists()] == ["a", "c"]
    gc.collect()
    assert fetch(Computer(), family="e", limit=3 * size).computed == 20
    assert [f for f in "abc" if folders[f].exists()] == ["a"]
    assert fetch(Computer(), family="a").computed == 0


def test_a_set_in_use_stays(fetch, tmp_path: Path) -> None:
    size = 20 * (ROW_BYTES + 4) + 1000
    used = fetch(Computer(), family="a")
    process = start(tmp_path, 0, "other")
    process.communicate()
    assert fetch(Computer(), family="b", limit=size) is None
    gc.collect()
    assert len(sets(tmp_path)) == 1 and values(used) == list(range(20))
    del used
    gc.collect()
    assert fetch(Computer(), family="b", limit=size).computed == 20
    assert len(sets(tmp_path)) == 1


def test_a_set_in_use_by_another_process_stays(fetch, tmp_path: Path) -> None:
    size = 20 * (ROW_BYTES + 4) + 1000
    script = SCRIPT + "\nsys.stdin.read()\n"
    (tmp_path / "log").mkdir()
    command = [sys.executable, "-c", script, str(tmp_path / "cache"), str(tmp_path / "log"), "0", "x"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert fetch(Computer(), family="b", limit=size) is None
        process.kill()
    # its mark is swept away with it
    assert fetch(Computer(), family="b", limit=size).computed == 20


def test_abandoned_building_sites_of_other_families_are_removed(fetch, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="fire"):
        fetch(Computer(fail_at=5), family="a")
    assert len(list(tmp_path.glob("cache/*/building*"))) == 1
    size = 20 * (ROW_BYTES + 4) + 1000
    assert fetch(Computer(), family="b", limit=size).computed == 20
    assert not list(tmp_path.glob("cache/*/building*"))


def test_none_when_it_does_not_fit(fetch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compute = Computer()
    assert fetch(compute, limit=20 * ROW_BYTES) is None
    usage = row_store.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(row_store.shutil, "disk_usage", lambda _: usage._replace(free=500))
    assert fetch(compute) is None
    assert compute.asked == [] and sets(tmp_path) == []


def test_what_an_earlier_attempt_holds_of_a_full_disk_counts(fetch, monkeypatch, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="fire"):
        fetch(Computer(fail_at=12))
    usage = row_store.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(row_store.shutil, "disk_usage", lambda _: usage._replace(free=500))
    assert fetch(Computer()).computed == 8


@pytest.mark.parametrize("below", ["", "sub/"])
def test_a_folder_that_cannot_be_made(tmp_path: Path, below: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("mine")
    compute = Computer()
    assert RowStore(tmp_path / f"file/{below}", 10**9).rows("f", KEYS, SHAPE, DTYPE, compute) is None
    (record,) = caplog.records
    assert "cannot write to" in record.message and "cache_dir=" in record.message
    assert compute.asked == [] and (tmp_path / "file").read_text() == "mine"


@pytest.fixture
def read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a disk that is mounted read-only, for root too."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(locks.FileLock, "acquire", refuse)
    for name in ("mkdir", "rename", "replace", "utime"):
        monkeypatch.setattr(os, name, refuse)


def test_a_read_only_folder(fetch, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> None:
    fetch(Computer())
    request.getfixturevalue("read_only")
    found = fetch(Computer())  # what is there can be used
    assert found.computed == 0 and values(found) == list(range(20))
    assert fetch(Computer(), family="other") is None
    assert "Read-only file system" in caplog.text


def test_a_full_disk(fetch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A limit on the size of files stands for it; what writing through a memory map would do is die."""
    keys = [f"{i}" for i in range(3000)]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        assert fetch(Computer(), keys) is None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "(File too large); nothing is stored there" in caplog.text
    assert not [f for f in tmp_path.rglob("*") if f.name == ROWS_FILE]
    assert fetch(Computer(), keys).computed == 3000


def test_a_disk_that_fills_up_midway(fetch, tmp_path: Path, monkeypatch, caplog) -> None:
    writes = iter(range(25))
    write_at = row_set._write_at

    def write(*arguments) -> None:
        if next(writes, None) is None:
            raise OSError(28, "No space left on device")
        write_at(*arguments)

    compute = Computer()
    with monkeypatch.context() as patch:
        patch.setattr(row_set, "_write_at", write)
        assert fetch(compute) is None
    assert compute.asked and "No space left on device" in caplog.text
    assert not [f for f in tmp_path.rglob("*") if f.name == ROWS_FILE]  # room is given back
    assert fetch(Computer()).computed == 20


def test_a_write_cut_short_goes_on() -> None:
    class Nearly:
        """A file that takes three bytes at a time."""

        content = b""

        def seek(self, offset: int) -> None:
            assert offset == 7

        def write(self, data: memoryview) -> int:
            self.content += bytes(data[:3])
            return min(3, len(data))

    file = Nearly()
    row_set._write_at(file, 7, np.arange(10, dtype=np.uint8))
    assert file.content == bytes(range(10))


def test_find_and_remove(fetch, tmp_path: Path) -> None:
    cache = RowStore(tmp_path / "cache", 10**9)
    assert cache.find("family", KEYS, SHAPE, DTYPE) is None
    cache.remove("family", KEYS, SHAPE, DTYPE)
    used = fetch(Computer())
    assert values(cache.find("family", KEYS, SHAPE, DTYPE)) == list(range(20))
    assert cache.find("family", KEYS[1:], SHAPE, DTYPE) is None
    gc.collect()
    cache.remove("family", KEYS, SHAPE, DTYPE)  # it is in use
    assert len(sets(tmp_path)) == 1
    del used
    gc.collect()
    cache.remove("family", KEYS, SHAPE, DTYPE)
    assert cache.find("family", KEYS, SHAPE, DTYPE) is None and sets(tmp_path) == []
