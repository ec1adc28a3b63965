import gc
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aimonk.data.store import locks

ROOT = Path(__file__).resolve().parents[3]
SET_BYTES = 20 * (48 + 4) + 1000  # 20 rows with their checksums, and an index

# computes the set in another process; creates a file before each row, and waits while the file `wait` exists
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
        deadline = time.monotonic() + 60
        while (log.parent / "wait").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        yield int(row), np.full((3, 4), row, "float32")
keys = [f"image {i} é\\0{i}" for i in range(20)]
found = RowStore(folder, 10**9).rows("family", keys, (3, 4), "float32", compute)
print(found.computed, found.array[:][:, 0, 0].astype(int).tolist() == list(range(20)), flush=True)
"""


def start(tmp_path: Path, pause: float, name: str) -> subprocess.Popen:
    (tmp_path / "log").mkdir(exist_ok=True)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "cache"), str(tmp_path / "log"), str(pause), name]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def wait_for_rows(tmp_path: Path, process: subprocess.Popen, count: int) -> None:
    """Wait until a process has started to compute that many rows."""
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "log").iterdir())) < count:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


def test_killed_process_loses_no_row(fetch, computer, sets, values, tmp_path: Path) -> None:
    process = start(tmp_path, 0.1, "killed")
    wait_for_rows(tmp_path, process, 6)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert sets() == []
    compute = computer()
    assert values(fetch(compute)) == list(range(20))
    started = len(list((tmp_path / "log").iterdir()))
    (requested,) = compute.requested
    assert requested in (list(range(started - 1, 20)), list(range(started, 20)))


def test_concurrent_processes_compute_once(tmp_path: Path) -> None:
    processes = [start(tmp_path, 0.02, str(i)) for i in range(4)]
    outputs = [process.communicate(timeout=120)[0].split() for process in processes]
    assert sorted(outputs) == [["0", "True"]] * 3 + [["20", "True"]]
    assert len(list((tmp_path / "log").iterdir())) == 20


def test_waits_while_another_process_computes(
    fetch, computer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait, messages = tmp_path / "wait", []
    wait.touch()
    process = start(tmp_path, 0, "first")
    wait_for_rows(tmp_path, process, 1)
    assert fetch(computer(), family="b", limit=SET_BYTES - 1000) is None  # an unfinished set is not removed
    monkeypatch.setattr(locks.log, "info", lambda message: (messages.append(message), wait.unlink()))
    assert fetch(computer()).computed == 0
    assert messages == ["waiting for another run that computes the same rows"]
    assert process.communicate(timeout=60)[0].split() == ["20", "True"]


def test_set_in_use_is_not_removed(fetch, computer, sets, values, tmp_path: Path) -> None:
    used = fetch(computer(), family="a")
    process = start(tmp_path, 0, "other")
    process.communicate(timeout=60)
    assert fetch(computer(), family="b", limit=SET_BYTES) is None
    gc.collect()
    assert len(sets()) == 1 and values(used) == list(range(20))
    del used
    gc.collect()
    assert fetch(computer(), family="b", limit=SET_BYTES).computed == 20
    assert len(sets()) == 1


def test_set_in_use_by_another_process_is_not_removed(fetch, computer, tmp_path: Path) -> None:
    script = SCRIPT + "\nsys.stdin.read()\n"
    (tmp_path / "log").mkdir()
    command = [sys.executable, "-c", script, str(tmp_path / "cache"), str(tmp_path / "log"), "0", "x"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert fetch(computer(), family="b", limit=SET_BYTES) is None
        process.kill()
    # the mark of a dead process has no effect
    assert fetch(computer(), family="b", limit=SET_BYTES).computed == 20


def test_unfinished_sets_of_other_families_are_removed(fetch, computer, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="fire"):
        fetch(computer(fail_at=5), family="a")
    assert len(list(tmp_path.glob("cache/*/building*"))) == 1
    assert fetch(computer(), family="b", limit=SET_BYTES).computed == 20
    assert not list(tmp_path.glob("cache/*/building*"))
