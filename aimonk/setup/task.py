"""From a composed config to a training task."""

import logging
from functools import partial
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from timm.layers import convert_sync_batchnorm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from aimonk.data.augmentation import FixedViews, MixedFlip
from aimonk.data.dataset import ImageSet
from aimonk.data.labels import LabelTable, value_warnings
from aimonk.files.text import plural
from aimonk.models.all_stages import choose_stages
from aimonk.models.checkpoint import is_checkpoint, load_model
from aimonk.models.classifier import Classifier
from aimonk.runtime.device import pick_device
from aimonk.runtime.ranks import world_size
from aimonk.setup.build import build
from aimonk.setup.checks import read_settings
from aimonk.setup.inputs import open_inputs
from aimonk.setup.optimizer import build_optimizer
from aimonk.setup.shards import copies_ahead, stream_of
from aimonk.training.losses import MaskedLoss
from aimonk.training.missing_labels import MissingLabels
from aimonk.training.optimizers import HeadSolver
from aimonk.training.task import Task

log = logging.getLogger(__name__)


def build_classifier(cfg: DictConfig, attributes: list[str]) -> Classifier:
    """The backbone with a new head; from the weights of a run also its head, where attributes are the same.

    Raises:
        ValueError: The backbone requires another image size, or the run has another backbone.
    """
    run = Path(cfg.backbone.weights)
    if run.exists() and is_checkpoint(run):
        own = build_classifier(OmegaConf.merge(cfg, {"backbone": {"weights": "random"}}), attributes)
        copy_run(own, run, cfg.backbone.name, attributes)
        return own
    backbone, size = build(cfg, "backbone"), cfg.data.image_size
    if backbone.image_size not in (None, size):
        raise ValueError(
            f"data.image_size is {size}; expected {backbone.image_size}, the only size of {backbone.name}"
        )
    return Classifier(choose_stages(backbone, cfg.features.stages), len(attributes))


def copy_run(classifier: Classifier, run: Path, name: str, attributes: list[str]) -> None:
    """Copy the weights of a run; attributes that it does not have keep their new rows of the head.

    Raises:
        ValueError: The run has another backbone than `name`, or its head sees other stages.
    """
    source, info = load_model(run)
    if info.backbone != name:
        raise ValueError(f"backbone.weights is {run}, a run with {info.backbone}; expected one with {name}")
    if source.stages.keys() != classifier.stages.keys():
        raise ValueError(f"backbone.weights is {run}; expected features.stages={info.stages}, as of that run")
    classifier.stages.load_state_dict(source.stages.state_dict())
    common = [attribute for attribute in attributes if attribute in info.attributes]
    rows, of_run = ([names.index(a) for a in common] for names in (attributes, info.attributes))
    with torch.no_grad():
        classifier.head.weight[rows] = source.head.weight[of_run]
        classifier.head.bias[rows] = source.head.bias[of_run]
    of_all = f"{len(common)} of {plural(len(attributes), 'attribute')}"
    log.info("weights of %s: the backbone, and the head of %s", run, of_all)


def build_task(cfg: DictConfig, images: ImageSet, train_rows: np.ndarray, val_rows: np.ndarray) -> Task:
    """Everything that training needs, for these rows of the data set."""
    device, table, settings = pick_device(cfg.device), images.table, read_settings(cfg)
    policy, sampler, augmentation = build(cfg, "freeze"), build(cfg, "sampler"), build(cfg, "augmentation")
    if cfg.features.views is not None and augmentation.views is None:
        augmentation = FixedViews(augmentation, cfg.features.views)
    torch.manual_seed(cfg.seed)  # the new head depends on the seed alone
    classifier = build_classifier(cfg, table.attributes)
    if cfg.sync_batchnorm and world_size() > 1 and device.type == "cuda":
        classifier = convert_sync_batchnorm(classifier)  # timm's also converts norms with an activation
    classifier = classifier.to(device, memory_format=torch.channels_last)
    classifier.keeps_statistics = policy.keeps_statistics
    cuts = policy.cuts(settings.epochs, len(classifier.stages))
    # the solution that the head may start from is that of the frozen backbone
    frozen = [*cuts, len(classifier.stages)] if policy.solves_head else cuts
    # all models of a run are trained alike, so their number of images is that of the run
    optimizer = build_optimizer(cfg, classifier, min(cuts), len(train_rows) + len(val_rows))
    steps = -(-len(train_rows) // (settings.batch_size * world_size() * settings.accumulate))
    targets, known = table.targets()
    return Task(
        classifier=classifier,
        policy=policy,
        criterion=build_loss(cfg, table, train_rows).to(device),
        missing=build_missing(cfg, len(table.attributes)).to(device),
        optimizer=optimizer,
        scheduler=build_scheduler(cfg, optimizer, steps * settings.epochs),
        open_inputs=open_inputs(cfg, images, augmentation, classifier, frozen, device),
        labels=targets,
        mask=known,
        train_rows=train_rows,
        val_rows=val_rows,
        weights=sampler(table.labels[train_rows], table.mask[train_rows]),
        views=augmentation.views,
        mix=augmentation.mix if isinstance(augmentation, MixedFlip) else None,
        slow_loading=augmentation.views is None or not images.is_decoded,
        device=device,
        settings=settings,
        stream=None if images.shards is None else stream_of(cfg, images),
        follow=None if images.shards is None else copies_ahead(cfg, images),
    )


def build_scheduler(
    cfg: DictConfig, optimizer: Optimizer | HeadSolver, iterations: int
) -> LRScheduler | ReduceLROnPlateau | None:
    """The schedule of the learning rate; None for a solver, which has no learning rate."""
    return None if isinstance(optimizer, HeadSolver) else build(cfg, "scheduler")(optimizer, iterations)


def build_loss(cfg: DictConfig, table: LabelTable, train_rows: np.ndarray) -> MaskedLoss:
    """The loss, with weights from the training labels where it has any."""
    training = table.take(train_rows)
    for warning in set(value_warnings(training)) - set(value_warnings(table)):
        log.warning("of the training images, %s", warning)
    loss = build(cfg, "loss")
    if isinstance(loss, partial):  # it depends on the training labels
        loss = loss(torch.from_numpy(training.labels), torch.from_numpy(training.mask))
    return loss


def build_missing(cfg: DictConfig, attributes: int) -> MissingLabels:
    """The policy for unknown labels, for this number of attributes."""
    missing = build(cfg, "missing")
    return missing(attributes) if isinstance(missing, partial) else missing
