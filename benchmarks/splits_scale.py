"""Measure time, memory and quality of splits and of the search for duplicates; prints a Markdown table.

    python benchmarks/splits_scale.py [--rows 200000] [--attributes 40]

Each line is measured in a separate process; its peak memory includes labels or thumbnails.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable

import numpy as np

from aimonk.data.duplicates import group_images
from aimonk.data.images.hashes import hash_images
from aimonk.data.splits import stratified_folds, stratified_split

FRACTIONS = np.array([0.8, 0.1, 0.1])


def draw_labels(rows: int, attributes: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlated attributes, 0.01 to 50 % positive, 10 % NA."""
    generator = np.random.default_rng(0)
    prevalence = np.geomspace(1e-4, 0.5, attributes)
    labels = np.empty((rows, attributes), np.float32)
    shared = generator.standard_normal(rows).astype(np.float32)
    for a, p in enumerate(prevalence):
        score = 0.5 * shared + generator.standard_normal(rows)
        labels[:, a] = score > np.quantile(score, 1 - p)
    return labels, generator.random(labels.shape) > 0.1


def worst_deviation(labels: np.ndarray, mask: np.ndarray, parts: list[np.ndarray]) -> str:
    """Largest and mean difference between the count of an indicator in a part and its share."""
    indicators = np.concatenate([mask & (labels > 0.5), mask & (labels < 0.5), ~mask], axis=1)
    total = indicators.sum(axis=0)
    gaps = [np.abs(indicators[p].sum(axis=0) - total * len(p) / len(labels)) for p in parts]
    return f"{np.max(gaps):.1f} / {np.mean(gaps):.2f}"


def split_at_random(rows: int, attributes: int) -> str:
    labels, mask = draw_labels(rows, attributes)
    order = np.random.default_rng(0).permutation(rows)
    return worst_deviation(labels, mask, np.split(order, (rows * FRACTIONS.cumsum()[:2]).astype(int)))


def split_iteratively(rows: int, attributes: int) -> str:
    """Iterative stratification as published (Sechidis et al., 2011), a label's rows placed together."""
    labels, mask = draw_labels(rows, attributes)
    generator = np.random.default_rng(0)
    indicators = np.concatenate([mask & (labels > 0.5), mask & (labels < 0.5)], axis=1)
    wanted = np.outer(FRACTIONS, indicators.sum(axis=0))
    part = np.full(rows, -1)
    room = rows * FRACTIONS
    while (part < 0).any():
        left = indicators[part < 0].sum(axis=0)
        if not left.any():
            break
        column = np.where(left > 0, left, rows + 1).argmin()
        for row in generator.permutation(np.flatnonzero((part < 0) & indicators[:, column])):
            best = np.lexsort((generator.random(len(FRACTIONS)), room, wanted[:, column]))[-1]
            part[row] = best
            room[best] -= 1
            wanted[best] -= indicators[row]
    part[part < 0] = 0
    return worst_deviation(labels, mask, [np.flatnonzero(part == j) for j in range(len(FRACTIONS))])


def split_stratified(rows: int, attributes: int) -> str:
    labels, mask = draw_labels(rows, attributes)
    return worst_deviation(labels, mask, stratified_split(labels, mask, FRACTIONS, None, 0))


def split_pairs(rows: int, attributes: int) -> str:
    labels, mask = draw_labels(rows, attributes)
    groups = np.random.default_rng(1).integers(0, rows, rows)
    return worst_deviation(labels, mask, stratified_split(labels, mask, FRACTIONS, groups, 0))


def split_into_folds(rows: int, attributes: int) -> str:
    labels, mask = draw_labels(rows, attributes)
    fold = stratified_folds(labels, mask, 5, None, 0)
    return worst_deviation(labels, mask, [np.flatnonzero(fold == j) for j in range(5)])


def draw_labels_only(rows: int, attributes: int) -> str:
    draw_labels(rows, attributes)
    return ""


def draw_images(path: str, rows: int, side: int = 32) -> None:
    """Smooth random pictures (amplitude 1 / frequency) on disk; every hundredth is a mirrored, noisy copy."""
    generator = np.random.default_rng(0)
    pixels = np.lib.format.open_memmap(path, "w+", np.uint8, (rows, side, side, 3))
    frequency = np.arange(8)
    waves = np.cos(np.pi * (np.arange(side)[:, None] + 0.5) * frequency / side)
    amplitude = 60 / (1 + np.hypot(frequency[:, None], frequency))[None, :, :, None]
    for start in range(0, rows, 5000):
        n = min(5000, rows - start)
        drawn = amplitude * generator.standard_normal((n, 8, 8, 3), np.float32)
        images = 128 + np.einsum("hu,nuvc,wv->nhwc", waves, drawn, waves, optimize=True)
        images[99::100] = images[98::100, :, ::-1][: len(images[99::100])]
        images[99::100] += generator.normal(0, 4, images[99::100].shape)
        pixels[start : start + n] = np.clip(images, 0, 255)


def group(path: str, rows: int) -> str:
    groups = group_images(hash_images(np.load(path, mmap_mode="r"))).groups
    return f"{rows - len(np.unique(groups)):,} of {rows // 100:,} copies found"


def measure(task: Callable[..., str | None], *arguments: object) -> tuple[str | None, float, float]:
    """Result, seconds and peak MB of a task in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure_here, (task, *arguments))


def _measure_here(task: Callable[..., str | None], *arguments: object) -> tuple[str | None, float, float]:
    start = time.perf_counter()
    result = task(*arguments)
    seconds = time.perf_counter() - start
    return result, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--attributes", type=int, default=40)
    size = parser.parse_args()
    drawing = measure(draw_labels_only, size.rows, size.attributes)[1]
    print(f"{size.rows:,} rows, {size.attributes} attributes; split .8 / .1 / .1; numpy {np.__version__}\n")
    print("| what | s | peak MB | result (deviation from the share: maximum / mean) |\n|---|---|---|---|")
    for name, task in {
        "random split": split_at_random,
        "published iterative stratification": split_iteratively,
        "`stratified_split`": split_stratified,
        "`stratified_split`, groups": split_pairs,
        "`stratified_folds`, 5": split_into_folds,
    }.items():
        result, seconds, peak = measure(task, size.rows, size.attributes)
        print(f"| {name} | {max(0, seconds - drawing):.1f} | {peak:.0f} | {result} |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/images.npy"
        measure(draw_images, path, size.rows)
        result, seconds, peak = measure(group, path, size.rows)
        print(f"| `group_images` | {seconds:.1f} | {peak:.0f} | {result} |")


if __name__ == "__main__":
    main()
