"""The audit's explanation of missing labels on labels that are hidden in known ways, as Markdown tables.

    python benchmarks/missingness.py                            # features and labels are drawn
    python benchmarks/missingness.py --images DIR --labels FILE # complete labels of photographs
    python benchmarks/missingness.py --draws 10 --rows 300      # faster; fewer images

Entries are hidden: at random (half of them); for entire rows; 0s ten times as often as 1s (90 and 9 %); all
but 80 % of the 1s; four times as often (80 and 20 %) where another attribute is present, or on one side of a
direction of the features. A row of the first table has the shares of draws with the right recommendation
(missing=weak for the third and the fourth, missing=ignore for the others), of attributes with it, and of
attributes by the cause that was found.

With photographs, the second table compares logistic regressions that ignore NA with those that count it as a
negative of weight .1 or 1, for hidden 0s and 1s: mean AP and Brier score on images that are not trained on.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from aimonk.auditing.missingness import explain_missing
from aimonk.auditing.probe import probe
from aimonk.auditing.ridge import principal_components
from aimonk.evaluation.metrics import score
from aimonk.training.logistic import Problems, solve

EXPECTED = {
    "random": "ignore",
    "rows": "ignore",
    "values": "weak",
    "positives": "weak",
    "attribute": "ignore",
    "image": "ignore",
}
PREVALENCES = (0.5, 0.3, 0.15, 0.7)
HIDDEN = ((0.9, 0.09), (0.9, 0.3), (0.9, 0.45), (0.9, 0.6), (0.9, 0.9), (0.5, 0.5))  # share of 0s, of 1s
WEIGHTS = (0.0, 0.1, 1.0)
PENALTY = 1e-2


def draw_set(rows: int, slope: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Features, [N, 64], and complete labels, [N, 4], of logistic models; the first two are associated.

    Args:
        slope: Standard deviation of the log-odds.
    """
    features = rng.normal(size=(rows, 64)) * np.linspace(2, 0.3, 64)
    directions = rng.normal(size=(64, len(PREVALENCES)))
    directions[:, 1] = 0.6 * directions[:, 0] + 0.8 * directions[:, 1]
    logits = features @ directions
    logits = slope * (logits - logits.mean(0)) / logits.std(0)
    noisy = logits + rng.logistic(size=logits.shape)
    offsets = [np.quantile(noisy[:, a], 1 - share) for a, share in enumerate(PREVALENCES)]
    return features.astype(np.float32), (noisy > offsets).astype(np.float64)


