"""`mode=train`: from a config to a run folder with weights, curve, scores and predictions."""

import contextlib
import json
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from aimonk import distributed, plots
from aimonk.build import open_data
from aimonk.calibration import Calibration
from aimonk.checkpoint import (
    LAST_FILE,
    MODEL_FILE,
    STATUS_FILE,
    ModelInfo,
    load_tensors,
    replacing,
    save_model,
    write_json,
    write_text,
)
from aimonk.data.dataset import ImageSet
from aimonk.data.duplicates import find_groups
from aimonk.data.splits import SPLITS, assigned_split, stratified_folds, stratified_split
from aimonk.evaluation import Judgement, Operating, choose_operating, judge, judge_choice, verdict
from aimonk.interrupt import Interrupt
from aimonk.modes.assembly import build_task, check_components
from aimonk.resume import (
    DATA_FILE,
    STATE_FILE,
    compare_configs,
    compare_labels,
    load_state,
    save_labels,
    saver,
)
from aimonk.results import format_losses, format_predictions, format_splits
from aimonk.tables import format_scores
from aimonk.thresholds import parse_rule
from aimonk.training import Phase, Progress, Task, averaged, fit, pick_device, predict, trained_state

log = logging.getLogger(__name__)

OUTCOME_FILE = "outcome.pth"  # of a fold: what a cross-validation that goes on needs of it
TERMINATED = 128 + signal.SIGTERM  # exit status, as of a process that the signal ended

Parts = dict[str, np.ndarray]  # "train", "val", "test" -> rows of the label table


