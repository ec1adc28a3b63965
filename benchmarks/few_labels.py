"""Mean AP on unseen images of models trained with few labels, against scikit-learn and hindsight.

    python benchmarks/few_labels.py IMAGES LABELS --train 50 200 --seeds 5 [OVERRIDES]

LABELS is complete. For each seed, some of its images train with 80 % of their entries hidden, and others
test; a fifth of the training images validates, as by default. The first table has

- scikit-learn: LogisticRegression per attribute on the known entries of the same features, for each C
- the default settings: the kept model, and the one that was scored, without the validation images
- optimizer=adamw: the kept model, which is refitted too

The second has gradient descent without the refit, with the epoch chosen by several rules on the validation
images, and the best epoch in hindsight. Mean and standard deviation over the seeds.
"""

import argparse
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from aimonk.data.dataset import ImageSet
from aimonk.data.duplicates import find_groups
from aimonk.data.splits import stratified_split
from aimonk.evaluation import metrics
from aimonk.modes.train.context import Parts, RunContext
from aimonk.modes.train.refit import train_and_evaluate, train_and_refit
from aimonk.setup.data import open_data
from aimonk.setup.task import build_task
from aimonk.training.loop import fit
from aimonk.training.phase import open_phase, predict
from aimonk.training.selection import select_epoch
from aimonk.training.state import TrainState, trained_state

ROOT = Path(__file__).resolve().parents[1]
PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)  # C
HIDDEN = 0.8


def draw(images: ImageSet, groups: np.ndarray, count: int, tested: int, seed: int) -> tuple[ImageSet, Parts]:
    """The images with hidden entries, and the parts of a draw."""
    table, rng = images.table, np.random.default_rng(seed)
    order = rng.permutation(len(table))
    rows, test = np.sort(order[:count]), np.sort(order[count : count + tested])
    mask = table.mask.copy()
    mask[rows] &= rng.random((count, mask.shape[1])) >= HIDDEN
    train, val, _ = stratified_split(table.labels[rows], mask[rows], (0.8, 0.2, 0.0), groups[rows], seed)
    parts = {"train": rows[train], "val": rows[val], "test": test}
    return replace(images, table=replace(table, mask=mask)), parts


def mean_ap(images: ImageSet, parts: Parts, logits: np.ndarray | Tensor) -> float:
    """Mean AP on the test images."""
    probs, rows = torch.sigmoid(torch.as_tensor(logits, dtype=torch.float64)).numpy(), parts["test"]
    return metrics.mean_ap(images.table.labels[rows], images.table.mask[rows], probs)


def by_scikit_learn(cfg: DictConfig, images: ImageSet, parts: Parts) -> list[float]:
    """Mean AP for each C, trained on training and validation images."""
    rows, table = np.concatenate([parts["train"], parts["val"]]), images.table
    task = build_task(cfg, images, rows, rows[:0])
    load = task.open_inputs(len(task.classifier.stages)).load
    features, unseen = (
        load(torch.from_numpy(of), torch.zeros(len(of), dtype=torch.int64))[0].numpy()
        for of in (rows, parts["test"])
    )
    scores = []
    for c in PENALTIES:
        logits = np.zeros((len(unseen), len(table.attributes)))
        for a in range(logits.shape[1]):
            known = table.mask[rows, a]
            label = table.labels[rows, a][known]
            if 0 < label.sum() < len(label):
                model = LogisticRegression(C=c, max_iter=2000).fit(features[known], label)
                logits[:, a] = model.decision_function(unseen)
        scores.append(mean_ap(images, parts, logits))
    return scores


def by_run(cfg: DictConfig, images: ImageSet, groups: np.ndarray, parts: Parts, refit: bool) -> float:
    """Mean AP of the kept model of a run."""
    with tempfile.TemporaryDirectory() as folder:
        run = RunContext(cfg, images, groups, Path(folder), lambda: None, digest="")
        outcome = (train_and_refit if refit else train_and_evaluate)(run, parts)
    return mean_ap(images, parts, outcome.model.logits["test"])


def by_rule(cfg: DictConfig, images: ImageSet, groups: np.ndarray, parts: Parts) -> dict[str, float]:
    """Mean AP of gradient descent without a refit, for each rule that chooses the epoch."""
    task, state, tested = build_task(cfg, images, parts["train"], parts["val"]), TrainState(), []

    def test() -> None:
        phase = open_phase(task, task.policy.cut(state.history[-1]["epoch"], len(task.classifier.stages)))
        tested.append(mean_ap(images, parts, predict(task, phase, parts["test"])[1]))

    fit(task, state, task.settings.epochs, lambda: None, test, lambda state: None)
    kept = select_epoch(task, state, trained_state(task), groups[parts["val"]]).epoch
    ap = np.array([np.nan if e["mean_ap"] is None else e["mean_ap"] for e in state.history])
    smooth = np.convolve(np.nan_to_num(ap), np.ones(5) / 5, "valid")
    loss = np.array([record["val_loss"] for record in state.history])
    return {
        "kept": tested[kept - 1],
        "last": tested[-1],
        "best validation mean AP": tested[int(np.nan_to_num(ap).argmax())],
        "the same, mean of 5 epochs": tested[int(smooth.argmax()) + 2],
        "lowest validation loss": tested[int(loss.argmin())],
        "hindsight": max(tested),
    }


def print_table(count: int, scores: dict[str, list[float]]) -> None:
    cells = (f"{np.mean(s):.4f} +- {np.std(s, ddof=1):.3f}" for s in scores.values())
    print(
        f"\n| {count} images | {' | '.join(scores)} |\n|---|{'---|' * len(scores)}\n| | {' | '.join(cells)} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--train", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=5)
    arguments, overrides = parser.parse_known_args()
    warnings.filterwarnings("ignore", category=FutureWarning)
    data = ["data=folder", f"data.images={arguments.images}", f"data.labels={arguments.labels}", *overrides]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        default, descent = (compose("config", [*data, *extra]) for extra in ([], ["optimizer=adamw"]))
    images = open_data(default)
    groups = find_groups(images.hashes, images.table.names, default.data.duplicate_distance)
    groups = np.arange(len(images.table)) if groups is None else groups
    for count in arguments.train:
        models: dict[str, list[float]] = {}
        rules: dict[str, list[float]] = {}
        for seed in range(arguments.seeds):
            drawn, parts = draw(images, groups, count, arguments.test, seed)
            row = dict(
                zip((f"C={c:g}" for c in PENALTIES), by_scikit_learn(default, drawn, parts), strict=True)
            )
            row["default, kept"] = by_run(default, drawn, groups, parts, refit=True)
            row["default, scored"] = by_run(default, drawn, groups, parts, refit=False)
            row["adamw, kept"] = by_run(descent, drawn, groups, parts, refit=True)
            for table, scores in ((models, row), (rules, by_rule(descent, drawn, groups, parts))):
                for name, value in scores.items():
                    table.setdefault(name, []).append(value)
        print_table(count, models)
        print_table(count, rules)


if __name__ == "__main__":
    main()
