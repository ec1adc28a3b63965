"""The search against a random one, and how often its pruner ends trials of a bad region.

    python benchmarks/search.py IMAGES LABELS --seeds 10 --trials 40

Each trial trains the head of the frozen backbone for five epochs on 300 images with complete labels; the
score is the mean AP on 600 others. Four settings are searched: the learning rate, the weight decay and the
label smoothing on wide scales, and the batch size. Printed are the medians over the seeds of the best score
after each quarter of the trials, and the number of trials that either sampler needs to reach the other's
final score.

The bad region is a learning rate below 1e-6: the demo is searched through the command line, and all trials
are counted by region and state.
"""

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from optuna.trial import TrialState

from aimonk.data.dataset import ImageSet
from aimonk.evaluation import metrics
from aimonk.runtime.trial import JOURNAL_FILE, open_study
from aimonk.search.samplers import SAMPLERS, create_sampler
from aimonk.setup.data import open_data
from aimonk.setup.task import build_task
from aimonk.training.loop import fit
from aimonk.training.phase import open_phase, predict
from aimonk.training.state import TrainState

ROOT = Path(__file__).resolve().parents[1]
TRAINED, SCORED, EPOCHS = 300, 600, 5
BAD = 1e-6


def score(images: ImageSet, given: list[str]) -> float:
    """Mean AP of a head that is trained with these settings."""
    rows = np.random.default_rng(0).permutation(len(images))
    train, held_out = np.sort(rows[:TRAINED]), np.sort(rows[TRAINED : TRAINED + SCORED])
    cfg = compose("config", ["optimizer=adamw", "augmentation=none", f"epochs={EPOCHS}", *given])
    task = build_task(cfg, images, train, train[:0])
    fit(task, TrainState(), EPOCHS, lambda: None, lambda: None, lambda state: None)
    _, logits = predict(task, open_phase(task, task.lowest_cut), held_out)
    table = images.table
    return metrics.mean_ap(
        table.labels[held_out], table.mask[held_out], torch.sigmoid(logits.double()).numpy()
    )


def search(images: ImageSet, sampler: str, trials: int, seed: int, journal: Path) -> np.ndarray:
    """The best score so far after each trial."""
    study, best = open_study(journal, "none", direction="maximize"), [0.0]
    for number in range(trials):
        study.sampler = create_sampler(sampler, seed, number, parallel=False)
        trial = study.ask()
        given = [
            f"optimizer.lr={trial.suggest_float('lr', 1e-7, 10, log=True)!r}",
            f"optimizer.weight_decay={trial.suggest_float('weight_decay', 1e-6, 10, log=True)!r}",
            f"label_smoothing={trial.suggest_float('label_smoothing', 0, 0.9)!r}",
            f"batch_size={trial.suggest_int('batch_size', 4, 128, log=True)}",
        ]
        try:
            value = score(images, given)
            study.tell(trial, value)
            best.append(max(best[-1], value))
        except FloatingPointError:  # the loss diverged
            study.tell(trial, state=TrialState.FAIL)
            best.append(best[-1])
    return np.array(best[1:])


def compare_samplers(arguments: argparse.Namespace) -> None:
    """Print the medians over the seeds of the best score so far."""
    data = ["data=folder", f"data.images={arguments.images}", f"data.labels={arguments.labels}"]
    found = {}
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"), tempfile.TemporaryDirectory() as work:
        images = open_data(compose("config", data))
        for sampler in SAMPLERS:
            runs = [
                search(images, sampler, arguments.trials, seed, Path(work) / f"{sampler}{seed}.log")
                for seed in range(arguments.seeds)
            ]
            found[sampler] = np.array(runs)
            quarters = [arguments.trials * q // 4 - 1 for q in (1, 2, 3, 4)]
            medians = ", ".join(f"{np.median(found[sampler][:, q]):.4f}" for q in quarters)
            print(
                f"{sampler}: median of the best score after each quarter of the trials: {medians}", flush=True
            )
    tpe, random = (np.median(found[name], axis=0) for name in ("tpe", "random"))
    reached = int(np.argmax(tpe >= random[-1])) + 1 if tpe[-1] >= random[-1] else None
    better = (found["tpe"][:, -1] > found["random"][:, -1]).mean()
    print(
        f"tpe is better in {better:.0%} of the seeds, and reaches random's final median in {reached} trials"
    )


def count_pruned(trials: int) -> None:
    """Print states of the trials in the bad region and elsewhere."""
    with tempfile.TemporaryDirectory() as work:
        command = [
            sys.executable,
            ROOT / "run.py",
            "-m",
            "hydra/sweeper=optuna",
            "hydra.sweeper.sampler=random",
        ]
        command += [f"hydra.sweep.dir={work}/search", f"hydra.sweeper.n_trials={trials}"]
        command += [
            "data.draw.images=200",
            "data.image_size=64",
            "optimizer=adamw",
            "refit=false",
            "epochs=8",
        ]
        command += ["optimizer.lr=tag(log, interval(1e-8,1e-2))"]
        result = subprocess.run(command, capture_output=True, text=True, cwd=work)
        if result.returncode:
            sys.exit(result.stdout + result.stderr)
        counts: Counter = Counter()
        for trial in open_study(Path(work) / "search" / JOURNAL_FILE, "none").trials:
            region = "bad" if trial.params["optimizer.lr"] < BAD else "other"
            counts[region, trial.state.name.lower()] += 1
        for (region, state), count in sorted(counts.items()):
            print(f"{region} region, {state}: {count}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images")
    parser.add_argument("labels")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=40)
    arguments = parser.parse_args()
    compare_samplers(arguments)
    count_pruned(arguments.trials)


if __name__ == "__main__":
    main()
