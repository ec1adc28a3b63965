"""Kill a training run at random moments, resume it, and compare it with an undisturbed one.

    python benchmarks/soak.py --kills 100        # about a quarter of an hour on two cores

The curve and the weights must be equal bit for bit. A short version is in tests/modes/test_resume.py.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import torch
from small_run import COMMAND, SMALL

STATE = "state.pth"
# what has a state of its own beside weights and optimizer
RUN = [
    *SMALL,
    "freeze=stages",
    "augmentation=crop_color",
    "features.views=3",
    "ema=0.9",
    "accumulate=2",
    "scheduler=onecycle",
    "checkpoint_every=2",
]


def start(*arguments: str) -> subprocess.Popen:
    """Start a command of aimonk in a process of its own."""
    return subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen) -> None:
    """Wait for a command.

    Raises:
        RuntimeError: It failed; the message is what it wrote to standard error.
    """
    _, errors = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(errors)


def soak(work: Path, kills: int, epochs: int, seed: int) -> dict:
    """Train undisturbed, and then disturbed as often as it takes; returns what there is to report.

    Raises:
        AssertionError: The two differ.
    """
    moments = random.Random(seed)
    common = [f"cache_dir={work / 'cache'}", f"epochs={epochs}", *RUN]
    finish(start(*common, f"hydra.run.dir={work / 'first'}"))  # fills the stores
    begun = time.perf_counter()
    finish(start(*common, f"hydra.run.dir={work / 'complete'}"))
    complete = time.perf_counter() - begun

    report = {"kills": 0, "of these, while it trained": 0, "runs": 0, "starts": 0, "failed on their own": 0}
    while report["kills"] < kills:
        cut = work / f"cut{report['runs']}"
        _disturb([*common, f"hydra.run.dir={cut}"], cut, moments, 1.05 * complete, kills, report)
        report["runs"] += 1
        _compare(cut, work / "complete")
    rows = len((work / "complete" / "loss.csv").read_text().splitlines()) - 1
    return report | {"iterations of each run": rows}


def _disturb(
    command: list[str], folder: Path, moments: random.Random, longest: float, kills: int, report: dict
) -> None:
    """Bring one run to its end, killing it again and again."""
    while not _is_finished(folder):
        process = start(*command)
        report["starts"] += 1
        if report["kills"] >= kills:
            process.wait()
        elif moments.random() < 0.3:  # any moment, most of which are not in the training of so small a run
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=moments.uniform(0, longest))
        else:
            report["of these, while it trained"] += _wait_for_training(process, folder / STATE, moments)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            report["kills"] += 1
        report["failed on their own"] += process.wait() > 0
        if (folder / ".hydra" / "hydra.yaml").is_file():
            command = [f"resume={folder}"]


def _wait_for_training(process: subprocess.Popen, state: Path, moments: random.Random) -> bool:
    """Wait until the process has saved its state a few times and a little longer; whether it still trains."""
    left, before = moments.randint(1, 12), _version(state)
    while left and process.poll() is None:
        time.sleep(0.002)
        now = _version(state)
        left -= now != before
        before = now
    time.sleep(moments.uniform(0, 0.03))
    return process.poll() is None and state.is_file()


def _version(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_ino


def _is_finished(folder: Path) -> bool:
    status = folder / "status.json"
    return status.is_file() and "finished" in status.read_text()


def _compare(cut: Path, complete: Path) -> None:
    assert (cut / "loss.csv").read_bytes() == (complete / "loss.csv").read_bytes(), (
        f"the curve of {cut} differs"
    )
    for name in ("aimonk_model.pth", "aimonk_model_last.pth"):
        one, other = (torch.load(run / name, weights_only=True)["state"] for run in (cut, complete))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one), f"{name} of {cut} differs"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = soak(Path(folder), options.kills, options.epochs, options.seed)
    print("\n".join(f"{key}: {value}" for key, value in report.items()))
    print("all curves and weights equal those of the undisturbed run bit for bit")
