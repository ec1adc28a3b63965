"""Mean AP and Brier score of the policies for unknown labels, for several reasons why labels are missing.

    python benchmarks/missing.py IMAGES LABELS --train 500 --seeds 5 [OVERRIDES]

LABELS is complete. For each seed, some of its images train with entries hidden, and 1,000 others test with
their complete labels. The oracle trains on the same images with complete labels. Cells have the mean and the
standard deviation over the seeds; a low Brier score is good. Policies may be chosen:

    --policies ignore weak,missing.weight=0.3 --scenarios "random, 50 %"
"""

import argparse
import csv
import json
import logging
import tempfile
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir

from aimonk.modes import train

ROOT = Path(__file__).resolve().parents[1]
TEST = 1000
# near the optimum of the head, with the same work for all policies
TRAINING = ["freeze=backbone", "augmentation=none", "optimizer=adamw", "optimizer.lr=0.01", "epochs=50"]
ORACLE = "all labels"
# probability that an entry is hidden, from its label and that of the next attribute
SCENARIOS = {
    "random, 50 %": lambda label, other: np.full_like(label, 0.5),
    "random, 90 %": lambda label, other: np.full_like(label, 0.9),
    "0s ten times as often as 1s": lambda label, other: np.where(label > 0.5, 0.09, 0.9),
    "all 0s": lambda label, other: np.where(label > 0.5, 0.0, 1.0),
    "all 0s, half of the 1s": lambda label, other: np.where(label > 0.5, 0.5, 1.0),
    "by another attribute": lambda label, other: np.where(other > 0.5, 0.9, 0.4),
}
POLICIES = [
    "ignore",
    "weak",
    "weak,missing.weight=1",
    "entropy",
    "selective",
    "large_loss",
    "large_loss,missing.variant=correct",
]


def hide(labels: np.ndarray, scenario: str, rng: np.random.Generator) -> np.ndarray:
    """Which entries of the labels, [N, A], become NA."""
    if scenario == ORACLE:
        return np.zeros(labels.shape, dtype=bool)
    return rng.random(labels.shape) < SCENARIOS[scenario](labels, np.roll(labels, -1, axis=1))


def write_labels(path: Path, rows: list[list[str]], count: int, scenario: str, seed: int) -> None:
    """Write `count` of the rows, with hidden entries, for training, and TEST others to test."""
    header, *rows = rows
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(rows))
    hidden = hide(np.array([rows[i][1:] for i in order[:count]], dtype=np.float32), scenario, rng)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*header, "split"])
        for i, is_hidden in zip(order[:count], hidden, strict=True):
            values = ["NA" if h else value for h, value in zip(is_hidden, rows[i][1:], strict=True)]
            writer.writerow([rows[i][0], *values, "train"])
        writer.writerows([*rows[i], "test"] for i in order[count : count + TEST])


def measure(policy: str, images: Path, labels: Path, seed: int, overrides: list[str]) -> tuple[float, float]:
    """Mean AP and mean Brier score on the test images."""
    data = ["data=folder", f"data.images={images}", f"data.labels={labels}", f"seed={seed}"]
    given = [*data, *TRAINING, *f"missing={policy}".split(","), *overrides]
    cfg = compose("config", given)
    with tempfile.TemporaryDirectory() as folder:
        train.run(cfg, Path(folder), given)
        scores = json.loads((Path(folder) / "metrics.json").read_text())["test"]
    return scores["mean_ap"], scores["mean_brier"]


def format_cell(scores: list[tuple[float, float]]) -> str:
    """Such as `.987 ± .003, .021 ± .002`."""
    parts = [f"{np.mean(s):.3f} ± {np.std(s, ddof=1):.3f}" for s in zip(*scores, strict=True)]
    return ", ".join(parts).replace("0.", ".")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--train", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--policies", nargs="+", default=POLICIES)
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS), choices=SCENARIOS)
    arguments, overrides = parser.parse_known_args()
    logging.disable(logging.WARNING)
    images, rows = arguments.images.absolute(), list(csv.reader(arguments.labels.open()))
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)

    def row(policy: str, scenario: str) -> str:
        scores = []
        for seed in seeds:
            with tempfile.TemporaryDirectory() as folder:
                labels = Path(folder) / "labels.csv"
                write_labels(labels, rows, arguments.train, scenario, seed)
                scores.append(measure(policy, images, labels, seed, overrides))
        return format_cell(scores)

    print(f"| hidden | {' | '.join(arguments.scenarios)} |")
    print("|---" * (1 + len(arguments.scenarios)) + "|", flush=True)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        for policy in arguments.policies:
            print(f"| {policy}", end="", flush=True)
            for scenario in arguments.scenarios:
                print(f" | {row(policy, scenario)}", end="", flush=True)
            print(" |", flush=True)
        print(f"| {ORACLE} | {row('ignore', ORACLE)} |" + " |" * (len(arguments.scenarios) - 1))


if __name__ == "__main__":
    main()
