"""Coverage of the 95 % intervals of `aimonk.evaluation.bootstrap`, as a Markdown table.

    python benchmarks/bootstrap_coverage.py                 # 600 sets per row: four minutes on one core
    python benchmarks/bootstrap_coverage.py --percentile    # percentiles of the same resamples instead

A set has four attributes. The score of an image is normal, higher by d where the attribute is present; the
truth is the metric of two million entries. The first three columns are metrics over attributes, whose
intervals should cover the truth in 92 to 98 of 100 sets; the other columns are those of single attributes.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from aimonk.evaluation.arrays import mean_defined
from aimonk.evaluation.bootstrap import bootstrap, draw
from aimonk.evaluation.kernels import MEANS, check, measure, rankings
from aimonk.evaluation.metrics import score

ATTRIBUTES = 4
NAMES = [f"attribute {a}" for a in range(ATTRIBUTES)]
SHOWN = ("mean_ap", "mean_auroc", "f1_macro")
# images, prevalence, share of NA, d (AUROC .5, .76, .96)
CASES = (
    (100, 0.3, 0.0, 1.0),
    (100, 0.5, 0.5, 2.5),
    (200, 0.08, 0.0, 1.0),
    (200, 0.1, 0.5, 1.0),
    (300, 0.08, 0.5, 0.0),
    (300, 0.8, 0.0, 0.0),
    (300, 0.08, 0.0, 2.5),
    (1000, 0.08, 0.5, 1.0),
    (1000, 0.5, 0.0, 1.0),
    (1000, 0.02, 0.0, 2.5),
    (1000, 0.8, 0.2, 2.5),
    (3000, 0.02, 0.5, 1.0),
)


def simulate(rng: np.random.Generator, images: int, prevalence: float, na: float, d: float) -> tuple:
    """Labels, mask and probabilities [N, 4]; the probabilities are calibrated where there is a signal."""
    labels = rng.random((images, ATTRIBUTES)) < prevalence
    mask = rng.random((images, ATTRIBUTES)) >= na
    odds = d * (rng.normal(size=(images, ATTRIBUTES)) + d * labels - d / 2)
    # without a signal, the score is random
    odds = odds if d else rng.normal(size=(images, ATTRIBUTES))
    return labels.astype(float), mask, 1 / (1 + np.exp(-odds - np.log(prevalence / (1 - prevalence))))


def true_scores(prevalence: float, d: float) -> dict[str, float]:
    """Scores of a sample large enough to represent the population."""
    labels, _, probs = simulate(np.random.default_rng(1), 500_000, prevalence, 0.0, d)
    labels, probs = labels.reshape(-1, 1), probs.reshape(-1, 1)
    scores = score(labels, np.ones(labels.shape, dtype=bool), probs, np.array([prevalence]), ["all"])
    return {**scores["attributes"]["all"], **{name: scores[name] for name in MEANS}}


def percentiles(labels, mask, probs, thresholds, resamples: int, seed: int) -> dict:
    """Percentile intervals of the same scores."""
    predictions = check(labels, mask, probs, thresholds)
    ranked = rankings(predictions)
    blocks = [measure(predictions, ranked, w) for w in draw(np.arange(len(mask)), resamples, seed)]
    drawn = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}

    def limits(values: np.ndarray) -> list[float] | None:
        values = values[np.isfinite(values)]
        return list(np.quantile(values, [0.025, 0.975])) if len(values) else None

    attributes = [{part: limits(drawn[part][:, a]) for part in MEANS.values()} for a in range(ATTRIBUTES)]
    return {
        **{name: limits(mean_defined(drawn[part])) for name, part in MEANS.items()},
        "attributes": attributes,
    }


def coverage(
    case: tuple[int, float, float, float], sets: int, resamples: int, percentile: bool = False, seed: int = 0
) -> dict[str, float]:
    """Share of simulated sets whose interval covers the truth, by the name of the score."""
    images, prevalence, na, d = case
    rng = np.random.default_rng(seed)
    truth, hits = true_scores(prevalence, d), defaultdict(list)
    for number in range(sets):
        labels, mask, probs = simulate(rng, images, prevalence, na, d)
        intervals_of = percentiles if percentile else bootstrap
        thresholds = np.full(ATTRIBUTES, prevalence)
        intervals = intervals_of(labels, mask, probs, thresholds, resamples=resamples, seed=number)
        for name, interval in iterate(intervals):
            hits[name].append(interval[0] <= truth[name] <= interval[1])
    return {name: float(np.mean(hit)) for name, hit in hits.items()}


def iterate(intervals: dict) -> Iterator[tuple[str, list[float]]]:
    """Yields each defined interval with the name of its score."""
    for part in (intervals, *intervals["attributes"]):
        for name, interval in part.items():
            if interval is not None and name not in ("attributes", "f1_micro", "subset_accuracy"):
                yield name, interval


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", type=int, default=600)
    parser.add_argument("--resamples", type=int, default=400)
    parser.add_argument("--percentile", action="store_true")
    options = parser.parse_args()
    columns = (*SHOWN, "ap", "auroc", "f1", "balanced_accuracy", "brier", "ece")
    print("| images | prevalence | NA | d | " + " | ".join(columns) + " |")
    print("|" + "---|" * (4 + len(columns)))
    started = time.perf_counter()
    for case in CASES:
        shares = coverage(case, options.sets, options.resamples, options.percentile)
        cells = [f"{100 * shares[name]:.1f}" for name in columns]
        print("| " + " | ".join([*(f"{value:g}" for value in case), *cells]) + " |", flush=True)
    print(
        f"\n{options.sets} sets per row, {options.resamples} resamples, {time.perf_counter() - started:.0f} s"
    )


if __name__ == "__main__":
    main()
