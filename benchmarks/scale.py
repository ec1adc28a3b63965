"""Measure how start-up, epochs and memory grow with the number of images; Markdown tables.

    python benchmarks/scale.py start             # opening stores of 1,000 to 100,000 decoded images
    python benchmarks/scale.py epochs            # time of loading the images of an epoch
    python benchmarks/scale.py memory            # memory after three epochs
    python benchmarks/scale.py rows IMAGES       # size of a stored image, and time of reading it

The images are drawn, JPEG files of 64x64 pixels from which nothing can be learned. `--work FOLDER` keeps
them and their stores for later calls.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
SIDE, ATTRIBUTES = 64, 10
MEMORY = ("VmRSS", "RssAnon")
# functions in the order in which a start calls them, by their modules
STEPS = {
    "aimonk.setup.data.read_table": "label file",
    "aimonk.data.dataset.list_images": "listing the folder",
    "aimonk.data.dataset.find_images": "existence",
    "aimonk.data.dataset.fingerprints": "fingerprints",
    "aimonk.data.dataset.store_images": "stores of images and hashes",
}


def draw(folder: Path, count: int) -> list[str]:
    """Draw labelled images in subfolders of 1,000, unless they exist; returns the overrides of a run."""
    labels = folder / "labels.txt"
    if not labels.exists():
        rng = np.random.default_rng(0)
        names = [f"{i // 1000:04d}/{i:07d}.jpg" for i in range(count)]
        for name in names:
            if name.endswith("000.jpg"):
                (folder / "images" / name).parent.mkdir(parents=True)
            draw_image(rng).save(folder / "images" / name, quality=85)
        known = rng.integers(0, 2, (count, ATTRIBUTES))
        tokens = np.where(rng.random(known.shape) < 0.1, "NA", known)
        rows = [f"{name} {' '.join(row)}" for name, row in zip(names, tokens.tolist(), strict=True)]
        labels.write_text("\n".join(rows) + "\n")
    paths = [f"data.images={folder / 'images'}", f"data.labels={labels}", f"cache_dir={folder / 'cache'}"]
    return ["data=folder", f"data.image_size={SIDE}", "data.store_limit_gb=1000", *paths]


def draw_image(rng: np.random.Generator) -> Image.Image:
    """Noise whose energy falls with its frequency, as that of photographs does."""
    grid = np.full((8, 8, 3), 128.0)
    for cells in (1, 2, 4, 8):
        grid += np.kron(
            rng.normal(0, 45 / cells**0.5, (cells, cells, 3)), np.ones((8 // cells, 8 // cells, 1))
        )
    image = Image.fromarray(grid.clip(0, 255).astype(np.uint8))
    return image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)


def time_start(overrides: list[str]) -> dict[str, float]:
    """Processor seconds of each step of opening the data set, and of what follows in a training run."""
    from hydra import compose, initialize_config_dir

    from aimonk.data.duplicates import find_groups
    from aimonk.modes.train.splits import split_parts
    from aimonk.setup.data import open_data

    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", overrides)
    seconds: dict[str, float] = {}

    def timed(title: str, function: Callable) -> Callable:
        def call(*arguments, **options):
            started = time.process_time()
            result = function(*arguments, **options)
            seconds[title] = time.process_time() - started
            return result

        return call

    for name, title in STEPS.items():
        module, function = name.rsplit(".", 1)
        setattr(sys.modules[module], function, timed(title, getattr(sys.modules[module], function)))
    images = timed("open_data", open_data)(cfg)
    seconds["rest of open_data"] = 2 * seconds["open_data"] - sum(seconds.values())
    find = timed("search for duplicates", find_groups)
    groups = find(images.hashes, images.table.names, cfg.data.duplicate_distance)
    timed("split", split_parts)(cfg, images, groups)
    return seconds


def measure_start(work: Path, options: argparse.Namespace) -> None:
    """Print the processor time of each step, the median of some processes, with the files in memory."""
    columns = []
    for count in options.images:
        command = [sys.executable, __file__, "time-start", *draw(work / f"{count}", count)]
        runs = [json.loads(subprocess.check_output(command)) for _ in range(options.repeats + 1)]
        # the first process fills the store
        columns.append({title: float(np.median([run[title] for run in runs[1:]])) for title in runs[0]})
    counts = " | ".join(f"{count:,}" for count in options.images)
    print(f"| seconds | {counts} |\n{'|---' * (len(columns) + 1)}|")
    for title in columns[0]:
        print(f"| {title} | {' | '.join(f'{column[title]:.3f}' for column in columns)} |")


def measure_rows(work: Path, options: argparse.Namespace) -> None:
    """Print the size of a stored image and the processor time of reading it, for a folder of photographs."""
    from aimonk.data.images.folder import fingerprints, list_images
    from aimonk.data.images.storage import ImageFiles, open_pixels
    from aimonk.data.store.row_store import RowStore
    from aimonk.runtime.progress import unwatched

    names = list_images(options.folder)
    paths = [options.folder / name for name in names[:: max(1, len(names) // 500)]]
    keys, rows = fingerprints(paths), np.arange(len(paths))

    def milliseconds(function: Callable) -> str:
        started = time.process_time()
        function()
        return f"{1000 * (time.process_time() - started) / len(paths):.2f}"

    print("| | bytes | write, ms | first read, ms | later reads, ms |\n|---|---|---|---|---|")
    plain = ImageFiles(paths, keys, options.size, "squash", None)
    size = np.mean([path.stat().st_size for path in paths])
    print(f"| the file | {size:,.0f} | | | {milliseconds(lambda: list(plain.decode(rows)))} |")
    for quality in (None, 95, 90, 80):
        files = ImageFiles(paths, keys, options.size, "squash", quality)
        store = RowStore(work / f"rows_{quality}", 10**12)
        write = milliseconds(lambda files=files, store=store: open_pixels(store, files, False, unwatched))
        found = open_pixels(store, files, False, unwatched)

        def read(array=found.array) -> None:
            for start in range(0, len(rows), 32):
                array.read(rows[start : start + 32])

        title = "pixels" if quality is None else f"JPEG, quality {quality}"
        reads = f"{milliseconds(read)} | {milliseconds(read)}"
        print(f"| {title} | {files.mean_bytes(quality):,.0f} | {write} | {reads} |")


def time_epochs(overrides: list[str]) -> dict[str, float]:
    """Processor seconds of loading each epoch of the data set, without a network, and memory at the end."""
    from hydra import compose, initialize_config_dir

    from aimonk.data.augmentation import flip
    from aimonk.data.loading import Pixels, Rows, create_loader
    from aimonk.data.sampling import BatchList, plan_epoch, split_batches
    from aimonk.setup.data import open_data

    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", overrides)
    images = open_data(cfg)
    rows = Rows(Pixels(images.pixels, flip(), SIDE, "squash"), images.table.labels, images.table.mask)
    planned = BatchList()
    loader, found = create_loader(rows, planned, 0, pin_memory=False), {}
    for epoch in (1, 2, 3):
        started = time.process_time()
        order = plan_epoch(np.arange(len(images)), None, 2, 0, epoch)
        planned.batches = split_batches(*order, images.table.mask, 16, 1, 0, 1)
        for _ in loader:
            pass
        found[f"epoch {epoch}"] = 1000 * (time.process_time() - started) / len(images)
    status = Path("/proc/self/status").read_text()
    return found | {name: int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) / 1024 for name in MEMORY}


def run_epochs(work: Path, count: int) -> dict[str, float]:
    """The result of `time_epochs` in another process, on a store that has the images already."""
    command = [sys.executable, __file__, "time-epochs", *draw(work / f"{count}", count)]
    subprocess.check_output(command)
    return json.loads(subprocess.check_output(command))


def measure_epochs(work: Path, options: argparse.Namespace) -> None:
    """Print the processor time of loading 1,000 stored images; the first epoch verifies them."""
    print("| images | s per 1,000, first epoch | second | third |\n|---|---|---|---|")
    for count in options.images:
        found = run_epochs(work, count)
        epochs = " | ".join(f"{found[f'epoch {i}']:.3f}" for i in (1, 2, 3))
        print(f"| {count:,} | {epochs} |", flush=True)


def measure_memory(work: Path, options: argparse.Namespace) -> None:
    """Print the memory after three epochs, and the part of it that is not a file in the system's cache."""
    print("| images | MB | of these private |\n|---|---|---|")
    for count in options.images:
        found = run_epochs(work, count)
        print(f"| {count:,} | {' | '.join(f'{found[name]:.0f}' for name in MEMORY)} |", flush=True)