def hide(kind: str, features: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """True where the entry stays known, [N, A]."""
    drawn = rng.random(labels.shape)
    if kind == "random":
        return drawn > 0.5
    if kind == "rows":
        return np.repeat(drawn[:, :1] > 0.5, labels.shape[1], axis=1)
    if kind == "values":
        return drawn > np.where(labels == 1, 0.09, 0.9)
    if kind == "positives":
        return (labels == 1) & (drawn > 0.2)
    if kind == "attribute":
        return drawn > np.where(np.roll(labels, -1, axis=1) == 1, 0.8, 0.2)
    scores = features @ rng.normal(size=(features.shape[1], labels.shape[1]))
    return drawn > np.where(scores > np.median(scores, axis=0), 0.8, 0.2)


def explain(features: np.ndarray, labels: np.ndarray, mask: np.ndarray, seed: int) -> dict:
    """The audit's explanation for distinct images."""
    labels, apart = labels * mask, np.arange(len(labels))
    names = [f"attribute {a}" for a in range(labels.shape[1])]
    found = probe(features, labels, mask, apart, folds=5, repeats=1, seed=seed)
    return explain_missing(features, labels, mask, names, found.probabilities, found.evidence, seed)


def measure(kind: str, draws: list[tuple[np.ndarray, np.ndarray]], seed: int) -> tuple[float, float, Counter]:
    """Shares of draws and of attributes with the right recommendation, and the number of each cause."""
    rng = np.random.default_rng(seed)
    right, fitting, causes = [], [], Counter()
    for number, (features, labels) in enumerate(draws):
        found = explain(features, labels, hide(kind, features, labels, rng), number)
        right.append(found["policy"] == EXPECTED[kind])
        fitting += [entry["policy"] == EXPECTED[kind] for entry in found["attributes"].values()]
        causes.update(entry["cause"] for entry in found["attributes"].values())
    return float(np.mean(right)), float(np.mean(fitting)), causes


def report(title: str, draws: list[tuple[np.ndarray, np.ndarray]], seed: int) -> None:
    print(f"\n### {title}\n\n| hidden | draws right % | attributes right % | causes |\n|---|---|---|---|")
    for kind in EXPECTED:
        right, fitting, causes = measure(kind, draws, seed)
        total = sum(causes.values())
        shares = ", ".join(f"{cause} {100 * n / total:.0f} %" for cause, n in causes.most_common())
        print(f"| {kind} | {100 * right:.0f} | {100 * fitting:.0f} | {shares} |", flush=True)


def compare_policies(features: np.ndarray, labels: np.ndarray, rows: int, seeds: int) -> None:
    """Print mean AP and Brier score by the shares of hidden entries and the weight of NA."""
    components = principal_components(features)
    scores = torch.from_numpy(components.scores[:, :256].astype(np.float64) / components.scale**0.5)
    print("\n| 0s hidden, 1s hidden | positive among known, among NA |", end="")
    print("".join(f" weight {w:g}: AP, Brier |" for w in WEIGHTS) + "\n|---|---|---|---|---|")
    for of_0, of_1 in HIDDEN:
        shares, results = [], []
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            order = rng.permutation(len(labels))
            train, test = order[:rows], order[rows:]
            known = rng.random((rows, labels.shape[1])) > np.where(labels[train] == 1, of_1, of_0)
            given = labels[train] * known
            shares.append((given.sum() / known.sum(), (labels[train] * ~known).sum() / (~known).sum()))
            for weight in WEIGHTS:
                weights = torch.from_numpy(np.where(known, 1.0, weight))
                penalty = torch.full((labels.shape[1],), PENALTY, dtype=torch.float64)
                fit = solve(Problems(scores[train], torch.from_numpy(given), weights, penalty, 1e-4))
                logits = scores[test] @ fit.coefficients[:-1] + fit.coefficients[-1]
                everything, half = np.ones(logits.shape, dtype=bool), np.full(labels.shape[1], 0.5)
                names = [str(a) for a in range(labels.shape[1])]
                found = score(labels[test], everything, torch.sigmoid(logits).numpy(), half, names)
                results.append((found["mean_ap"], found["mean_brier"]))
        means = np.mean(np.array(results).reshape(seeds, len(WEIGHTS), 2), axis=0)
        cells = " | ".join(f"{ap:.3f}, {brier:.3f}" for ap, brier in means)
        known, unknown = np.mean(shares, axis=0)
        print(f"| {of_0:g}, {of_1:g} | {known:.2f}, {unknown:.2f} | {cells} |", flush=True)


def read_photographs(images: Path, labels: Path) -> tuple[np.ndarray, np.ndarray]:
    """Features of the audit's backbone, [N, D], and labels, [N, A]."""
    from hydra import compose, initialize_config_dir

    from aimonk.setup.data import open_data
    from aimonk.setup.features import frozen_features

    overrides = ["mode=audit", "data=folder", f"data.images={images}", f"data.labels={labels}"]
    with initialize_config_dir(str(Path(__file__).resolve().parents[1] / "conf"), version_base="1.3"):
        cfg = compose("config", overrides)
    found = open_data(cfg)
    if not found.table.mask.all():
        raise ValueError(f"{labels} has unknown labels; expected complete ones")
    return frozen_features(cfg, found)[1], found.table.labels.astype(np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--slopes", type=float, nargs="+", default=[1, 2, 4])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    if options.images is None:
        for slope in options.slopes:
            draws = [draw_set(options.rows, slope, rng) for _ in range(options.draws)]
            report(f"drawn, {options.rows} rows, log-odds of deviation {slope:g}", draws, options.seed)
        return
    features, labels = read_photographs(options.images.absolute(), options.labels.absolute())
    samples = [rng.permutation(len(labels))[: options.rows] for _ in range(options.draws)]
    report(f"{options.rows} photographs", [(features[s], labels[s]) for s in samples], options.seed)
    compare_policies(features, labels, min(options.rows, len(labels) // 2), 5)


if __name__ == "__main__":
    main()
