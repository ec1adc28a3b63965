"""Labels needed for a mean AP: the queue `uncertain` of mode=review against random order.

    python benchmarks/label_next.py IMAGES LABELS --target .95 --seeds 5 [OVERRIDES]

LABELS is complete and answers for the person who labels. For each seed, a third of the photographs tests, and
nothing is labelled of the others. Both orders label all attributes of an image, in batches of 5 images, after
each of which the heads are solved again as mode=review solves them. The need is the number of labelled
images at which mean AP on the test images first reaches the target, interpolated between batches.

The second table labels images at random, and compares the page's forecast for the next 50 with what these
change on the test images.
"""

import argparse
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from torch import Tensor

from aimonk.data.duplicates import group_images
from aimonk.data.labels import LabelTable
from aimonk.evaluation.metrics import mean_ap
from aimonk.review.learning_curve import NEXT, Forecast, forecast
from aimonk.review.queues import uncertain
from aimonk.review.solving import Features, solve_heads
from aimonk.setup.data import open_data
from aimonk.setup.features import frozen_features

ROOT = Path(__file__).resolve().parents[1]
BATCH = 5
LABELLED = (50, 100, 150, 200)


def needed(
    table: LabelTable,
    components: Tensor,
    groups: np.ndarray,
    seed: int,
    by_queue: bool,
    target: float,
    most: int,
) -> tuple[float, list[float]]:
    """Labelled images at which the target is reached (inf: never), and mean AP after each batch."""
    rng = np.random.default_rng(seed)
    test_groups = rng.permutation(groups.max() + 1)[: (groups.max() + 1) // 3]
    is_test = np.isin(groups, test_groups)
    test, pool = np.flatnonzero(is_test), np.flatnonzero(~is_test)
    order = rng.permutation(pool)
    mask = np.zeros_like(table.mask)
    probs, scores = np.full(table.labels.shape, 0.5), []
    for count in range(BATCH, min(most, len(pool)) + 1, BATCH):
        if by_queue:
            chosen = [row for row, _ in uncertain(probs, mask, components, is_test)[:BATCH]]
        else:
            chosen = order[count - BATCH : count]
        mask[chosen] = table.mask[chosen]
        solved = solve_heads(components, table.labels, mask, groups, None)
        probs = solved.probs
        predicted = 1 / (1 + np.exp(-solved.logits[test].clip(-30, 30)))
        scores.append(mean_ap(table.labels[test], table.mask[test], predicted))
        if scores[-1] >= target:
            before = scores[-2] if len(scores) > 1 else 0.0
            return count - BATCH * (scores[-1] - target) / (scores[-1] - before), scores
    return np.inf, scores


def foretell(
    table: LabelTable, components: Tensor, groups: np.ndarray, seed: int, count: int
) -> tuple[float, Forecast]:
    """Change of mean AP on the test images by the next images in random order, and its forecast."""
    rng = np.random.default_rng(seed)
    test_groups = rng.permutation(groups.max() + 1)[: (groups.max() + 1) // 3]
    test = np.flatnonzero(np.isin(groups, test_groups))
    order = rng.permutation(np.flatnonzero(~np.isin(groups, test_groups)))
    scores, found = [], None
    for labelled in (count, count + NEXT):
        mask = np.zeros_like(table.mask)
        mask[order[:labelled]] = table.mask[order[:labelled]]
        solved = solve_heads(components, table.labels, mask, groups, None)
        predicted = 1 / (1 + np.exp(-solved.logits[test].clip(-30, 30)))
        scores.append(mean_ap(table.labels[test], table.mask[test], predicted))
        data = components, table.labels, mask, groups, solved.penalty
        found = found or forecast(*data, lambda: False)
    return scores[1] - scores[0], found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--target", type=float, default=0.95)
    parser.add_argument("--most", type=int, default=600, help="labelled images")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    arguments, overrides = parser.parse_known_args()
    data = ["data=folder", f"data.images={arguments.images}", f"data.labels={arguments.labels}", *overrides]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", ["mode=review", *data])
    images = open_data(cfg)
    groups = group_images(images.hashes, cfg.data.duplicate_distance).groups
    components = Features(frozen_features(cfg, images)[1]).components
    needs = []
    print(f"| seed | images for mean AP {arguments.target:g}: queue | random | ratio |\n|---|---|---|---|")
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        need = [
            needed(images.table, components, groups, seed, by_queue, arguments.target, arguments.most)[0]
            for by_queue in (True, False)
        ]
        needs.append(need)
        print(f"| {seed} | {need[0]:.0f} | {need[1]:.0f} | {need[0] / need[1]:.2f} |", flush=True)
    queue, random = np.mean(needs, axis=0)
    print(f"| mean | {queue:.0f} | {random:.0f} | {queue / random:.2f} |")
    print("\n| labelled | change by the next 50 | forecast, mean of the seeds | inside |\n|---|---|---|---|")
    for count in LABELLED:
        seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
        pairs = [foretell(images.table, components, groups, seed, count) for seed in seeds]
        pairs = [(change, found.interval) for change, found in pairs if found.interval is not None]
        inside = sum(low <= change <= high for change, (low, high) in pairs)
        low, high = np.mean([interval for _, interval in pairs], axis=0)
        change = np.mean([change for change, _ in pairs])
        print(
            f"| {count} | {change:+.4f} | {low:+.4f} to {high:+.4f} | {inside} of {len(pairs)} |", flush=True
        )


if __name__ == "__main__":
    main()
