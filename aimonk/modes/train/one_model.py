"""One model: trained, evaluated on the held-out images, and written to a folder."""

import logging
import signal
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from aimonk.evaluation.evaluate import Evaluation, OperatingPoint
from aimonk.files.atomic import write_text
from aimonk.files.run_folder import CURVE_FILE, LAST_FILE, LOSS_FILE, MODEL_FILE, SPLITS_FILE, STATE_FILE
from aimonk.models.checkpoint import ModelInfo, save_model
from aimonk.modes.train.context import Parts, RunContext
from aimonk.modes.train.scoring import choose_thresholds, evaluate_parts
from aimonk.report.csv_tables import format_losses, format_splits
from aimonk.report.plots.loss import plot_loss
from aimonk.report.tables import has_verdict
from aimonk.runtime import distributed
from aimonk.runtime.determinism import noting_exceptions
from aimonk.runtime.ranks import rank
from aimonk.setup.task import build_task
from aimonk.training.head_start import start_from_solution
from aimonk.training.loop import fit
from aimonk.training.optimizers import HeadSolver
from aimonk.training.phase import open_phase, predict
from aimonk.training.selection import select_epoch
from aimonk.training.solver import solve_head
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
        weights: All weights; `kept` and `last` replace those that train.
        kept: Weights of the selected epoch.
        last: Weights of the last epoch.
        report: Facts about the training for metrics.json.
    """

    parts: Parts
    logits: dict[str, np.ndarray]
    weights: Weights
    kept: Weights
    last: Weights
    report: dict


def train_and_evaluate(run: RunContext, parts: Parts) -> tuple[TrainedModel, dict[str, Evaluation]]:
    """Train a model, choose its thresholds on "val", and write it with its splits."""
    write_text(run.out_dir / SPLITS_FILE, format_splits(run.images.table.names, parts))
    model = train_model(run, parts)
    operating_point = choose_thresholds(run, model.parts["val"], model.logits.get("val"))
    evaluations = evaluate_parts(run, model.parts, model.logits, operating_point)
    write_models(run, model, operating_point, evaluations)
    return model, evaluations


def train_model(run: RunContext, parts: Parts) -> TrainedModel:
    """Train a model and write its loss curve.

    Raises:
        SystemExit: SIGTERM requested an end; only the state is saved, since time may be short.
    """
    task = build_task(run.cfg, run.images, parts["train"], parts["val"])
    sizes = ", ".join(f"{len(rows)} {name}" for name, rows in parts.items() if len(rows))
    log.info("images: %s; %s on %s", sizes, run.cfg.backbone.name, task.device)
    state = restore(run, task)

    def save() -> None:
        if rank() == 0:
            save_state(run.out_dir / STATE_FILE, task, state, run.digest)

    with noting_exceptions() as exceptions:
        if isinstance(task.optimizer, HeadSolver):
            solve_head(task, state, run.groups)
        else:
            if task.policy.solves_head and (state.epoch, state.batches) == (1, 0):
                start_from_solution(task, run.groups)
            fit(task, state, run.stop, save)
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
    chosen = selection.iteration if len(parts["val"]) else None
    plot_loss(run.out_dir / CURVE_FILE, state.losses, state.history, chosen, f"{run.cfg.title}")
    report = {"epoch": selection.epoch, "chosen_by": selection.why, **describe_training(state)}
    if exceptions:
        report["not_deterministic"] = sorted(exceptions)
    return TrainedModel(parts | held_out, logits, weights, selection.weights, last, report)


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


def describe_training(state: TrainState) -> dict:
    """Facts about the training for metrics.json."""
    return {
        "iterations": len(state.losses),
        "images_per_second": state.images_per_second,
        "epoch_seconds": state.epoch_seconds,
        "epochs": state.history,
    }


def write_models(
    run: RunContext,
    model: TrainedModel,
    operating_point: OperatingPoint,
    evaluations: dict[str, Evaluation],
) -> None:
    """Write the weights of the selected epoch, with the verdicts on them, and those of the last one."""
    report, attributes = model.report, run.images.table.attributes
    scored, untested = evaluations.get("test", evaluations.get("val")), [None] * len(attributes)
    verdicts = untested
    if scored is not None and has_verdict(report):
        verdicts = [entry["beats_chance"] for entry in scored.scores["attributes"].values()]
    last_epoch = report["epochs"][-1]["epoch"] if report["epochs"] else 1
    for file, state, epoch, why, beats_chance in (
        (MODEL_FILE, model.kept, report["epoch"], report["chosen_by"], verdicts),
        (LAST_FILE, model.last, last_epoch, "the last epoch", untested),
    ):
        info = ModelInfo(
            library=run.cfg.backbone.library,
            backbone=run.cfg.backbone.name,
            attributes=attributes,
            thresholds=operating_point.thresholds.tolist(),
            scale=operating_point.calibration.scale.tolist(),
            bias=operating_point.calibration.bias.tolist(),
            image_size=run.cfg.data.image_size,
            resize=run.cfg.data.resize,
            epoch=epoch,
            chosen_by=why,
            beats_chance=beats_chance,
        )
        weights = {
            key: value.detach().cpu().contiguous() for key, value in {**model.weights, **state}.items()
        }
        save_model(run.out_dir / file, info, weights)
