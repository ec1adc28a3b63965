"""From a composed config to a training task."""

import logging
import os
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import get_type_hints

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from timm.layers import convert_sync_batchnorm

from aimonk.data.augmentation import FixedViews
from aimonk.data.dataset import ImageSet
from aimonk.data.labels import value_warnings
from aimonk.data.loading import Pixels
from aimonk.data.store.row_store import RowStore
from aimonk.evaluation.evaluate import METHODS
from aimonk.evaluation.thresholds import parse_rule
from aimonk.inference.engine import fast_inference
from aimonk.models.backbones import check_name
from aimonk.models.classifier import Classifier
from aimonk.models.features import FeatureSource
from aimonk.runtime import distributed
from aimonk.runtime.device import pick_device
from aimonk.runtime.progress import watch
from aimonk.setup.build import build, check_types
from aimonk.setup.data import cache_folder
from aimonk.training.task import Settings, Task

log = logging.getLogger(__name__)


def check_components(cfg: DictConfig) -> None:
    """Build what is cheap and may be misspelt, before any data is touched.

    Raises:
        ValueError: A component or a setting that makes no sense.
    """
    for group in ("freeze", "loss", "sampler", "augmentation", "optimizer", "scheduler"):
        build(cfg[group])
    check_name(cfg.backbone.library, cfg.backbone.name)
    read_settings(cfg)
    parse_rule(cfg.threshold)
    if cfg.calibrate not in METHODS:
        raise ValueError(f"calibrate is {cfg.calibrate!r}; expected null, platt or temperature")
    if cfg.features.enabled not in ("auto", True, False):
        raise ValueError(f"features.enabled is {cfg.features.enabled!r}; expected auto, true or false")
    check_types({"deterministic": bool}, cfg, "")
    check_types({"views": int | None, "limit_gb": float}, cfg.features, "features")
    if cfg.features.dtype not in ("auto", "float16", "float32"):
        raise ValueError(f"features.dtype is {cfg.features.dtype!r}; expected auto, float16 or float32")


def read_settings(cfg: DictConfig) -> Settings:
    """The loop's settings.

    Raises:
        ValueError: A setting that makes no sense.
    """
    keys = [name for name in Settings.__dataclass_fields__ if name != "workers"]
    check_types(get_type_hints(Settings), {key: cfg[key] for key in keys}, "")
    for key in ("epochs", "batch_size", "accumulate", "patience", "checkpoint_every"):
        if cfg[key] is not None and cfg[key] < 1:
            raise ValueError(f"{key} is {cfg[key]}; expected 1 or more")
    if cfg.monitor not in ("mean_ap", "loss"):
        raise ValueError(f"monitor is {cfg.monitor!r}; expected mean_ap or loss")
    if cfg.ema is not None and not 0 < cfg.ema < 1:
        raise ValueError(f"ema is {cfg.ema}; expected null or a decay between 0 and 1")
    if cfg.clip_norm is not None and cfg.clip_norm <= 0:
        raise ValueError(f"clip_norm is {cfg.clip_norm}; expected null or above 0")
    if cfg.workers != "auto" and (not isinstance(cfg.workers, int) or cfg.workers < 0):
        raise ValueError(f"workers is {cfg.workers!r}; expected auto or a number of processes")
    workers = min(8, os.cpu_count() or 1) if cfg.workers == "auto" else cfg.workers
    return Settings(**{key: cfg[key] for key in keys}, workers=workers)


def build_classifier(cfg: DictConfig, attributes: int) -> Classifier:
    """The backbone and a new head.

    Raises:
        ValueError: The backbone takes images of another size.
    """
    backbone, size = build(cfg.backbone), cfg.data.image_size
    if backbone.image_size not in (None, size):
        only = backbone.image_size
        raise ValueError(f"{backbone.name} takes {only} x {only} pixels alone: data.image_size={only}")
    return Classifier(backbone, attributes)


def build_task(cfg: DictConfig, images: ImageSet, train_rows: np.ndarray, val_rows: np.ndarray) -> Task:
    """Everything that training needs, for these rows of the data set."""
    device, table = pick_device(cfg.device), images.table
    policy, loss, sampler = build(cfg.freeze), build(cfg.loss), build(cfg.sampler)
    augmentation = build(cfg.augmentation)
    if cfg.features.views is not None and augmentation.views is None:
        augmentation = FixedViews(augmentation, cfg.features.views)
    torch.manual_seed(cfg.seed)  # the same new head whatever was drawn before
    classifier = build_classifier(cfg, len(table.attributes))
    if cfg.sync_batchnorm and distributed.world_size() > 1 and device.type == "cuda":
        classifier = convert_sync_batchnorm(
            classifier
        )  # timm's, which knows norms with a built-in activation
    classifier = classifier.to(device, memory_format=torch.channels_last)
    labels, mask = table.labels[train_rows], table.mask[train_rows]
    for warning in set(value_warnings(table.take(train_rows))) - set(value_warnings(table)):
        log.warning("of the training images, %s", warning)
    if isinstance(loss, partial):  # it depends on the training labels
        loss = loss(torch.from_numpy(labels), torch.from_numpy(mask))
    settings = read_settings(cfg)
    cuts = policy.cuts(settings.epochs, len(classifier.stages))
    optimizer = build(cfg.optimizer)(classifier, min(cuts))
    steps = -(-len(train_rows) // (settings.batch_size * distributed.world_size() * settings.accumulate))
    return Task(
        classifier=classifier,
        policy=policy,
        criterion=loss.to(device),
        optimizer=optimizer,
        scheduler=build(cfg.scheduler)(optimizer, steps * settings.epochs),
        fetch=open_inputs(cfg, images, augmentation, classifier, cuts, device),
        labels=table.labels,
        mask=table.mask,
        train_rows=train_rows,
        val_rows=val_rows,
        weights=sampler(labels, mask),
        views=augmentation.views,
        slow_fetch=augmentation.views is None or images.stored is None,
        device=device,
        settings=settings,
    )


def open_inputs(
    cfg: DictConfig,
    images: ImageSet,
    augmentation: Callable,
    classifier: Classifier,
    cuts: Sequence[int],
    device: torch.device,
) -> Callable:
    """A function from the number of frozen stages to what gives the inputs, and if these are features."""
    pixels = Pixels(images.pixels, augmentation, cfg.data.image_size, cfg.data.resize)
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
    def open_at(cut: int) -> tuple[Callable, bool]:
        why = None
        if cut == 0:
            why = "nothing is frozen"
        elif augmentation.views is None:
            why = "the augmentation has no end of views; features.views=8 would fix some"
        elif cfg.features.enabled is False:
            why = "features.enabled=false"
        stored = source.at(classifier, cut, engine, device) if why is None else None
        # a policy may end with nothing frozen; to ask for features where nothing ever is, is a mistake
        if stored is None and cfg.features.enabled is True and (cut > 0 or not any(cuts)):
            raise ValueError(f"features.enabled=true, but {why or 'the features do not fit into the store'}")
        if why is not None:
            log.info("features are not stored: %s", why)
        return (pixels, False) if stored is None else (stored, True)

    return open_at
