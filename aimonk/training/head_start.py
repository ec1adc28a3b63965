"""The head of a network that is fine-tuned starts from the solution for its frozen backbone."""

import logging
from dataclasses import replace

import numpy as np

from aimonk.models.freeze import backbone
from aimonk.training.losses import MaskedLoss
from aimonk.training.missing_labels import Ignore
from aimonk.training.optimizers import HeadSolver
from aimonk.training.selection import describe_score
from aimonk.training.solver import CONVEX, solve_head
from aimonk.training.state import TrainState
from aimonk.training.task import Task

log = logging.getLogger(__name__)

FOLDS = 5  # of the choice of penalties


def start_from_solution(task: Task, groups: np.ndarray | None) -> None:
    """Replace the head by the solution with all stages frozen.

    It is that of the task's loss and policy for unknown labels, or of the masked loss and `Ignore` where
    these are not convex; on the views of the augmentation, or on the unchanged images if it is unbounded.

    Args:
        groups: Group number of each row of the label table, [N]; None if images are independent.

    Raises:
        ValueError: A feature is not finite.
    """
    is_convex = type(task.criterion) in CONVEX
    frozen = replace(
        task,
        policy=backbone(),
        criterion=task.criterion if is_convex else MaskedLoss().to(task.device),
        missing=task.missing if task.missing.convex else Ignore().to(task.device),
        optimizer=HeadSolver(penalty=None, folds=FOLDS),
        scheduler=None,
        views=task.views or 1,
        mix=None,
        settings=replace(task.settings, ema=None),
    )
    state = TrainState()
    solve_head(frozen, state, groups)
    score = f", validation {describe_score(task.settings, state.history[-1])}" if len(task.val_rows) else ""
    log.info("the head starts from the solution for the frozen backbone%s", score)
