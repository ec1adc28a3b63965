"""How often `mode=compare` finds true differences and claims false ones, and its speed with many runs.

python benchmarks/compare.py draws                 # 200 simulated sets of nine models
python benchmarks/compare.py folders --runs 1000   # mode=compare over simulated runs, the page in Chromium
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from aimonk.data.labels import LabelTable
from aimonk.evaluation.calibration import Calibration
from aimonk.evaluation.comparison import Scores, confidence_set, degrees_of_freedom, optimism, resample
from aimonk.evaluation.evaluate import Evaluation, LabelledLogits, OperatingPoint, evaluate
from aimonk.evaluation.metrics import mean_ap
from aimonk.modes.train.resume import save_labels
from aimonk.report.csv_tables import format_losses, format_predictions, format_splits

ROOT = Path(__file__).resolve().parents[1]
MODELS, IMAGES, ATTRIBUTES = 9, 300, 4
GAP = 1.65  # factor of the noise of a worse model: about two standard errors of its score
EQUAL = "nine equal models"


def draw_labels(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Labels and mask, [N, A] each: 30 % positives, 20 % unknown."""
    shape = (IMAGES, ATTRIBUTES)
    return (rng.random(shape) < 0.3).astype(np.float32), rng.random(shape) < 0.8


def draw_logits(labels: np.ndarray, noise: list[float], rng: np.random.Generator) -> list[np.ndarray]:
    """Logits of a model for each noise: what all models see of an image, and noise of their own."""
    shared = 1.5 * labels + rng.normal(size=labels.shape)
    return [shared + 0.5 * factor * rng.normal(size=labels.shape) for factor in noise]


def draw_scores(noise: list[float], rng: np.random.Generator) -> Scores:
    """Mean APs of simulated models and their deviations."""
    labels, mask = draw_labels(rng)
    probs = [1 / (1 + np.exp(-logits)) for logits in draw_logits(labels, noise, rng)]
    halves = np.full(ATTRIBUTES, 0.5)
    drawn = [resample(labels, mask, None, p, halves, "mean_ap", 400, seed=0) for p in probs]
    values = np.array([mean_ap(labels, mask, p) for p in probs])
    return Scores(values, np.stack(drawn, axis=1), degrees_of_freedom(labels, mask, None))


def simulate(draws: int, seed: int) -> dict[str, float]:
    """Share of draws in which equal models are called equal, worse ones worse, and the gain by the choice."""
    rng, equal, worse, better, gains, highest = np.random.default_rng(seed), [], [], [], [], []
    gaps, errors = [], []
    for _ in range(draws):
        scores = draw_scores([1] * MODELS, rng)
        equal.append((confidence_set(scores) > 0.05).all())
        gains.append(optimism(scores))
        highest.append(scores.values.max() - scores.values.mean())
        scores = draw_scores([GAP] + [1] * (MODELS - 1), rng)
        worse.append(confidence_set(scores)[0] <= 0.05)
        gaps.append(scores.values[1:].mean() - scores.values[0])
        errors.append(scores.deviations[:, 0].std())
        scores = draw_scores([1] + [GAP] * (MODELS - 1), rng)
        better.append((confidence_set(scores)[1:] <= 0.05).mean())
    return {
        EQUAL: float(np.mean(equal)),
        "gap of one worse model, in standard errors of its score": float(np.mean(gaps) / np.mean(errors)),
        "the worse one of nine found": float(np.mean(worse)),
        "one better than eight: share of these found": float(np.mean(better)),
        "gain by choosing the best of nine, simulated": float(np.mean(highest)),
        "gain by choosing the best of nine, estimated": float(np.mean(gains)),
    }


def write_runs(folder: Path, runs: int, seed: int, noise: float = 1.0) -> None:
    """Folders of simulated finished runs: a learning rate each, all on the same images."""
    rng = np.random.default_rng(seed)
    labels, mask = draw_labels(rng)
    names = [f"image_{i}.jpg" for i in range(IMAGES)]
    attributes = [f"attribute_{a}" for a in range(ATTRIBUTES)]
    table = LabelTable(names, attributes, labels * mask, mask)
    point = OperatingPoint(Calibration.identity(ATTRIBUTES), np.full(ATTRIBUTES, 0.5))
    parts = {"val": np.arange(IMAGES)}
    for number, logits in enumerate(draw_logits(labels, [noise] * runs, rng)):
        evaluation: Evaluation = evaluate(LabelledLogits(table, logits, None), point, seed=0)
        run = folder / f"{number}_lr"
        write_run(run, {"optimizer": {"lr": 1e-4 * (number + 1)}, "seed": 0}, table, parts, evaluation, rng)


def write_run(
    run: Path,
    settings: dict,
    table: LabelTable,
    parts: dict[str, np.ndarray],
    evaluation: Evaluation,
    rng: np.random.Generator,
) -> None:
    """What a run of gradient descent leaves, as far as a comparison reads it."""
    run.mkdir(parents=True)
    parameters = {"trained": 5124, "total": 3_400_000}
    metrics = {"epoch": 5, "parameters": parameters, "val": evaluation.scores}
    (run / "metrics.json").write_text(json.dumps(metrics))
    (run / "config.yaml").write_text(yaml.safe_dump({"threshold": 0.5, **settings}))
    (run / "status.json").write_text(json.dumps({"state": "finished", "seconds": 12.5}))
    (run / "splits.csv").write_text(format_splits(table.names, parts))
    (run / "predictions.csv").write_text(format_predictions(table, parts, {"val": evaluation}))
    (run / "loss.csv").write_text(
        format_losses(np.exp(-np.arange(500) / 200 + 0.1 * rng.normal(size=500)).tolist())
    )
    save_labels(run / "labels.pth", table, None)


def measure_folders(runs: int) -> None:
    """Time of the command over simulated folders, and of the page in Chromium where there is one."""
    with tempfile.TemporaryDirectory() as work:
        write_runs(Path(work) / "outputs", runs, seed=0)
        started = time.perf_counter()
        command = [sys.executable, ROOT / "run.py", "mode=compare", f"hydra.run.dir={work}/out"]
        result = subprocess.run(command, cwd=work, capture_output=True, text=True)
        if result.returncode:
            sys.exit(result.stdout + result.stderr)
        print(f"mode=compare over {runs} runs: {time.perf_counter() - started:.1f} s, start-up included")
        page = Path(work) / "out" / "compare.html"
        print(f"compare.html: {page.stat().st_size / 1e6:.2f} MB")
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        if chromium is None:
            print("no Chromium: the page was not opened")
            return
        for name, address in (("an empty page", "about:blank"), ("the page", page.as_uri())):
            started = time.perf_counter()
            options = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
            subprocess.run([chromium, *options, address], capture_output=True, check=True)
            print(f"{name} in Chromium, its start included: {time.perf_counter() - started:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("draws", "folders"))
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--runs", type=int, default=1000)
    arguments = parser.parse_args()
    if arguments.what == "folders":
        measure_folders(arguments.runs)
        return
    for name, value in simulate(arguments.draws, seed=0).items():
        print(f"{name}: {value:.3f}")


if __name__ == "__main__":
    main()
