"""One model: trained, brought to an operating point, evaluated on held-out images, and written."""

import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from aimonk.data.dataset import ImageSet
from aimonk.evaluation.calibration import Calibration
from aimonk.evaluation.evaluate import (
    Evaluation,
    OperatingPoint,
    choose_operating_point,
    evaluate,
    evaluate_chosen,
)
from aimonk.evaluation.thresholds import parse_rule
from aimonk.files.atomic import write_text
from aimonk.files.run_folder import LAST_FILE, MODEL_FILE
from aimonk.models.checkpoint import ModelInfo, save_model
from aimonk.report.csv_tables import format_losses, format_splits
from aimonk.report.plots import loss as plots
from aimonk.runtime import distributed
from aimonk.runtime.determinism import noting_exceptions
from aimonk.setup.task import build_task
from aimonk.training.loop import fit
from aimonk.training.resume import STATE_FILE, load_state, save_state
from aimonk.training.task import Phase, Task, TrainState, averaged, predict, trained_state

log = logging.getLogger(__name__)

TERMINATED = 128 + signal.SIGTERM  # exit status, as of a process that the signal ended

Parts = dict[str, np.ndarray]  # "train", "val", "test" -> rows of the label table


@dataclass
class Outcome:
    """A trained model.

    Attributes:
        parts: The rows it was trained and scored on: held-out images that are not there any more left out.
        logits: Of the parts that were held out, by name.
        whole: All weights; `kept` and `last` replace those that train.
        report: What metrics.json says beside the scores.
    """

    task: Task
    parts: Parts
    logits: dict[str, np.ndarray]
    whole: dict
    kept: dict
    last: dict
    report: dict


def train_once(
    cfg: DictConfig, images: ImageSet, parts: Parts, out_dir: Path, stop: Callable[[], signal.Signals | None]
) -> Outcome:
    """Train one model, write its curve, and leave it with the weights that are kept."""
    task = build_task(cfg, images, parts["train"], parts["val"])
    sizes = ", ".join(f"{len(rows)} {name}" for name, rows in parts.items() if len(rows))
    log.info("images: %s; %s on %s", sizes, cfg.backbone.name, task.device)
    begun = distributed.broadcast(out_dir) / STATE_FILE
    progress = load_state(begun, task) if cfg.resume is not None and begun.is_file() else TrainState()
    if progress.losses:
        log.info("going on in epoch %d after iteration %d", progress.epoch, len(progress.losses))

    def save() -> None:
        if distributed.rank() == 0:
            save_state(out_dir / STATE_FILE, task, progress)

    with noting_exceptions() as exceptions:
        fit(task, progress, stop, save)
    if exceptions:
        log.warning("deterministic=true: torch has no such algorithm for %s", ", ".join(sorted(exceptions)))
    if stop() == signal.SIGTERM:
        raise SystemExit(TERMINATED)  # there may be no time for more than the state, which is saved
    with averaged(task):
        last, whole = trained_state(task), task.classifier.state_dict()
    best = progress.best or {"epoch": progress.epoch, "iteration": len(progress.losses)}
    kept = progress.best_state or last
    task.classifier.load_state_dict({**whole, **kept})
    cut = task.policy.cut(min(progress.epoch, cfg.epochs), len(task.classifier.stages))
    phase = Phase(task, cut)
    parts, logits = dict(parts), {}
    for name in ("val", "test"):
        if len(parts[name]):
            parts[name], values = predict(task, phase, parts[name])
            logits[name] = values.double().numpy()
    write_text(out_dir / "loss.csv", format_losses(progress.losses))
    chosen = best["iteration"] if len(parts["val"]) else None
    plots.plot_loss(out_dir / "loss_curve.png", progress.losses, progress.history, chosen)
    report = {
        "epoch": best["epoch"],
        "chosen_by": why_chosen(task, progress),
        "iterations": len(progress.losses),
        "images_per_second": progress.images / max(progress.seconds, 1e-9),
        "epoch_seconds": progress.epoch_seconds,
        "epochs": progress.history,
    }
    if exceptions:
        report["not_deterministic"] = sorted(exceptions)
    return Outcome(task, parts, logits, whole, kept, last, report)


