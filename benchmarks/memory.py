"""Measure memory, open files and time per image for growing numbers of epochs and images; Markdown tables.

    python benchmarks/memory.py --images 5000 50000      # training; some minutes
    python benchmarks/memory.py --rows 200000            # a label table without images; under a minute

The images are noise of 16x16 pixels, from which nothing can be learned.
"""

import argparse
import platform
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
RUN = [
    "data=folder",
    "data.image_size=16",
    "data.val_fraction=0.1",
    "data.duplicate_distance=null",
    "backbone=timm",
    "backbone.name=test_resnet",
    "backbone.weights=random",
    "batch_size=256",
]
MB = 2**20


def draw_images(folder: Path, count: int, seed: int) -> None:
    """Write `count` images of noise, and a label file with three attributes."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i, pixels in enumerate(rng.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png", compress_level=1)
    write_labels(folder / "labels.txt", [f"{i}.png" for i in range(count)], 3, rng)


def write_labels(path: Path, names: list[str], attributes: int, rng: np.random.Generator) -> None:
    """Write a label file with prevalences from 2 to 98 % and a tenth of the labels unknown."""
    present = rng.random((len(names), attributes)) < np.linspace(0.02, 0.98, attributes)
    tokens = np.where(rng.random(present.shape) < 0.1, "NA", np.where(present, "1", "0"))
    lines = [f"{name} {' '.join(row)}" for name, row in zip(names, tokens.tolist(), strict=True)]
    path.write_text("\n".join(lines) + "\n")


class MonitoredRun:
    """A training process whose use of memory is recorded after each epoch.

    Attributes:
        moments: Time at the end of each epoch, in seconds.
        resident: Memory after each epoch, bytes.
        private: The part of it that is not mapped from files, bytes.
        files: Maximum number of open files.
    """

    def __init__(self, arguments: list[str]):
        command = [sys.executable, str(ROOT / "run.py"), *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.folder = Path(f"/proc/{self.process.pid}")
        self.moments: list[float] = []
        self.resident: list[int] = []
        self.private: list[int] = []
        self.files = 0

    def wait(self) -> None:
        """Read the output of the process until it ends.

        Raises:
            RuntimeError: The process failed.
        """
        threading.Thread(target=self._count_files, daemon=True).start()
        output = []
        for line in self.process.stdout:
            output.append(line)
            if re.match(r"epoch \d+/", line):
                self.moments.append(time.perf_counter())
                self._record_memory()
        if self.process.wait() != 0:
            raise RuntimeError("".join(output))

    def _record_memory(self) -> None:
        status = (self.folder / "status").read_text()
        for name, values in (("VmRSS", self.resident), ("RssAnon", self.private)):
            values.append(int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) * 1024)

    def _count_files(self) -> None:
        while self.process.poll() is None:
            try:
                self.files = max(self.files, sum(1 for _ in (self.folder / "fd").iterdir()))
            except OSError:  # the process has ended
                return
            time.sleep(0.2)


def train(work: Path, count: int, freeze: str, epochs: int) -> str:
    """Train on `count` images; returns a row of the table."""
    data, out = work / f"data_{count}", work / f"run_{count}_{freeze}"
    arguments = [
        f"data.images={data / 'images'}",
        f"data.labels={data / 'labels.txt'}",
        f"hydra.run.dir={out}",
    ]
    arguments += [f"cache_dir={work / 'cache'}", f"freeze={freeze}", f"epochs={epochs}"]
    start = time.perf_counter()
    monitored = MonitoredRun([*RUN, *arguments])
    monitored.wait()
    total = time.perf_counter() - start
    # the first epoch fills the stores and the caches of the allocator
    seconds = float(np.median(np.diff(monitored.moments)))
    slope = np.polyfit(np.arange(1, epochs), monitored.private[1:], 1)[0]
    speed = f"{total:.0f} s | {1e6 * seconds / count:.0f} µs"
    memory = f"{monitored.resident[0] / MB:.0f} | {monitored.resident[-1] / MB:.0f} | {slope / MB:+.2f}"
    return f"| {freeze} | {count:,} | {epochs} | {speed} | {memory} | {monitored.files} |"


def measure_training(work: Path, counts: list[int], epochs: int) -> None:
    """Print a row for each freeze policy and number of images."""
    columns = ["freeze", "images", "epochs", "total time", "epoch, per image", "MB after epoch 1"]
    columns += ["MB after the last epoch", "private MB per epoch, from the 2nd", "maximum of open files"]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for count in counts:
        draw_images(work / f"data_{count}", count, seed=count)
    for freeze in ("backbone", "none"):
        for count in counts:
            print(train(work, count, freeze, epochs), flush=True)


def measure_table(work: Path, rows: int, attributes: int) -> None:
    """Print the duration of each step that reads all labels, and the peak memory so far."""
    from aimonk.data.formats.text.label_file import read_labels
    from aimonk.data.loading import Rows, create_loader
    from aimonk.data.sampling import BatchList, plan_epoch, split_batches, weighted
    from aimonk.data.splits import stratified_split
    from aimonk.training.losses import PosWeightLoss

    names = [f"{i:06d}.jpg" for i in range(rows)]
    write_labels(work / "labels.txt", names, attributes, np.random.default_rng(0))
    first = _peak()
    print(f"| step | seconds | peak MB ({first:.0f} before the first) |\n|---|---|---|")
    total = 0.0

    def step(title: str, function: Callable):
        nonlocal total
        start = time.perf_counter()
        result = function()
        seconds = time.perf_counter() - start
        total += seconds
        print(f"| {title} | {seconds:.2f} | {_peak():.0f} |", flush=True)
        return result

    table = step("read the label file", lambda: read_labels(work / "labels.txt"))
    parts = step(
        "split: 80 % train, 10 % val, 10 % test",
        lambda: stratified_split(table.labels, table.mask, (0.8, 0.1, 0.1), None, 0),
    )
    labels, mask = table.labels[parts[0]], table.mask[parts[0]]
    known = torch.from_numpy(labels), torch.from_numpy(mask)
    step("count 1s, 0s and NAs; pos_weight", lambda: (table.counts(), PosWeightLoss.of_labels(*known, None)))
    weights = step("weights of the weighted sampler", lambda: weighted(labels, mask, 1.0))

    def plan(epoch: int, chances: np.ndarray | None) -> list:
        order = plan_epoch(parts[0], chances, None, 0, epoch)
        return split_batches(*order, table.mask, 16, 1, 0, 1)

    batches = step("plan an epoch: shuffled", lambda: plan(1, None))
    step("plan an epoch: weighted", lambda: plan(2, weights))

    def load_inputs(rows: torch.Tensor, views: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(len(rows), 3, 8, 8, dtype=torch.uint8), torch.ones(len(rows), dtype=torch.bool)

    def load() -> None:
        planned = BatchList()
        planned.batches = batches
        for _ in create_loader(Rows(load_inputs, table.labels, table.mask), planned, 0, pin_memory=False):
            pass

    step(f"build a loader and draw an epoch's {len(batches):,} batches of labels", load)
    print(f"| all | {total:.2f} | {_peak():.0f} |")


def _peak() -> float:
    """Peak memory of this process, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="*", default=[])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--attributes", type=int, default=40)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    with tempfile.TemporaryDirectory() as name:
        if options.images:
            measure_training(Path(name), options.images, options.epochs)
        if options.rows:
            measure_table(Path(name), options.rows, options.attributes)
