"""Which optimizer trains: the solver of a frozen backbone's head where it applies, or gradient descent."""

import logging
from functools import partial

from omegaconf import DictConfig
from torch.optim import Optimizer

from aimonk.data.augmentation import MixedFlip
from aimonk.models.classifier import Classifier
from aimonk.setup.build import build
from aimonk.training.optimizers import HeadSolver, auto, lbfgs
from aimonk.training.solver import find_obstacle

log = logging.getLogger(__name__)


def solver_obstacle(cfg: DictConfig, images: int) -> str | None:
    """Why the head of this run cannot be solved; None if it can.

    Args:
        images: Number of training and validation images.
    """
    loss, missing = (class_of(build(cfg, group)) for group in ("loss", "missing"))
    augmentation = build(cfg, "augmentation")
    views, mixes = augmentation.views or cfg.features.views, isinstance(augmentation, MixedFlip)
    return find_obstacle(build(cfg, "freeze"), views, mixes, loss, missing, images)


def class_of(built: object) -> type:
    """Class of a component, or of what a partial will construct, by its class or by a class method."""
    if not isinstance(built, partial):
        return type(built)
    return built.func if isinstance(built.func, type) else built.func.__self__


def uses_solver(cfg: DictConfig, images: int) -> bool:
    """Whether the solver trains this run."""
    chosen = build(cfg, "optimizer").func
    return chosen is lbfgs or (chosen is auto and solver_obstacle(cfg, images) is None)


def build_optimizer(cfg: DictConfig, classifier: Classifier, cut: int, images: int) -> Optimizer | HeadSolver:
    """The optimizer of the config; `auto` decides here.

    Args:
        cut: Fewest frozen stages of all epochs.
        images: Number of training and validation images.

    Raises:
        ValueError: The solver is asked for where it does not apply.
    """
    create, obstacle = build(cfg, "optimizer"), solver_obstacle(cfg, images)
    if create.func is lbfgs and obstacle is not None:
        raise ValueError(f"optimizer is lbfgs; expected auto, adam, adamw or sgd, since {obstacle}")
    if create.func is auto:
        create = partial(create, solvable=obstacle is None)
    return create(classifier, cut)


def log_choice(cfg: DictConfig, images: int) -> None:
    """Log what `optimizer=auto` picks, and why."""
    if build(cfg, "optimizer").func is auto:
        obstacle = solver_obstacle(cfg, images)
        picked = "lbfgs, since only the head trains, by a convex loss"
        log.info("optimizer=auto picks %s", picked if obstacle is None else f"adamw: {obstacle}")
