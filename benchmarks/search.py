"""The search against random search, on a test function and on recorded runs.

    python benchmarks/search.py                                 # a test function; minutes
    python benchmarks/search.py IMAGES LABELS [OVERRIDES]       # also runs; a quarter of an hour on two cores

The test function is Hartmann's with six settings, whose minimum is -3.32237: the lowest value so far, the
median over 10 seeds, and for how many seeds tpe is ahead.

Then heads of a frozen backbone are trained for every combination of a grid: 16 learning rates from 1e-6 to
30, 4 weight decays, 3 losses and 2 batch sizes. Searches with 10 seeds, by tpe and at random, then look the
runs up instead of training them: the score is the validation mean AP after the last epoch.
The table has the best score so far, the median over the seeds, and for how many seeds tpe is ahead.

A second search has the median pruner. Learning rates of 3 and more are a planted bad region: how many of its
trials are pruned, and how many of all epochs that saves.
"""

import argparse
import itertools
import tempfile
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from aimonk.data.duplicates import find_groups
from aimonk.modes.train.splits import split_parts
from aimonk.runtime.pruning import RunPruned
from aimonk.search.space import split_overrides
from aimonk.search.study import open_trials
from aimonk.setup.data import open_data
from aimonk.setup.task import build_task
from aimonk.setup.trial import EpochReport
from aimonk.training.loop import fit
from aimonk.training.state import TrainState

ROOT = Path(__file__).resolve().parents[1]
RATES = np.geomspace(1e-6, 30, 16)
DECAYS = (1e-4, 1e-2, 1e-1, 1.0)
LOSSES = ("masked", "pos_weight", "focal")
SIZES = (16, 64)
BAD = 3.0  # learning rate
SPACE = ["rate=range(0,16)", "decay=range(0,4)", f"loss={','.join(LOSSES)}", "size=16,64"]
SETTINGS = {"by": "val.mean_ap", "direction": "maximize", "sampler_options": None, "pruner_options": None}

HARTMANN = [f"x{i}=interval(0,1)" for i in range(6)]
HEIGHTS = np.array([1.0, 1.2, 3.0, 3.2])
WIDTHS = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
CENTRES = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)

Grid = dict[tuple, list[dict]]  # records of the epochs of each combination


def minimise(sampler: str, seed: int, trials: int) -> np.ndarray:
    """The lowest value of Hartmann's function so far, for each trial."""
    space, _ = split_overrides(OverridesParser.create().parse_overrides(HARTMANN))
    own = SETTINGS | {"sampler": sampler, "seed": seed, "pruner": "none", "direction": "minimize"}
    found = []
    with tempfile.TemporaryDirectory() as folder:
        study = open_trials(Path(folder), space, own)
        for _ in range(trials):
            number = study.ask()
            x = np.array(list(study.values(number).values()))
            found.append(-float(HEIGHTS @ np.exp(-(WIDTHS * (x - CENTRES) ** 2).sum(1))))
            study.tell(number, found[-1], "complete", "")
    return np.minimum.accumulate(found)


def print_table(tpe: np.ndarray, random: np.ndarray, sign: int) -> None:
    """Medians of the best values so far, [seeds, trials]; sign is 1 where higher is better."""
    print("| trials | tpe | random | tpe ahead, equal, behind |\n|---|---|---|---|")
    for count in range(10, tpe.shape[1] + 1, 10):
        one, other = tpe[:, count - 1], random[:, count - 1]
        better = np.sign(sign * (one - other))
        ahead = f"{(better > 0).sum()}, {(better == 0).sum()}, {(better < 0).sum()}"
        print(f"| {count} | {np.median(one):.4f} | {np.median(other):.4f} | {ahead} |")


def record(overrides: list[str]) -> Grid:
    """Train every combination."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", [*overrides, "optimizer=adamw"])
        images = open_data(cfg)
        groups = find_groups(images.hashes, images.table.names, cfg.data.duplicate_distance)
        parts = split_parts(cfg, images, groups)
        grid = {}
        for rate, decay, loss, size in itertools.product(
            range(len(RATES)), range(len(DECAYS)), LOSSES, SIZES
        ):
            own = [f"optimizer.lr={RATES[rate]}", f"optimizer.weight_decay={DECAYS[decay]}"]
            own += [f"loss={loss}", f"batch_size={size}"]
            state = TrainState()
            task = build_task(
                compose("config", [*overrides, "optimizer=adamw", *own]), images, parts["train"], parts["val"]
            )
            try:
                fit(task, state, task.settings.epochs, lambda: None, lambda: None, lambda state: None)
            except FloatingPointError:
                state.history = state.history or [{"epoch": 1, "mean_ap": 0.0}]
            grid[rate, decay, loss, size] = state.history
    return grid


def search(grid: Grid, sampler: str, seed: int, trials: int, pruner: str = "none") -> list[tuple]:
    """Learning rate, score (None if pruned) and epochs of each trial."""
    space, _ = split_overrides(OverridesParser.create().parse_overrides(SPACE))
    own = SETTINGS | {"sampler": sampler, "seed": seed, "pruner": pruner}
    found = []
    with tempfile.TemporaryDirectory() as folder:
        study = open_trials(Path(folder), space, own)
        for _ in range(trials):
            number = study.ask()
            values = study.values(number)
            epochs = grid[values["rate"], values["decay"], values["loss"], int(values["size"])]
            report = EpochReport(study.asked, "mean_ap", last=epochs[-1]["epoch"])
            score, count = epochs[-1]["mean_ap"], len(epochs)
            try:
                for count in range(1, len(epochs) + 1):
                    report(TrainState(history=epochs[:count]))
                study.tell(number, score, "complete", "")
            except RunPruned as reason:
                score = None
                study.tell(number, None, "pruned", f"{reason}")
            found.append((RATES[values["rate"]], score, count))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path, nargs="?")
    parser.add_argument("labels", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=60)
    options, overrides = parser.parse_known_args()
    lowest = {
        sampler: np.array([minimise(sampler, seed, options.trials) for seed in range(options.seeds)])
        for sampler in ("tpe", "random")
    }
    print_table(lowest["tpe"], lowest["random"], sign=-1)
    if options.images is None:
        return

    data = ["data=folder", f"data.images={options.images}", f"data.labels={options.labels}", "epochs=6"]
    grid = record([*data, *overrides])
    scores = np.sort([epochs[-1]["mean_ap"] for epochs in grid.values()])
    print(f"{len(grid)} runs: mean AP {scores[0]:.4f} to {scores[-1]:.4f}, median {np.median(scores):.4f}")

    best = {
        sampler: np.array(
            [
                np.maximum.accumulate([score for _, score, _ in search(grid, sampler, seed, options.trials)])
                for seed in range(options.seeds)
            ]
        )
        for sampler in ("tpe", "random")
    }
    print_table(best["tpe"], best["random"], sign=1)

    runs = [search(grid, "tpe", seed, options.trials, pruner="median") for seed in range(options.seeds)]
    trials = [trial for run in runs for trial in run]
    bad = [score for rate, score, _ in trials[:] if rate >= BAD]
    kept = np.median([max(score for _, score, _ in run if score is not None) for run in runs])
    most = max(len(epochs) for epochs in grid.values())
    spent = sum(count for _, _, count in trials) / (most * len(trials))
    pruned = sum(score is None for score in bad)
    print(f"median pruner: {pruned} of {len(bad)} trials with a learning rate of {BAD:g} or more are pruned")
    print(f"epochs trained: {spent:.0%}; median of the best scores {kept:.4f}")


if __name__ == "__main__":
    main()
