"""One model: trained, and its loss curve written to a folder."""

import logging
import signal
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from aimonk.files.atomic import write_text
from aimonk.files.run_folder import CURVE_FILE, LOSS_FILE, STATE_FILE
from aimonk.modes.train.context import Parts, RunContext
from aimonk.report.csv_tables import format_losses
from aimonk.report.plots.loss import plot_loss
from aimonk.runtime import distributed
from aimonk.runtime.determinism import noting_exceptions
from aimonk.runtime.ranks import rank
from aimonk.setup.task import build_task
from aimonk.training.head_start import start_from_solution
from aimonk.training.loop import fit, plan_batches
from aimonk.training.optimizers import HeadSolver
from aimonk.training.phase import open_phase, predict
from aimonk.training.schedulers import replay
from aimonk.training.selection import select_epoch
from aimonk.training.solver import SolvedHead, solve_head
from aimonk.training.state import TrainState, averaged, load_state, save_state, trained_state
from aimonk.training.task import Task

log = logging.getLogger(__name__)

TERMINATED = 128 + signal.SIGTERM  # exit status of a process that the signal ended

Weights = dict[str, Tensor]


@dataclass
class TrainedModel:
    """A trained model.

    Attributes:
        parts: The rows it was trained and evaluated on, without held-out images that no longer exist.
        logits: Logits of the held-out parts, by name.
        weights: All weights; `selected` and `last` replace those that train.
        selected: Weights of the selected epoch.
        last: Weights of the last epoch.
        solved: How the head was solved; None after gradient descent.
        report: Facts about the training for metrics.json.
    """

    parts: Parts
    logits: dict[str, np.ndarray]
    weights: Weights
    selected: Weights
    last: Weights
    solved: SolvedHead | None
    report: dict


def train_model(run: RunContext, parts: Parts, like: TrainedModel | None = None) -> TrainedModel:
    """Train a model and write its losses, with their curve unless it is a refit.

    Args:
        like: The model that is refitted: its number of epochs or its penalties are taken. None chooses them.

    Raises:
        SystemExit: SIGTERM requested an end; only the state is saved, since time may be short.
    """
    task = build_task(run.cfg, run.images, parts["train"], parts["val"])
    sizes = ", ".join(f"{len(rows)} {name}" for name, rows in parts.items() if len(rows))
    log.info("images: %s; %s on %s", sizes, run.cfg.backbone.name, task.device)
    if like is not None and isinstance(task.scheduler, ReduceLROnPlateau):
        rates = [record["lr"] for record in like.report["epochs"]]
        steps = sum(batch.last for batch in plan_batches(task, epoch=1))
        task.scheduler = replay(task.optimizer, rates, steps)  # no images validate that a plateau could watch
    state, solved = restore(run, task), None

    def save() -> None:
        if rank() == 0:
            save_state(run.out_dir / STATE_FILE, task, state, run.digest)

    with noting_exceptions() as exceptions:
        if isinstance(task.optimizer, HeadSolver):
            solved = solve_head(task, state, run.groups, like and like.solved.penalty)
        else:
            if task.policy.solves_head and (state.epoch, state.batches) == (1, 0):
                start_from_solution(task, run.groups)
            last_epoch = like.report["epoch"] if like else task.settings.epochs
            fit(task, state, last_epoch, run.stop, save, run.report)
    if exceptions:
        names = ", ".join(sorted(exceptions))
        log.warning("deterministic=true: torch has no deterministic algorithm for %s", names)
    if run.stop() == signal.SIGTERM:
        raise SystemExit(TERMINATED)
    with averaged(task):
        last, weights = trained_state(task), task.classifier.state_dict()
    groups = None if run.groups is None else run.groups[parts["val"]]
    selection = select_epoch(task, state, last, groups)
    task.classifier.load_state_dict({**weights, **selection.weights})
    held_out, logits = predict_held_out(task, state, parts)
    write_text(run.out_dir / LOSS_FILE, format_losses(state.losses))
    chosen = selection.iteration if len(parts["val"]) and solved is None else None
    if like is None:
        plot_loss(run.out_dir / CURVE_FILE, state.losses, state.history, chosen, f"{run.cfg.title}")
    report = {"epoch": selection.epoch, "chosen_by": selection.why, **describe_training(state)}
    report["parameters"] = count_parameters(task)
    if solved is not None:
        names = run.images.table.attributes
        report["penalties"] = dict(zip(names, solved.penalty.tolist(), strict=True))
    if exceptions:
        report["not_deterministic"] = sorted(exceptions)
    return TrainedModel(parts | held_out, logits, weights, selection.weights, last, solved, report)


def restore(run: RunContext, task: Task) -> TrainState:
    """The state that an interrupted run saved, loaded into the task, or a new one."""
    saved = distributed.broadcast(run.out_dir) / STATE_FILE
    if run.cfg.resume is None or not saved.is_file():
        return TrainState()
    state = load_state(saved, task, None if run.cfg.resume_force else run.digest)
    if state.losses:
        log.info("resuming at epoch %d, iteration %d", state.epoch, len(state.losses))
    return state


def predict_held_out(task: Task, state: TrainState, parts: Parts) -> tuple[Parts, dict[str, np.ndarray]]:
    """Rows and logits of the validation and test images, by name; parts without images are left out."""
    cut = task.policy.cut(min(state.epoch, task.settings.epochs), len(task.classifier.stages))
    phase = open_phase(task, cut)
    rows, logits = {}, {}
    for name in ("val", "test"):
        if len(parts[name]):
            rows[name], values = predict(task, phase, parts[name])
            logits[name] = values.double().numpy()
    return rows, logits


def count_parameters(task: Task) -> dict[str, int]:
    """Number of parameters that some epoch trains, and of all."""
    counted = {"trained": task.classifier.suffix(task.lowest_cut), "total": task.classifier}
    return {name: sum(p.numel() for p in module.parameters()) for name, module in counted.items()}


def describe_training(state: TrainState) -> dict:
    """Facts about the training for metrics.json."""
    return {
        "iterations": len(state.losses),
        "images_per_second": state.images_per_second,
        "epoch_seconds": state.epoch_seconds,
        "epochs": state.history,
    }
