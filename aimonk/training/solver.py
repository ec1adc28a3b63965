"""The head of a frozen backbone as the exact solution of a convex problem."""

import logging
import time

import numpy as np
import torch
from torch import Tensor

from aimonk.models.classifier import Classifier
from aimonk.training.logistic import Problems, finish, solve
from aimonk.training.losses import MaskedLoss, PosWeightLoss
from aimonk.training.penalties import choose_penalties
from aimonk.training.phase import open_phase
from aimonk.training.selection import finish_epoch
from aimonk.training.state import TrainState
from aimonk.training.task import Task

log = logging.getLogger(__name__)

CONVEX = (MaskedLoss, PosWeightLoss)
TOLERANCE = 1e-8
ITERATIONS = 100  # of L-BFGS; the problems that take longer are left to Newton's method
ROUNDING = 1e-12  # smallest variance of a component of the features, relative to the largest
ROWS = 4096  # read at a time


def find_obstacle(task: Task) -> str | None:
    """Why the head cannot be solved; None if it can."""
    stages = len(task.classifier.stages)
    if task.lowest_cut < stages:
        return (
            f"{stages - task.lowest_cut} stages of the backbone train; freeze=backbone trains the head only"
        )
    if task.views is None:
        return "the augmentation is unbounded; augmentation=flip or features.views=8 have few views"
    if task.mix is not None:
        return "the augmentation mixes images; augmentation=flip does not"
    if type(task.criterion) not in CONVEX:
        return f"{type(task.criterion).__name__} is not convex; loss=masked and loss=pos_weight are"
    return None


def solve_head(task: Task, state: TrainState, groups: np.ndarray | None) -> None:
    """Choose the penalties, solve the head on all training rows, and validate it as one epoch.

    Args:
        state: Gets the objective of each iteration of the final fit, per known entry, as losses.
        groups: Group number of each row of the label table, [N]; None if images are independent.

    Raises:
        ValueError: The head cannot be solved, or a feature is not finite.
    """
    obstacle, started = find_obstacle(task), time.perf_counter()
    if obstacle is not None:
        raise ValueError(f"optimizer=lbfgs solves the head of a frozen backbone: {obstacle}")
    features, rows = read_features(task)
    labels, weights = entry_weights(task, rows)
    solver, solvable = task.optimizer, has_both(labels, weights)
    centre = features.mean(0)
    axes = principal_axes(features.sub_(centre))
    inputs = features @ axes
    del features  # as large as the inputs
    if solver.penalty is None:
        own = np.arange(len(rows)) if groups is None else groups[rows]
        single = (x.float() for x in (inputs, labels, weights))
        choice = choose_penalties(*single, own, solver.folds, task.settings.seed)
        penalty = choice.penalty
        log.info("penalties: %s", describe(penalty))
    else:
        penalty = np.full(labels.shape[1], solver.penalty)
    views = len(inputs) // len(labels)
    problems = Problems(
        inputs,
        labels.repeat(views, 1),
        (weights * solvable / views).repeat(views, 1),
        torch.from_numpy(penalty).to(inputs),
        TOLERANCE,
    )
    solution = solve(problems, ITERATIONS)
    finish(problems, solution)
    if not solution.converged.all():
        log.warning("the solver has not converged; optimizer.penalty=0.1 is a stronger penalty")
    weight = axes @ solution.coefficients[:-1]
    bias = solution.coefficients[-1] - centre @ weight
    set_head(task.classifier, weight, torch.where(solvable, bias, base_logit(labels, weights)))
    known = int(task.mask[rows].sum())
    # the objective of an attribute that cannot be solved is 0 throughout
    state.losses = [loss / max(1, known) for loss in solution.history] or [0.0]
    state.known = [known] * len(state.losses)
    state.images, state.seconds = len(rows) * views, time.perf_counter() - started
    state.epoch_seconds.append(state.seconds)
    finish_epoch(task, open_phase(task, task.lowest_cut), state, steps=1)
    state.epoch += 1


@torch.no_grad()
def read_features(task: Task) -> tuple[Tensor, np.ndarray]:
    """Features of the training rows in all views, [V * n, D] float64, and the n rows whose image exists.

    Raises:
        ValueError: A feature is not finite.
    """
    inputs, cut = task.open_inputs(task.lowest_cut), task.lowest_cut
    prefix = None if inputs.are_features else task.classifier.prefix(cut).eval()
    size, blocks, exists = ROWS if prefix is None else task.settings.batch_size, [], []
    for view in range(task.views):
        for start in range(0, len(task.train_rows), size):
            rows = torch.from_numpy(task.train_rows[start : start + size])
            values, found = inputs.load(rows, torch.full_like(rows, view))
            values = values.to(task.device)
            blocks.append((values if prefix is None else prefix(values)).double())
            exists.append(found)
    features, found = torch.cat(blocks), torch.cat(exists).view(task.views, -1).all(dim=0)
    features = features[found.repeat(task.views).to(features.device)].clone()
    rows = task.train_rows[found.numpy()]
    if not torch.isfinite(features).all():
        raise ValueError(
            "the frozen stages give features that are not finite; features.dtype=float32 may help"
        )
    return features, rows


def entry_weights(task: Task, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Labels and weight in the loss of each entry, [n, A] float64 each; 0 where unknown."""
    mask = torch.from_numpy(task.mask[rows]).to(task.device)
    labels = torch.where(mask, torch.from_numpy(task.labels[rows]).to(task.device), 0).double()
    weights = mask.double()
    if isinstance(task.criterion, PosWeightLoss):
        weights = weights * torch.where(labels > 0.5, task.criterion.pos_weight.double(), 1.0)
    return labels, weights


def has_both(labels: Tensor, weights: Tensor) -> Tensor:
    """Whether each attribute has known positives and known negatives, [A]."""
    return ((weights * labels).sum(0) > 0) & ((weights * (1 - labels)).sum(0) > 0)


def base_logit(labels: Tensor, weights: Tensor) -> Tensor:
    """Logit of (P + 1) / (n + 2) for P of n known positives, [A]: finite with one known class or none."""
    known = weights > 0
    present, absent = ((known * x).sum(0) for x in (labels, 1 - labels))
    return torch.log((present + 1) / (absent + 1))


def principal_axes(centred: Tensor) -> Tensor:
    """Principal axes of centred features, [D, R]: a rotation, which changes neither penalty nor solution."""
    wide = len(centred) <= centred.shape[1]
    variances, vectors = torch.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    kept = variances > max(ROUNDING * float(variances[-1]), 1e-20)
    vectors = vectors[:, kept].flip(1)
    return centred.T @ (vectors / variances[kept].flip(0).sqrt()) if wide else vectors


def describe(penalty: np.ndarray) -> str:
    """Such as `0.3 to 30`."""
    low, high = f"{penalty.min():.2g}", f"{penalty.max():.2g}"
    return low if low == high else f"{low} to {high}"


@torch.no_grad()
def set_head(classifier: Classifier, weight: Tensor, bias: Tensor) -> None:
    """Replace the head by a weight [D, A] and a bias [A]."""
    classifier.head.weight.copy_(weight.T)
    classifier.head.bias.copy_(bias)
