"""Fine-tuning against the solved head of a frozen backbone: mean AP on unseen images.

    python benchmarks/hard_labels.py IMAGES FOLDER
    python benchmarks/finetune_small.py IMAGES FOLDER/train.csv --test FOLDER/test.csv [OVERRIDES]
    python benchmarks/finetune_small.py IMAGES LABELS --train 200 --hidden 0.8 --seeds 3 [OVERRIDES]

The second form trains on some of the images, with a share of their entries hidden, and tests on all others;
LABELS is complete. No images are held out from training, so that all models see the same ones. The seed
varies the draw, the new head, the order of the images and the random views.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
METHODS = {
    "frozen backbone, solved head": ["optimizer=lbfgs", "freeze=backbone"],
    "the same, features of all stages": ["optimizer=lbfgs", "freeze=backbone", "features.stages=all"],
    "the last two stages": ["freeze=stages", "freeze.last=2"],
    "experiment=finetune_small": ["experiment=finetune_small"],
}


def run(*arguments: str) -> None:
    result = subprocess.run([sys.executable, ROOT / "run.py", *arguments], capture_output=True, text=True)
    if result.returncode:
        sys.exit(result.stdout + result.stderr)


def draw(labels: Path, count: int, hidden: float, seed: int, folder: Path) -> tuple[Path, Path]:
    """Files of `count` rows with hidden entries, and of the other rows."""
    header, *rows = list(csv.reader(labels.open()))
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(rows))
    is_hidden = rng.random((count, len(header) - 1)) < hidden
    train = [
        [rows[i][0], *("NA" if h else value for value, h in zip(rows[i][1:], hides, strict=True))]
        for i, hides in zip(order[:count], is_hidden, strict=True)
    ]
    files = folder / "train.csv", folder / "test.csv"
    for path, chosen in zip(files, (train, [rows[i] for i in order[count:]]), strict=True):
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([header, *chosen])
    return files


def measure(
    data: list[str], train: Path, test: Path, folder: Path, overrides: list[str]
) -> tuple[float, float]:
    """Mean AP on the test images, and the seconds of the training run."""
    started = time.perf_counter()
    run(*data, f"data.labels={train}", "data.val_fraction=0", f"hydra.run.dir={folder / 'run'}", *overrides)
    seconds = time.perf_counter() - started
    tested = folder / "tested"
    checkpoint = f"checkpoint={folder / 'run'}"
    run("mode=evaluate", *data, f"data.labels={test}", checkpoint, f"hydra.run.dir={tested}")
    return json.loads((tested / "metrics.json").read_text())["evaluated"]["mean_ap"], seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--train", type=int, default=200)
    parser.add_argument("--hidden", type=float, default=0.8)
    parser.add_argument("--seeds", type=int, default=1)
    arguments, overrides = parser.parse_known_args()
    # the split is given, so copies of a photograph need not be searched
    data = ["data=folder", f"data.images={arguments.images.absolute()}", "data.follow_links=true"]
    data.append("data.duplicate_distance=null")
    print("| training | mean AP | seconds |\n|---|---|---|")
    for name, method in METHODS.items():
        results = []
        for seed in range(arguments.seeds):
            with tempfile.TemporaryDirectory() as folder:
                files = arguments.labels.absolute(), arguments.test and arguments.test.absolute()
                if arguments.test is None:
                    files = draw(files[0], arguments.train, arguments.hidden, seed, Path(folder))
                results.append(measure(data, *files, Path(folder), [f"seed={seed}", *method, *overrides]))
        scores, seconds = zip(*results, strict=True)
        spread = f" +- {np.std(scores, ddof=1):.3f}" if len(scores) > 1 else ""
        print(f"| {name} | {np.mean(scores):.3f}{spread} | {np.mean(seconds):.0f} |", flush=True)


if __name__ == "__main__":
    main()
