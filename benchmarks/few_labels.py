"""Mean AP on unseen images of models trained with few labels: the kept weights against the last epoch's.

    python benchmarks/few_labels.py IMAGES LABELS --train 50 200 --seeds 5 [OVERRIDES]

LABELS is complete. For each seed, some of its images train with 80 % of their entries hidden, and 1,000
others test. The table has the mean and the standard deviation over the seeds.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
HIDDEN, TEST = 0.8, 1000


def write_labels(
    path: Path, header: list[str], rows: list[list[str]], hidden: np.ndarray | None = None
) -> None:
    """Write a label file; entries where `hidden`, [n, A], is True become NA."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for i, (name, *values) in enumerate(rows):
            masked = (
                values
                if hidden is None
                else ["NA" if h else v for v, h in zip(values, hidden[i], strict=True)]
            )
            writer.writerow([name, *masked])


def run(*arguments: str) -> None:
    result = subprocess.run([sys.executable, ROOT / "run.py", *arguments], capture_output=True, text=True)
    if result.returncode:
        sys.exit(result.stdout + result.stderr)


def measure(
    images: Path, labels: Path, count: int, seed: int, folder: Path, overrides: list[str]
) -> list[float]:
    """Mean AP on the test images of the kept weights and of the last epoch's."""
    header, *rows = list(csv.reader(labels.open()))
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(rows))
    hidden = rng.random((count, len(header) - 1)) < HIDDEN
    write_labels(folder / "train.csv", header, [rows[i] for i in order[:count]], hidden)
    write_labels(folder / "test.csv", header, [rows[i] for i in order[count : count + TEST]])
    data = ["data=folder", f"data.images={images}"]
    trained = folder / "run"
    run(*data, f"data.labels={folder / 'train.csv'}", f"hydra.run.dir={trained}", f"seed={seed}", *overrides)
    scores = []
    for name in ("aimonk_model", "aimonk_model_last"):
        out = folder / name
        checkpoint = f"checkpoint={trained / name}.pth"
        run("mode=evaluate", *data, f"data.labels={folder / 'test.csv'}", checkpoint, f"hydra.run.dir={out}")
        scores.append(json.loads((out / "metrics.json").read_text())["evaluated"]["mean_ap"])
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--train", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--seeds", type=int, default=5)
    arguments, overrides = parser.parse_known_args()
    images, labels = arguments.images.absolute(), arguments.labels.absolute()
    print("| training images | kept | last epoch |\n|---|---|---|")
    for count in arguments.train:
        scores = []
        for seed in range(arguments.seeds):
            with tempfile.TemporaryDirectory() as folder:
                scores.append(measure(images, labels, count, seed, Path(folder), overrides))
        cells = [f"{np.mean(s):.3f} +- {np.std(s, ddof=1):.3f}" for s in zip(*scores, strict=True)]
        print(f"| {count} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
