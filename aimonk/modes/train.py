"""`mode=train`: from a config to a run folder with weights, curve, scores and predictions."""

import csv
import io
import logging
import os
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from aimonk import distributed, metrics, plots
from aimonk.build import build, cache_folder, open_data
from aimonk.checkpoint import (
    LAST_FILE,
    MODEL_FILE,
    STATUS_FILE,
    ModelInfo,
    save_model,
    write_json,
    write_text,
)
from aimonk.data.augmentation import FixedViews
from aimonk.data.dataset import ImageSet
from aimonk.data.loading import Pixels
from aimonk.data.splits import stratified_split
from aimonk.data.store import RowStore
from aimonk.interrupt import Interrupt
from aimonk.models.classifier import Classifier
from aimonk.models.engine import fast_inference
from aimonk.models.features import FeatureSource
from aimonk.progress import watch
from aimonk.training import Phase, Progress, Settings, Task, averaged, fit, pick_device, predict, trained_state

log = logging.getLogger(__name__)


def run(cfg: DictConfig, out_dir: Path, overrides: list[str]) -> None:
    """Train and write the run folder.

    Raises:
        ValueError: A mistake in the config or the data.
        FileNotFoundError: Data or weights that are not there.
        FloatingPointError: The loss is not a number any more.
    """
    out_dir = distributed.share(out_dir)
    writes = distributed.rank() == 0
    if writes:
        write_text(out_dir / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
        write_json(out_dir / STATUS_FILE, {"state": "running"})
    progress = Progress()
    try:
        with Interrupt() as interrupt:
            task, images = set_up(cfg)
            fit(task, progress, interrupt.requested, save=lambda: None)
            finish(task, images, progress, cfg, out_dir)
    except BaseException as error:
        if writes:
            state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            write_json(out_dir / STATUS_FILE, {"state": state, "reason": f"{error}" or type(error).__name__})
        raise
    finally:
        distributed.stop()
    if writes:
        state = "finished" if interrupt.signal is None else "interrupted"
        write_json(out_dir / STATUS_FILE, {"state": state})
        log.info("%s: %s", state, out_dir)


def set_up(cfg: DictConfig) -> tuple[Task, ImageSet]:
    """Build every component; what is cheap and may be misspelt first, what takes time last."""
    device = pick_device(cfg.device)
    distributed.start(device)
    settings = read_settings(cfg)
    policy, loss, sampler = build(cfg.freeze), build(cfg.loss), build(cfg.sampler)
    augmentation, optimizer, scheduler = build(cfg.augmentation), build(cfg.optimizer), build(cfg.scheduler)
    if cfg.features.views is not None and augmentation.views is None:
        augmentation = FixedViews(augmentation, cfg.features.views)
    torch.manual_seed(cfg.seed)

    images = open_data(cfg)
    table = images.table
    train_rows, val_rows = split_rows(images, cfg.data.val_fraction, cfg.seed)
    torch.manual_seed(cfg.seed)  # the same new head whatever was drawn before
    backbone = build(cfg.backbone)
    classifier = Classifier(backbone, len(table.attributes)).to(device, memory_format=torch.channels_last)
    cuts = policy.cuts(cfg.epochs, len(classifier.stages))
    train_labels = torch.from_numpy(table.labels[train_rows]), torch.from_numpy(table.mask[train_rows])
    if isinstance(loss, partial):  # it depends on the training labels
        loss = loss(*train_labels)
    parameters = optimizer(classifier, min(cuts))
    batches = -(-len(train_rows) // (cfg.batch_size * distributed.world() * cfg.accumulate))
    task = Task(
        classifier=classifier,
        policy=policy,
        criterion=loss.to(device),
        optimizer=parameters,
        scheduler=scheduler(parameters, batches * cfg.epochs),
        fetch=open_inputs(cfg, images, augmentation, classifier, device),
        labels=table.labels,
        mask=table.mask,
        train_rows=train_rows,
        val_rows=val_rows,
        weights=sampler(table.labels[train_rows], table.mask[train_rows]),
        views=augmentation.views,
        slow_fetch=augmentation.views is None or images.stored is None,
        device=device,
        settings=settings,
    )
    log.info(
        "%d images train, %d validate; %s on %s", len(train_rows), len(val_rows), cfg.backbone.name, device
    )
    return task, images


def read_settings(cfg: DictConfig) -> Settings:
    """The loop's settings, checked.

    Raises:
        ValueError: A setting that makes no sense.
    """
    for key in ("epochs", "batch_size", "accumulate"):
        if cfg[key] < 1:
            raise ValueError(f"{key} is {cfg[key]}; expected 1 or more")
    if cfg.monitor not in ("mean_ap", "loss"):
        raise ValueError(f"monitor is {cfg.monitor!r}; expected mean_ap or loss")
    if cfg.ema is not None and not 0 < cfg.ema < 1:
        raise ValueError(f"ema is {cfg.ema}; expected null or a decay between 0 and 1")
    if not 0 <= cfg.data.val_fraction < 1:
        raise ValueError(f"data.val_fraction is {cfg.data.val_fraction}; expected 0 to below 1")
    workers = min(8, os.cpu_count() or 1) if cfg.workers == "auto" else int(cfg.workers)
    keys = [f for f in Settings.__dataclass_fields__ if f != "workers"]
    return Settings(**{key: cfg[key] for key in keys}, workers=workers)


def split_rows(images: ImageSet, val_fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows to hold out."""
    table = images.table
    fractions = (1 - val_fraction, val_fraction)
    train, val = stratified_split(table.labels, table.mask, fractions, groups=None, seed=seed)
    if not len(train) or (val_fraction and not len(val)):
        raise ValueError(f"{len(table)} images are too few to hold out {val_fraction:g} of them")
    return train, val


def open_inputs(cfg: DictConfig, images: ImageSet, augmentation, classifier: Classifier, device: torch.device):
    """A function from the number of frozen stages to what gives the inputs, and whether these are features."""
    pixels = Pixels(images.pixels, augmentation, cfg.data.image_size, cfg.data.resize)
    choice = cfg.features.enabled
    if choice not in ("auto", True, False):
        raise ValueError(f"features.enabled is {choice!r}; expected auto, true or false")
    source = FeatureSource(
        fetch=pixels,
        keys=[f"{cfg.data.image_size} {cfg.data.resize} {key}" for key in images.keys],
        views=augmentation.views or 1,
        view_key=repr(OmegaConf.to_container(cfg.augmentation, resolve=True)),
        store=RowStore(cache_folder(cfg) / "features", round(cfg.features.limit_gb * 1e9)),
        dtype=cfg.features.dtype,
        watch=watch,
    )
    engine = fast_inference if device.type == "cpu" else (lambda prefix, example: prefix)

    @cache
    def open_at(cut: int):
        why = None
        if cut == 0:
            why = "nothing is frozen"
        elif augmentation.views is None:
            why = "the augmentation has no end of views; features.views=8 would fix some"
        elif choice is False:
            why = "features.enabled=false"
        stored = source.at(classifier, cut, engine, device) if why is None else None
        if stored is None and choice is True:
            raise ValueError(f"features.enabled=true, but {why or 'the features do not fit into the store'}")
        if why is not None:
            log.info("features are not stored: %s", why)
        return (pixels, False) if stored is None else (stored, True)

    return open_at


def finish(task: Task, images: ImageSet, progress: Progress, cfg: DictConfig, out_dir: Path) -> None:
    """Write everything that a finished run leaves behind."""
    table, count = images.table, len(images.table.attributes)
    cut = task.policy.cut(min(progress.epoch, task.settings.epochs), len(task.classifier.stages))
    phase = Phase(task, cut)
    with averaged(task):
        last_state = trained_state(task)
        whole = task.classifier.state_dict()
    best = progress.best or {"epoch": progress.epoch, "iteration": len(progress.losses)}
    chosen_by = why_chosen(task, progress)

    def write(name: str, state: dict, epoch: int, why: str) -> None:
        info = ModelInfo(
            library=cfg.backbone.library,
            backbone=cfg.backbone.name,
            attributes=table.attributes,
            thresholds=[float(cfg.threshold)] * count,
            scale=[1.0] * count,
            bias=[0.0] * count,
            image_size=cfg.data.image_size,
            resize=cfg.data.resize,
            epoch=epoch,
            chosen_by=why,
        )
        contiguous = {key: value.detach().cpu().contiguous() for key, value in {**whole, **state}.items()}
        save_model(out_dir / name, info, contiguous)

    # the scores are those of the weights that are kept
    task.classifier.load_state_dict({**whole, **(progress.best_state or last_state)})
    logits = predict(task, phase, task.val_rows) if len(task.val_rows) else None
    if distributed.rank() != 0:
        return
    write(MODEL_FILE, progress.best_state or last_state, best["epoch"], chosen_by)
    write(LAST_FILE, last_state, progress.history[-1]["epoch"] if progress.history else 1, "the last epoch")
    report = {
        "epoch": best["epoch"],
        "chosen_by": chosen_by,
        "iterations": len(progress.losses),
        "images_per_second": progress.images / max(progress.seconds, 1e-9),
        "epochs": progress.history,
    }
    if logits is not None:
        probs = torch.sigmoid(logits.double()).numpy()
        thresholds = np.full(count, float(cfg.threshold))
        labels, mask = table.labels[task.val_rows], table.mask[task.val_rows]
        report["val"] = metrics.score(labels, mask, probs, thresholds, table.attributes)
        write_text(
            out_dir / "predictions.csv",
            format_csv(["image", *table.attributes], [table.names[i] for i in task.val_rows], probs),
        )
    write_json(out_dir / "metrics.json", report)
    write_text(
        out_dir / "loss.csv",
        "iteration_number,training_loss\n" + "".join(f"{i},{v!r}\n" for i, v in enumerate(progress.losses, 1)),
    )
    chosen = best["iteration"] if logits is not None else None
    plots.plot_loss(out_dir / "loss_curve.png", progress.losses, progress.history, chosen)


def why_chosen(task: Task, progress: Progress) -> str:
    """Why the weights of that epoch were kept."""
    if progress.best is None:
        return "the run was interrupted in its first epoch"
    if not len(task.val_rows):
        return "the last epoch; no images were held out"
    name = "mean AP" if task.settings.monitor == "mean_ap" else "loss"
    value = progress.best["mean_ap" if task.settings.monitor == "mean_ap" else "val_loss"]
    return f"the best validation {name}" + ("" if value is None else f", {value:.4f}")


def format_csv(header: list[str], names: list[str], values: np.ndarray) -> str:
    """A table of one image per row and one number per attribute."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([name, *(f"{v:.6f}" for v in row)] for name, row in zip(names, values, strict=True))
    return text.getvalue()