INSIDE = {"time-start": time_start, "time-epochs": time_epochs}  # what a process measures of itself


def main() -> None:
    """Run one subcommand."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path)
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("start")
    start.add_argument("--images", type=int, nargs="+", default=[1000, 10_000, 50_000, 100_000])
    start.add_argument("--repeats", type=int, default=3)
    start.set_defaults(measure=measure_start)
    for name, measure in (("epochs", measure_epochs), ("memory", measure_memory)):
        training = commands.add_parser(name)
        training.add_argument("--images", type=int, nargs="+", default=[1000, 10_000, 50_000, 100_000])
        training.set_defaults(measure=measure)
    rows = commands.add_parser("rows")
    rows.add_argument("folder", type=Path)
    rows.add_argument("--size", type=int, default=224)
    rows.set_defaults(measure=measure_rows)
    for name, function in INSIDE.items():
        inside = commands.add_parser(name)
        inside.add_argument("overrides", nargs="+")
        inside.set_defaults(function=function)
    options = parser.parse_args()
    if options.command in INSIDE:
        print(json.dumps(options.function(options.overrides)))
        return
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, torch {torch.__version__}\n")
    with tempfile.TemporaryDirectory() as name:
        options.measure(options.work or Path(name), options)


if __name__ == "__main__":
    main()
