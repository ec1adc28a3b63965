"""Measure how start-up, epochs and memory grow with the number of images; Markdown tables.

    python benchmarks/scale.py start             # opening stores of 1,000 to 100,000 decoded images
    python benchmarks/scale.py epochs            # time of an epoch, on stored images and stored features
    python benchmarks/scale.py memory            # memory of the same runs
    python benchmarks/scale.py rows IMAGES       # size of a stored image, and time of reading it

The images are drawn, JPEG files of 64x64 pixels from which nothing can be learned. `--work FOLDER` keeps
them and their stores for later calls.
"""

import argparse
import json
import os
import platform
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
from benchmarks.memory import MB, MonitoredRun  # noqa: E402

SIDE, ATTRIBUTES = 64, 10
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


def train(work: Path, count: int, kind: str, options: argparse.Namespace) -> MonitoredRun:
    """Train a small network on `count` images, all of it or its head on stored features."""
    out = work / f"run_{count}_{kind}"
    data, freeze = draw(work / f"{count}", count), {"images": "none", "features": "backbone"}[kind]
    small = ["backbone=timm", "backbone.name=test_resnet", "backbone.weights=random", "optimizer=adamw"]
    small += [f"freeze={freeze}", f"epochs={options.epochs}", "batch_size=64", "refit=false"]
    run = MonitoredRun([*data, *small, "data.duplicate_distance=null", f"hydra.run.dir={out}"])
    run.wait()
    return run


def measure_epochs(work: Path, options: argparse.Namespace) -> None:
    """Print the time of an epoch after the first, which verifies the stored rows, per 1,000 images."""
    print("| images | s per 1,000 stored images | s per 1,000 images of stored features |\n|---|---|---|")
    for count in options.images:
        runs = [train(work, count, kind, options) for kind in ("images", "features")]
        seconds = [f"{1000 * float(np.median(np.diff(run.moments))) / count:.3f}" for run in runs]
        print(f"| {count:,} | {' | '.join(seconds)} |", flush=True)


def measure_memory(work: Path, options: argparse.Namespace) -> None:
    """Print the memory after the last epoch, and the part of it that is not a file in the system's cache."""
    print("| images | MB, stored images | of these private | MB, stored features | of these private |")
    print("|---|---|---|---|---|")
    for count in options.images:
        runs = [train(work, count, kind, options) for kind in ("images", "features")]
        sizes = [f"{size / MB:.0f}" for run in runs for size in (run.resident[-1], run.private[-1])]
        print(f"| {count:,} | {' | '.join(sizes)} |", flush=True)


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
        training.add_argument("--images", type=int, nargs="+", default=[1000, 10_000, 50_000])
        training.add_argument("--epochs", type=int, default=4)
        training.set_defaults(measure=measure)
    rows = commands.add_parser("rows")
    rows.add_argument("folder", type=Path)
    rows.add_argument("--size", type=int, default=224)
    rows.set_defaults(measure=measure_rows)
    once = commands.add_parser("time-start")
    once.add_argument("overrides", nargs="+")
    options = parser.parse_args()
    if options.command == "time-start":
        print(json.dumps(time_start(options.overrides)))
        return
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, torch {torch.__version__}\n")
    with tempfile.TemporaryDirectory() as name:
        options.measure(options.work or Path(name), options)


if __name__ == "__main__":
    main()
