"""Measure how start-up, epochs and memory grow with the number of images; Markdown tables.

    python benchmarks/scale.py start             # opening stores of 1,000 to 100,000 decoded images
    python benchmarks/scale.py epochs            # time per image of an epoch, and memory

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
SIDE, ATTRIBUTES = 64, 10
# functions of aimonk.data.dataset, in the order in which a start calls them
STEPS = {
    "read_labels": "label file",
    "list_images": "listing the folder",
    "find_images": "existence",
    "fingerprints": "fingerprints",
    "open_pixels": "store of images",
    "open_hashes": "store of hashes",
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
            image = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            image = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            image.save(folder / "images" / name, quality=85)
        known = rng.integers(0, 2, (count, ATTRIBUTES))
        tokens = np.where(rng.random(known.shape) < 0.1, "NA", known)
        rows = [f"{name} {' '.join(row)}" for name, row in zip(names, tokens.tolist(), strict=True)]
        labels.write_text("\n".join(rows) + "\n")
    paths = [f"data.images={folder / 'images'}", f"data.labels={labels}", f"cache_dir={folder / 'cache'}"]
    return ["data=folder", f"data.image_size={SIDE}", "data.store_limit_gb=1000", *paths]


def time_start(overrides: list[str]) -> dict[str, float]:
    """Seconds of each step of opening the data set in this process, and of what follows in a training run."""
    from hydra import compose, initialize_config_dir

    from aimonk.data import dataset
    from aimonk.data.duplicates import find_groups
    from aimonk.modes.train.splits import split_parts
    from aimonk.setup.data import open_data

    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", overrides)
    seconds: dict[str, float] = {}

    def timed(title: str, function: Callable) -> Callable:
        def call(*arguments, **options):
            started = time.perf_counter()
            result = function(*arguments, **options)
            seconds[title] = time.perf_counter() - started
            return result

        return call

    for name, title in STEPS.items():
        setattr(dataset, name, timed(title, getattr(dataset, name)))
    images = timed("open_data", open_data)(cfg)
    seconds["rest of open_data"] = 2 * seconds["open_data"] - sum(seconds.values())
    find = timed("search for duplicates", find_groups)
    groups = find(images.hashes, images.table.names, cfg.data.duplicate_distance)
    timed("split", split_parts)(cfg, images, groups)
    return seconds


def measure_start(work: Path, options: argparse.Namespace) -> None:
    """Print the seconds of each step: the median of some processes, with the files in the system's cache."""
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
