"""Mean AP and Brier score of the policies for unknown labels, for several reasons why labels are missing.

    python benchmarks/missing.py IMAGES LABELS --train 500 --seeds 5 [OVERRIDES]

LABELS is complete. For each seed, some of its images train with entries hidden, and 1,000 others test with
their complete labels. The oracle trains on the same images with complete labels. Cells have the mean and the
standard deviation over the seeds of the mean AP and of the Brier score, which is low where probabilities are
good. Policies and reasons may be chosen:

    --policies ignore weak,missing.weight=0.3 --reasons random_50 all_0s
"""

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir

from aimonk.data.dataset import ImageSet
from aimonk.evaluation import metrics
from aimonk.setup.data import open_data
from aimonk.setup.task import build_task
from aimonk.training.loop import fit
from aimonk.training.phase import open_phase, predict
from aimonk.training.state import TrainState

CONF = Path(__file__).resolve().parents[1] / "conf"
TEST = 1000
# near the optimum of the head, with the same work for all policies
TRAINING = ["freeze=backbone", "augmentation=none", "optimizer=adamw", "optimizer.lr=0.01", "epochs=50"]
TRAINING += ["batch_size=32"]
NOTHING = "nothing"
# probability that an entry is hidden, from its label and that of the next attribute
REASONS = {
    "random_50": lambda label, other: np.full_like(label, 0.5),
    "random_90": lambda label, other: np.full_like(label, 0.9),
    "more_0s": lambda label, other: np.where(label > 0.5, 0.09, 0.9),  # ten times as often as 1s
    "all_0s": lambda label, other: np.where(label > 0.5, 0.0, 1.0),
    "all_0s_half_of_1s": lambda label, other: np.where(label > 0.5, 0.5, 1.0),
    "other_attribute": lambda label, other: np.where(other > 0.5, 0.9, 0.4),
    NOTHING: lambda label, other: np.zeros_like(label),
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


def measure(
    policy: str, reason: str, images: ImageSet, count: int, given: list[str], seed: int
) -> tuple[float, float]:
    """Mean AP and mean Brier score on the test images, after training on `count` others."""
    rng, table = np.random.default_rng(seed), images.table
    order = rng.permutation(len(table))
    train, test = order[:count], order[count : count + TEST]
    hidden = rng.random(table.labels.shape) < REASONS[reason](table.labels, np.roll(table.labels, -1, axis=1))
    mask = ~hidden
    mask[test] = True
    partial = replace(images, table=replace(table, mask=mask, labels=np.where(mask, table.labels, 0)))
    cfg = compose("config", [*given, *f"missing={policy}".split(","), f"seed={seed}"])
    task = build_task(cfg, partial, train, test[:0])
    fit(task, TrainState(), task.settings.epochs, lambda: None, lambda: None, lambda state: None)
    _, logits = predict(task, open_phase(task, task.lowest_cut), test)
    probs, labels = torch.sigmoid(logits.double()).numpy(), table.labels[test]
    return metrics.mean_ap(labels, mask[test], probs), float(np.square(probs - labels).mean())


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
    parser.add_argument("--policies", nargs="+", default=POLICIES)
    parser.add_argument("--reasons", nargs="+", default=[name for name in REASONS if name != NOTHING])
    arguments, overrides = parser.parse_known_args()
    logging.disable(logging.WARNING)
    paths = [f"data.images={arguments.images.absolute()}", f"data.labels={arguments.labels.absolute()}"]
    given = ["data=folder", *paths, *TRAINING, *overrides]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        images = open_data(compose("config", given))

        def cell(policy: str, reason: str) -> str:
            case = (policy, reason, images, arguments.train, given)
            return format_cell([measure(*case, seed) for seed in range(arguments.seeds)])

        print(f"| hidden | {' | '.join(arguments.reasons)} |")
        print("|---" * (1 + len(arguments.reasons)) + "|", flush=True)
        for policy in arguments.policies:
            print(f"| {policy}", end="", flush=True)
            for reason in arguments.reasons:
                print(f" | {cell(policy, reason)}", end="", flush=True)
            print(" |", flush=True)
        print(f"| complete labels | {cell('ignore', NOTHING)} |" + " |" * (len(arguments.reasons) - 1))


if __name__ == "__main__":
    main()