def run(cfg: DictConfig, out_dir: Path, overrides: list[str]) -> None:
    """Train and write the run folder.

    Raises:
        ValueError: A mistake in the config or the data.
        FileNotFoundError: Data or weights that are not there.
        FloatingPointError: The loss is not a number any more.
    """
    if cfg.resume is not None and is_finished(out_dir):
        log.info("finished already: %s", out_dir)
        return
    check_components(cfg)
    distributed.start(pick_device(cfg.device))
    out_dir = distributed.share(out_dir)
    if cfg.resume is not None:
        check_config(cfg, out_dir)
    write_text(out_dir / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    write_json(out_dir / STATUS_FILE, {"state": "running"})
    try:
        with Interrupt() as interrupt:
            images = open_data(cfg)
            check_labels(cfg, images, out_dir)
            groups = find_groups(images.pixels, images.table.names, cfg.data.duplicate_distance)
            train = cross_validate if cfg.data.folds else train_split
            train(cfg, images, groups, out_dir, interrupt.requested)
    except BaseException as error:
        state = "interrupted" if isinstance(error, KeyboardInterrupt | SystemExit) else "failed"
        with contextlib.suppress(OSError):  # the disk may be what failed
            write_json(out_dir / STATUS_FILE, {"state": state, "reason": f"{error}" or type(error).__name__})
        raise
    finally:
        distributed.stop()
    state = "finished" if interrupt.signal is None else "interrupted"
    write_json(out_dir / STATUS_FILE, {"state": state})
    if state == "finished":
        for leftover in out_dir.rglob(STATE_FILE):
            leftover.unlink()
    log.info("%s: %s", state, out_dir)


def is_finished(out_dir: Path) -> bool:
    """Whether the folder holds a run that has come to its end."""
    status = out_dir / STATUS_FILE
    return status.is_file() and json.loads(status.read_text())["state"] == "finished"


def check_config(cfg: DictConfig, out_dir: Path) -> None:
    """See to it that a run goes on as it began.

    Raises:
        ValueError: Settings differ, and resume_force is not set.
    """
    begun = out_dir / "config.yaml"
    if not begun.is_file():
        return  # a job of a sweep that had not begun
    now = OmegaConf.to_container(cfg, resolve=True)
    _refuse(cfg, compare_configs(OmegaConf.to_container(OmegaConf.load(begun)), now))


def check_labels(cfg: DictConfig, images: ImageSet, out_dir: Path) -> None:
    """Keep the labels beside a new run, and compare them when it goes on.

    Raises:
        ValueError: They differ, and resume_force is not set.
    """
    kept = out_dir / DATA_FILE
    if cfg.resume is not None and kept.is_file():
        _refuse(cfg, compare_labels(kept, images.table))
    save_labels(kept, images.table)


def _refuse(cfg: DictConfig, differences: list[str]) -> None:
    if differences and not cfg.resume_force:
        raise ValueError(
            f"the run began otherwise: {'; '.join(differences)} (resume_force=true goes on all the same)"
        )
    if differences:
        log.warning("going on although the run began otherwise: %s", "; ".join(differences))


def train_split(
    cfg: DictConfig, images: ImageSet, groups: np.ndarray | None, out_dir: Path, stop: Callable[[], signal.Signals | None]
) -> None:
    """Train on one part of the images, choose on another, and score."""
    parts = split_parts(cfg, images, groups)
    write_text(out_dir / "splits.csv", format_splits(images.table.names, parts))
    outcome = train_once(cfg, images, parts, out_dir, stop)
    operating = choose(cfg, images, parts["val"], outcome.logits.get("val"))
    judged = judge_parts(cfg, images, groups, parts, outcome.logits, operating)
    write_models(cfg, images, outcome, operating, out_dir)
    report = outcome.report | {name: judgement.scores for name, judgement in judged.items()}
    write_json(out_dir / "metrics.json", report)
    held_out = {name: parts[name] for name in judged}
    write_text(out_dir / "predictions.csv", format_predictions(images.table, held_out, judged))
    conclude({name: judgement.scores for name, judgement in judged.items()})


def cross_validate(
    cfg: DictConfig, images: ImageSet, groups: np.ndarray | None, out_dir: Path, stop: Callable[[], signal.Signals | None]
) -> None:
    """Train a model per fold, score every image by the model that did not see it, then train one on all images."""
    table, folds = images.table, cfg.data.folds
    rows = np.arange(len(table))
    pooled, spread = np.zeros((cfg.data.repeats, *table.labels.shape)), []
    for repeat in range(cfg.data.repeats):
        fold_of = stratified_folds(table.labels, table.mask, folds, groups, cfg.seed + repeat)
        for fold in range(folds):
            if stop():
                raise KeyboardInterrupt("cross-validation was interrupted: its folds so far are kept")
            name = f"fold_{fold + 1}" if cfg.data.repeats == 1 else f"repeat_{repeat + 1}_fold_{fold + 1}"
            log.info("%s", name)
            done = out_dir / name / OUTCOME_FILE
            if cfg.resume is not None and done.is_file():
                outcome = load_tensors(done)
                pooled[repeat, fold_of == fold] = outcome["logits"].numpy()
                spread.append(outcome["scores"])
                continue
            parts = {"train": rows[fold_of != fold], "val": rows[fold_of == fold], "test": rows[:0]}
            (out_dir / name).mkdir(parents=True, exist_ok=True)
            write_text(out_dir / name / "splits.csv", format_splits(table.names, parts))
            outcome = train_once(cfg, images, parts, out_dir / name, stop)
            operating = choose(cfg, images, parts["val"], outcome.logits["val"])
            judged = judge_parts(cfg, images, groups, parts, outcome.logits, operating)
            write_models(cfg, images, outcome, operating, out_dir / name)
            write_json(out_dir / name / "metrics.json", outcome.report | {"val": judged["val"].scores})
            pooled[repeat, parts["val"]] = outcome.logits["val"]
            spread.append({key: judged["val"].scores[key] for key in ("mean_ap", "mean_auroc", "f1_macro")})
            with replacing(done) as file:
                torch.save({"logits": torch.from_numpy(outcome.logits["val"]), "scores": spread[-1]}, file)
    logits = pooled.mean(axis=0)
    everything = {"train": rows, "val": rows[:0], "test": rows[:0]}
    log.info("all images: the model that is kept")
    outcome = train_once(cfg, images, everything, out_dir, stop)
    operating = choose(cfg, images, rows, logits)
    judged = judge_parts(cfg, images, groups, everything | {"val": rows}, {"val": logits}, operating)
    write_models(cfg, images, outcome, operating, out_dir)
    report = outcome.report | {"val": judged["val"].scores, "folds": spread}
    for key in spread[0]:
        values = [fold[key] for fold in spread if fold[key] is not None]
        report[f"{key}_spread"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    write_json(out_dir / "metrics.json", report)
    write_text(out_dir / "predictions.csv", format_predictions(table, {"val": rows}, judged))
    conclude({"val": judged["val"].scores})


def split_parts(cfg: DictConfig, images: ImageSet, groups: np.ndarray | None) -> Parts:
    """Rows that train, validate and test.

    Raises:
        ValueError: Fractions that make no sense, or too few images for them.
    """
    table, data = images.table, cfg.data
    if data.splits is not None:
        rows = assigned_split(Path(data.splits), table.names, groups)
    else:
        for key in ("val_fraction", "test_fraction"):
            if not 0 <= data[key] < 1:
                raise ValueError(f"data.{key} is {data[key]}; expected 0 to below 1")
        fractions = (1 - data.val_fraction - data.test_fraction, data.val_fraction, data.test_fraction)
        if fractions[0] <= 0:
            raise ValueError("data.val_fraction and data.test_fraction leave no images to train on")
        rows = stratified_split(table.labels, table.mask, fractions, groups, cfg.seed)
        for name, fraction, part in zip(SPLITS, fractions, rows, strict=True):
            if fraction and not len(part):
                raise ValueError(f"{len(table)} images are too few: none is left for {name} ({fraction:g})")
    parts = dict(zip(SPLITS, rows, strict=True))
    if not len(parts["train"]):
        raise ValueError(f"{data.splits}: no image is assigned to train")
    return parts


@dataclass
class Outcome:
    """A trained model.

    Attributes:
        logits: Of the parts that were held out, by name.
        whole: All weights; `kept` and `last` replace those that train.
        report: What metrics.json says beside the scores.
    """

    task: Task
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
    state = out_dir / STATE_FILE
    progress = load_state(state, task) if cfg.resume is not None and state.is_file() else Progress()
    if progress.losses:
        log.info("going on in epoch %d after iteration %d", progress.epoch, len(progress.losses))
    fit(task, progress, stop, saver(state, task, progress, distributed.rank() == 0))
    if stop() == signal.SIGTERM:
        raise SystemExit(TERMINATED)  # there may be no time for more than the state, which is saved
    with averaged(task):
        last, whole = trained_state(task), task.classifier.state_dict()
    best = progress.best or {"epoch": progress.epoch, "iteration": len(progress.losses)}
    kept = progress.best_state or last
    task.classifier.load_state_dict({**whole, **kept})
    cut = task.policy.cut(min(progress.epoch, cfg.epochs), len(task.classifier.stages))
    phase = Phase(task, cut)
    logits = {
        name: predict(task, phase, parts[name]).double().numpy() for name in ("val", "test") if len(parts[name])
    }
    write_text(out_dir / "loss.csv", format_losses(progress.losses))
    chosen = best["iteration"] if len(parts["val"]) else None
    plots.plot_loss(out_dir / "loss_curve.png", progress.losses, progress.history, chosen)
    report = {
        "epoch": best["epoch"],
        "chosen_by": why_chosen(task, progress),
        "iterations": len(progress.losses),
        "images_per_second": progress.images / max(progress.seconds, 1e-9),
        "epochs": progress.history,
    }
    return Outcome(task, logits, whole, kept, last, report)


def why_chosen(task: Task, progress: Progress) -> str:
    """Why the weights of that epoch were kept."""
    if progress.best is None:
        return "the run was interrupted in its first epoch"
    if not len(task.val_rows):
        return "the last epoch; no images were held out"
    name = "mean AP" if task.settings.monitor == "mean_ap" else "loss"
    value = progress.best["mean_ap" if task.settings.monitor == "mean_ap" else "val_loss"]
    return f"the best validation {name}" + ("" if value is None else f", {value:.4f}")


def choose(cfg: DictConfig, images: ImageSet, rows: np.ndarray, logits: np.ndarray | None) -> Operating:
    """Thresholds and calibration from held-out images; without any, a fixed threshold."""
    table, rule = images.table, parse_rule(cfg.threshold)
    if logits is not None:
        return choose_operating(table.labels[rows], table.mask[rows], logits, cfg.threshold, cfg.calibrate)
    if rule.kind != "fixed" or cfg.calibrate is not None:
        log.warning("no images are held out to choose thresholds or a calibration on: .5 and none are used")
    count = len(table.attributes)
    fixed = rule.value if rule.kind == "fixed" else 0.5
    return Operating(Calibration.identity(count), np.full(count, fixed))


def judge_parts(
    cfg: DictConfig,
    images: ImageSet,
    groups: np.ndarray | None,
    parts: Parts,
    logits: dict[str, np.ndarray],
    operating: Operating,
) -> dict[str, Judgement]:
    """Scores of the parts that were held out; thresholds were chosen on "val"."""
    table, judged = images.table, {}
    for name, values in logits.items():
        rows = parts[name]
        arguments = (table.labels[rows], table.mask[rows], values, table.attributes)
        arguments += (None if groups is None else groups[rows], operating)
        if name == "val":
            judged[name] = judge_choice(*arguments, cfg.threshold, cfg.calibrate, cfg.seed)
        else:
            judged[name] = judge(*arguments, cfg.seed)
    return judged


def write_models(
    cfg: DictConfig, images: ImageSet, outcome: Outcome, operating: Operating, out_dir: Path
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
            thresholds=operating.thresholds.tolist(),
            scale=operating.calibration.scale.tolist(),
            bias=operating.calibration.bias.tolist(),
            image_size=cfg.data.image_size,
            resize=cfg.data.resize,
            epoch=epoch,
            chosen_by=why,
        )
        whole = {key: value.detach().cpu().contiguous() for key, value in {**outcome.whole, **state}.items()}
        save_model(out_dir / name, info, whole)


def conclude(scores: dict[str, dict]) -> None:
    """Log the scores, and in one sentence how the model stands against chance."""
    for name, title in (("val", "validation images"), ("test", "test images")):
        if name in scores:
            log.info("\n%s\n", format_scores(scores[name], title))
    last = scores.get("test", scores.get("val"))
    if last is None:
        log.info(
            "nothing was held out, so nothing is known of how the model does on new images: data.val_fraction=0.2 "
            "would tell, and mode=audit whether the labels can be learned at all"
        )
        return
    log.info("verdict: %s", verdict(last))
    if not last["beats_chance"]:
        log.warning("the scores do not beat chance: mode=audit tells whether these labels can be learned at all")
