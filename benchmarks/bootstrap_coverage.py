"""Coverage of the 95 % intervals of `aimonk.evaluation.bootstrap`, as a Markdown table.

    python benchmarks/bootstrap_coverage.py                 # 600 sets per row: ten minutes on one core
    python benchmarks/bootstrap_coverage.py --percentile    # percentiles of the same resamples instead

The score of an image is normal, higher by d where the attribute is present. The truth is the expected score
of such a set, the mean of 2,000 others; of the calibration error, that of two million entries. The first
three columns are metrics over attributes, whose intervals should cover the truth in 92 to 98 of 100 sets; the
others are those of single attributes, where all have the same prevalence. The last columns: how often the
mean AP of the set exceeds its chance level, and how often it is an end of its interval.
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

SHOWN = ("mean_ap", "mean_auroc", "f1_macro")
SINGLE = ("ap", "auroc", "f1", "balanced_accuracy", "brier", "ece")
UNEQUAL = tuple(np.geomspace(1, 200, 25) / 600)
# images, prevalence of each attribute, share of NA, d (AUROC .5, .76, .80, .96)
CASES = (
    (100, (0.3,) * 4, 0.0, 1.0),
    (100, (0.5,) * 4, 0.5, 2.5),
    (200, (0.08,) * 4, 0.0, 1.0),
    (200, (0.1,) * 4, 0.5, 1.0),
    (300, (0.08,) * 4, 0.5, 0.0),
    (300, (0.8,) * 4, 0.0, 0.0),
    (300, (0.08,) * 4, 0.0, 2.5),
    (1000, (0.08,) * 4, 0.5, 1.0),
    (1000, (0.5,) * 4, 0.0, 1.0),
    (1000, (0.02,) * 4, 0.0, 2.5),
    (1000, (0.8,) * 4, 0.2, 2.5),
    (3000, (0.02,) * 4, 0.5, 1.0),
    *((600, UNEQUAL, 0.0, d) for d in (0.0, 1.19, 2.5)),
    (1200, UNEQUAL, 0.5, 1.19),
    *((600, (0.02,) * 40, 0.5, d) for d in (0.0, 1.19, 2.5)),
    *((600, (0.01,) * 200, 0.0, d) for d in (0.0, 1.19)),
)
Case = tuple[int, tuple[float, ...], float, float]


def simulate(rng: np.random.Generator, case: Case) -> tuple:
    """Labels, mask and probabilities [N, A]; the probabilities are calibrated where there is a signal."""
    images, prevalence, na, d = case
    size, prevalence = (images, len(prevalence)), np.array(prevalence)
    labels = rng.random(size) < prevalence
    mask = rng.random(size) >= na
    odds = d * (rng.normal(size=size) + d * labels - d / 2)
    # without a signal, the score is random
    odds = odds if d else rng.normal(size=size)
    return labels.astype(float), mask, 1 / (1 + np.exp(-odds - np.log(prevalence / (1 - prevalence))))


def true_scores(case: Case) -> dict[str, float]:
    """Mean score of 2,000 sets; of the calibration error, that of a large sample."""
    rng, scores = np.random.default_rng(1), defaultdict(list)
    for _ in range(2000):
        for name, value in iterate(set_scores(simulate(rng, case), case[1])):
            scores[name].append(value)
    large = (2_000_000 // len(case[1]), case[1], 0.0, case[3])
    exact = dict(iterate(set_scores(simulate(rng, large), case[1])))
    return {name: float(np.mean(values)) for name, values in scores.items()} | {"ece": exact["ece"]}


def set_scores(simulated: tuple, prevalence: tuple[float, ...]) -> dict:
    """The scores of a simulated set, with a list of those of the attributes."""
    names = [str(a) for a in range(len(prevalence))]
    scores = score(*simulated, np.array(prevalence), names)
    return scores | {"attributes": list(scores["attributes"].values())}


def percentiles(labels, mask, probs, thresholds, resamples: int, seed: int) -> dict:
    """Percentile intervals of the same scores."""
    predictions = check(labels, mask, probs, thresholds)
    ranked = rankings(predictions)
    blocks = [measure(predictions, ranked, w) for w in draw(np.arange(len(mask)), resamples, seed)]
    drawn = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}

    def limits(values: np.ndarray) -> list[float] | None:
        values = values[np.isfinite(values)]
        return list(np.quantile(values, [0.025, 0.975])) if len(values) else None

    attributes = [{part: limits(drawn[part][:, a]) for part in MEANS.values()} for a in range(mask.shape[1])]
    return {
        **{name: limits(mean_defined(drawn[part])) for name, part in MEANS.items()},
        "attributes": attributes,
    }


def coverage(
    case: Case, sets: int, resamples: int, percentile: bool = False, seed: int = 0
) -> dict[str, float]:
    """Share of simulated sets whose interval covers the truth, by the name of the score.

    Also the shares of sets whose mean AP is `"above_chance"` and `"end"` of its interval.
    """
    rng = np.random.default_rng(seed)
    truth, hits, thresholds = true_scores(case), defaultdict(list), np.array(case[1])
    for number in range(sets):
        simulated = simulate(rng, case)
        intervals_of = percentiles if percentile else bootstrap
        intervals = intervals_of(*simulated, thresholds, resamples=resamples, seed=number)
        for name, interval in iterate(intervals):
            hits[name].append(interval[0] <= truth[name] <= interval[1])
        scores = set_scores(simulated, case[1])
        hits["above_chance"].append(scores["mean_ap"] > scores["chance"]["mean_ap"])
        hits["end"].append(np.isclose(intervals["mean_ap"], scores["mean_ap"], rtol=0, atol=1e-6).any())
    return {name: float(np.mean(hit)) for name, hit in hits.items()}


def iterate(scores: dict) -> Iterator[tuple[str, list[float] | float]]:
    """Yields each defined score or interval with its name."""
    for part in (scores, *scores["attributes"]):
        for name in (*SHOWN, *SINGLE):
            if part.get(name) is not None:
                yield name, part[name]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", type=int, default=600)
    parser.add_argument("--resamples", type=int, default=400)
    parser.add_argument("--percentile", action="store_true")
    options = parser.parse_args()
    columns = (*SHOWN, *SINGLE, "above_chance", "end")
    print("| images | attributes | prevalence | NA | d | " + " | ".join(columns) + " |")
    print("|" + "---|" * (5 + len(columns)))
    started = time.perf_counter()
    for case in CASES:
        images, prevalence, na, d = case
        shares = coverage(case, options.sets, options.resamples, options.percentile)
        equal = len(set(prevalence)) == 1
        cells = [f"{100 * shares[name]:.1f}" if equal or name not in SINGLE else "" for name in columns]
        rarity = f"{prevalence[0]:g}" if equal else f"{prevalence[0]:.4f} to {prevalence[-1]:.3f}"
        row = [f"{images}", f"{len(prevalence)}", rarity, f"{na:g}", f"{d:g}", *cells]
        print("| " + " | ".join(row) + " |", flush=True)
    print(
        f"\n{options.sets} sets per row, {options.resamples} resamples, {time.perf_counter() - started:.0f} s"
    )


if __name__ == "__main__":
    main()