def why_chosen(task: Task, progress: TrainState) -> str:
    """Why the weights of that epoch were kept."""
    if progress.best is None:
        return "the run was interrupted in its first epoch"
    if not len(task.val_rows):
        return "the last epoch; no images were held out"
    name = "mean AP" if task.settings.monitor == "mean_ap" else "loss"
    value = progress.best["mean_ap" if task.settings.monitor == "mean_ap" else "val_loss"]
    return f"the best validation {name}" + ("" if value is None else f", {value:.4f}")


def choose(cfg: DictConfig, images: ImageSet, rows: np.ndarray, logits: np.ndarray | None) -> OperatingPoint:
    """Thresholds and calibration from held-out images; without any, a fixed threshold."""
    table, rule = images.table, parse_rule(cfg.threshold)
    if logits is not None:
        return choose_operating_point(
            table.labels[rows], table.mask[rows], logits, cfg.threshold, cfg.calibrate
        )
    if rule.kind != "fixed" or cfg.calibrate is not None:
        log.warning("no images are held out to choose thresholds or a calibration on: .5 and none are used")
    count = len(table.attributes)
    fixed = rule.value if rule.kind == "fixed" else 0.5
    return OperatingPoint(Calibration.identity(count), np.full(count, fixed))


def evaluate_parts(
    cfg: DictConfig,
    images: ImageSet,
    groups: np.ndarray | None,
    parts: Parts,
    logits: dict[str, np.ndarray],
    operating_point: OperatingPoint,
) -> dict[str, Evaluation]:
    """Scores of the parts that were held out; thresholds were chosen on "val"."""
    table, evaluations = images.table, {}
    for name, values in logits.items():
        rows = parts[name]
        arguments = (table.labels[rows], table.mask[rows], values, table.attributes)
        arguments += (None if groups is None else groups[rows], operating_point)
        if name == "val":
            evaluations[name] = evaluate_chosen(*arguments, cfg.threshold, cfg.calibrate, cfg.seed)
        else:
            evaluations[name] = evaluate(*arguments, cfg.seed)
    return evaluations


def train_and_evaluate(
    cfg: DictConfig,
    images: ImageSet,
    groups: np.ndarray | None,
    parts: Parts,
    out_dir: Path,
    stop: Callable[[], signal.Signals | None],
) -> tuple[Outcome, dict[str, Evaluation]]:
    """Train one model, choose its thresholds on "val", score it, and write it and its parts."""
    write_text(out_dir / "splits.csv", format_splits(images.table.names, parts))
    outcome = train_once(cfg, images, parts, out_dir, stop)
    parts = outcome.parts
    operating_point = choose(cfg, images, parts["val"], outcome.logits.get("val"))
    evaluations = evaluate_parts(cfg, images, groups, parts, outcome.logits, operating_point)
    write_models(cfg, images, outcome, operating_point, out_dir)
    return outcome, evaluations


def write_models(
    cfg: DictConfig, images: ImageSet, outcome: Outcome, operating_point: OperatingPoint, out_dir: Path
) -> None:
    """Write the weights that are kept and those of the last epoch."""
    history = outcome.report["epochs"]
    files = [
        (MODEL_FILE, outcome.kept, outcome.report["epoch"], outcome.report["chosen_by"]),
        (LAST_FILE, outcome.last, history[-1]["epoch"] if history else 1, "the last epoch"),
    ]
    for name, state, epoch, why in files:
        info = ModelInfo(
            library=cfg.backbone.library,
            backbone=cfg.backbone.name,
            attributes=images.table.attributes,
            thresholds=operating_point.thresholds.tolist(),
            scale=operating_point.calibration.scale.tolist(),
            bias=operating_point.calibration.bias.tolist(),
            image_size=cfg.data.image_size,
            resize=cfg.data.resize,
            epoch=epoch,
            chosen_by=why,
        )
        whole = {key: value.detach().cpu().contiguous() for key, value in {**outcome.whole, **state}.items()}
        save_model(out_dir / name, info, whole)
