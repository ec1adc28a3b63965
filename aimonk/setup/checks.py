"""Checks of a config before any data is read."""

import os
from collections import OrderedDict
from functools import partial
from typing import get_type_hints

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from aimonk.data.augmentation import MixedFlip
from aimonk.data.mixing import CutMix
from aimonk.evaluation.evaluate import METHODS
from aimonk.evaluation.thresholds import parse_rule
from aimonk.models.all_stages import CHOICES
from aimonk.models.backbones import Backbone, check_name
from aimonk.models.classifier import Classifier
from aimonk.setup.build import build, check_types
from aimonk.setup.data import SPLIT
from aimonk.setup.optimizer import build_optimizer
from aimonk.setup.trackers import build_trackers
from aimonk.training.task import Settings

COMPONENTS = ("freeze", "loss", "missing", "sampler", "augmentation", "optimizer", "scheduler")


def check_components(cfg: DictConfig) -> None:
    """Build the components that are cheap to build, and check the other settings.

    Raises:
        ValueError: A component or a setting is invalid.
    """
    read_settings(cfg)
    built = {group: build(cfg, group) for group in COMPONENTS}
    built["freeze"].check_epochs(cfg.epochs)
    if set(built["freeze"].schedule.values()) == {0} and _cuts_boxes(built["augmentation"]):
        raise ValueError(
            "augmentation is cutmix; expected mixup or another one where only the head trains, since the "
            "features of an entirely frozen backbone have no place for a box"
        )
    # their constructors check the values
    if isinstance(built["missing"], partial):
        built["missing"](1)
    tiny = Classifier(Backbone("", "", OrderedDict(), 1, (0.0,) * 3, (1.0,) * 3), 1)
    build_optimizer(cfg, tiny, 0, images=0)
    built["scheduler"](torch.optim.SGD(tiny.parameters(), lr=1.0), 1)
    built["sampler"](np.zeros((1, 1), np.float32), np.ones((1, 1), bool))
    build_trackers(cfg)
    check_name(cfg.backbone.library, cfg.backbone.name)
    check_types(SPLIT, OmegaConf.to_container(cfg.data, resolve=True), "data")
    read_fractions(cfg)
    parse_rule(cfg.threshold)
    if cfg.calibrate not in METHODS:
        raise ValueError(f"calibrate is {cfg.calibrate!r}; expected null, platt or temperature")
    if cfg.features.enabled not in ("auto", True, False):
        raise ValueError(f"features.enabled is {cfg.features.enabled!r}; expected auto, true or false")
    check_types({"deterministic": bool, "refit": bool}, cfg, "")
    check_types({"views": int | None, "limit_gb": float}, cfg.features, "features")
    if cfg.features.stages not in CHOICES:
        raise ValueError(f"features.stages is {cfg.features.stages!r}; expected last or all")
    if cfg.features.dtype not in ("auto", "float16", "float32"):
        raise ValueError(f"features.dtype is {cfg.features.dtype!r}; expected auto, float16 or float32")


def _cuts_boxes(augmentation: object) -> bool:
    return isinstance(augmentation, MixedFlip) and isinstance(augmentation.mix, CutMix)


def read_settings(cfg: DictConfig) -> Settings:
    """The settings of the training loop.

    Raises:
        ValueError: A setting is invalid.
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
    if not 0 <= cfg.label_smoothing < 1:
        raise ValueError(f"label_smoothing is {cfg.label_smoothing}; expected 0 to below 1")
    if cfg.workers != "auto" and (not isinstance(cfg.workers, int) or cfg.workers < 0):
        raise ValueError(f"workers is {cfg.workers!r}; expected auto or a number of processes")
    workers = min(8, os.cpu_count() or 1) if cfg.workers == "auto" else cfg.workers
    return Settings(**{key: cfg[key] for key in keys}, workers=workers)


def read_fractions(cfg: DictConfig) -> tuple[float, float, float]:
    """Share of the images that train, validate and test; with folds, none validates.

    Raises:
        ValueError: A setting is out of range, or no images are left to train on.
    """
    val, test = cfg.data.val_fraction, cfg.data.test_fraction
    for key, value in (("val_fraction", val), ("test_fraction", test)):
        if not 0 <= value < 1:
            raise ValueError(f"data.{key} is {value}; expected 0 to below 1")
    if cfg.data.split_seed < 0:
        raise ValueError(f"data.split_seed is {cfg.data.split_seed}; expected 0 or more")
    folds, repeats = cfg.data.folds, cfg.data.repeats
    if folds is not None and folds < 2:
        raise ValueError(f"data.folds is {folds}; expected null or 2 or more")
    if repeats < 1 or (repeats > 1 and folds is None):
        raise ValueError(f"data.repeats is {repeats}; expected 1 or more with data.folds, and 1 without")
    if folds is not None:
        val = 0.0
    if 1 - val - test <= 0:
        raise ValueError("data.val_fraction and data.test_fraction leave no images to train on")
    return 1 - val - test, val, test
