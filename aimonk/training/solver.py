"""The head of a frozen backbone as the exact solution of a convex problem."""

import logging
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aimonk.files.text import plural
from aimonk.models.classifier import Classifier
from aimonk.models.freeze import FreezePolicy
from aimonk.runtime import distributed
from aimonk.training.logistic import Problems, finish, has_both, solve
from aimonk.training.losses import MaskedLoss, PosWeightLoss
from aimonk.training.missing_images import MAX_MISSING
from aimonk.training.optimizers import HeadSolver
from aimonk.training.penalties import choose_penalties, cross_validate
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
ENTRIES = 20_000_000  # logits of the final fit that are computed at a time
MOST_FEATURES = 500_000  # feature vectors: some 10 GB of them and of their principal components


@dataclass(frozen=True)
class SolvedHead:
    """How a head was solved, and its out-of-fold predictions.

    Attributes:
        penalty: L2 penalties, [A].
        rows: Rows of the label table that it was fitted to, [n].
        logits: Logits of these images by heads that were not fitted to them, [n, A]; nan where there are
            none.
    """

    penalty: np.ndarray
    rows: np.ndarray
    logits: np.ndarray


def find_obstacle(
    policy: FreezePolicy, views: int | None, mixes: bool, loss: type, missing: type, images: int
) -> str | None:
    """Why the head cannot be solved; None if it can.

    Args:
        views: Number of views of the augmentation; None if unbounded.
        mixes: Whether the augmentation mixes images.
        loss: Class of the loss.
        missing: Class of the policy for unknown labels.
        images: Number of training and validation images.
    """
    if set(policy.schedule.values()) != {0}:
        return "stages of the backbone train; freeze=backbone trains the head only"
    if views is None:
        return "the augmentation is unbounded; augmentation=flip or features.views=8 have few views"
    if mixes:
        return "the augmentation mixes images; augmentation=flip does not"
    if loss not in CONVEX:
        return f"{loss.__name__} is not convex; loss=masked and loss=pos_weight are"
    if not missing.convex:
        return f"{missing.__name__} is not convex; missing=ignore and missing=weak are"
    if images * views > MOST_FEATURES:
        remedy = "; augmentation=none has one view" if views > 1 else ""
        return f"{images} images in {plural(views, 'view')} are too many to solve the head at once{remedy}"
    return None


def solve_head(
    task: Task, state: TrainState, groups: np.ndarray | None, penalty: np.ndarray | None = None
) -> SolvedHead:
    """Choose the penalties, solve the head on all training rows, and validate it as one epoch.

    Args:
        state: Gets the objective of each iteration of the final fit, per known entry, as losses.
        groups: Group number of each row of the label table, [N]; None if images are independent.
        penalty: Of each attribute, [A]; None takes or chooses those of the optimizer.

    Raises:
        ValueError: A feature is not finite, or no label is known.
        FileNotFoundError: More than 1 % of the images can no longer be read.
    """
    started = time.perf_counter()
    rows = task.train_rows
    if not task.missing.weight:  # rows without known labels have no influence
        rows = rows[task.mask[rows].any(axis=1)]
    if not len(rows):
        raise ValueError("no training image has a known label; expected at least one")
    features, rows = read_features(task, rows, task.views)
    labels, weights = entry_weights(task, rows)
    centre = features.mean(0)
    axes = principal_axes(features.sub_(centre))
    inputs = features @ axes
    del features  # as large as the inputs
    own = np.arange(len(rows)) if groups is None else groups[rows]
    solver: HeadSolver = task.optimizer
    if penalty is None and solver.penalty is not None:
        penalty = np.full(labels.shape[1], solver.penalty)
    data = [x.float() for x in (inputs, labels, weights)]
    if penalty is None:
        choice = choose_penalties(*data, own, solver.folds, task.settings.seed)
        log.info("L2 penalties by cross-validation: %s", describe(choice.penalty))
    else:
        choice = cross_validate(*data, own, solver.folds, task.settings.seed, penalty)
    del data
    coefficients, history = fit_penalised(inputs, labels, weights, choice.penalty)
    weight = axes @ coefficients[:-1]
    bias = coefficients[-1] - centre @ weight
    bias = torch.where(has_both(labels, weights), bias, base_logit(labels, weights))
    # every process solves the same problem, but perhaps on another processor
    weight, bias, history, logits = distributed.broadcast((weight, bias, history, choice.logits))
    set_head(task.classifier, weight, bias)
    mask = task.mask[rows]
    entries = float(mask.sum() + task.missing.weight * (~mask).sum())
    state.losses = [loss / (entries or 1) for loss in history]
    state.known = [entries] * len(state.losses)
    state.images, state.seconds = len(inputs), time.perf_counter() - started
    state.epoch_seconds.append(state.seconds)
    finish_epoch(task, open_phase(task, len(task.classifier.stages)), state, steps=1)
    state.epoch += 1
    return SolvedHead(choice.penalty, rows, logits)


def fit_penalised(
    inputs: Tensor, labels: Tensor, weights: Tensor, penalty: np.ndarray
) -> tuple[Tensor, list[float]]:
    """Coefficients of the solution on all rows, [R + 1, A], and the objective after each iteration.

    They are 0 for an attribute without known positives or without known negatives.

    Args:
        inputs: Principal components in V views, [V * n, R].
        labels: 0 to 1, [n, A].
        weights: Weight of each entry, [n, A]; 0 leaves it out.
        penalty: [A].
    """
    views, weights = len(inputs) // len(labels), weights * has_both(labels, weights)
    strength = torch.from_numpy(penalty).to(inputs)
    size, solutions = max(1, ENTRIES // len(inputs)), []
    for start in range(0, labels.shape[1], size):
        block = slice(start, start + size)
        repeated = (x[:, block].repeat(views, 1) for x in (labels, weights / views))
        problems = Problems(inputs, *repeated, strength[block], TOLERANCE)
        solutions.append(solve(problems, ITERATIONS))
        finish(problems, solutions[-1])
    if not all(solution.converged.all() for solution in solutions):
        log.warning("the solver has not converged; optimizer.penalty=0.1 is a stronger penalty")
    # a block that has converged keeps its objective
    histories = [solution.history or [0.0] for solution in solutions]
    longest = max(map(len, histories))
    padded = [history + history[-1:] * (longest - len(history)) for history in histories]
    coefficients = torch.cat([solution.coefficients for solution in solutions], dim=1)
    return coefficients, [sum(losses) for losses in zip(*padded, strict=True)]


@torch.no_grad()
def read_features(task: Task, rows: np.ndarray, views: int) -> tuple[Tensor, np.ndarray]:
    """Features of rows in the first views, [V * n, D] float64, and the n rows whose image exists.

    Float64 needs the CPU where the device is not CUDA.

    Raises:
        ValueError: A feature is not finite.
        FileNotFoundError: More than 1 % of the images can no longer be read.
    """
    cut, count = len(task.classifier.stages), len(rows)
    inputs = task.open_inputs(cut)
    prefix = None if inputs.are_features else task.classifier.prefix(cut).eval()
    size = ROWS if prefix is None else task.settings.batch_size
    width = task.classifier.head.in_features
    features = torch.empty(views, count, width, dtype=torch.float64, device=solver_device(task))
    exists = torch.ones(count, dtype=torch.bool)
    for view in range(views):
        for start in range(0, count, size):
            block = slice(start, start + size)
            part = torch.from_numpy(rows[block])
            values, found = inputs.load(part, torch.full_like(part, view))
            values = values.to(task.device)
            values = values if prefix is None else prefix(values)
            features[view, block] = values.to(features.device).double()
            exists[block] &= found
    lost = count - int(exists.sum())
    if lost > MAX_MISSING * count:
        raise FileNotFoundError(
            f"{lost} of {plural(count, 'training image')} can no longer be read; restore the files"
        )
    if lost:
        features = features[:, exists.to(features.device)]
    if not torch.isfinite(features).all():
        raise ValueError("the frozen stages give features that are not finite; another backbone may help")
    return features.flatten(0, 1), rows[exists.numpy()]


def solver_device(task: Task) -> torch.device:
    """The device of the task if it has float64, which Apple's does not; otherwise the CPU."""
    return task.device if task.device.type == "cuda" else torch.device("cpu")


def entry_weights(task: Task, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Labels and weight in the loss of each entry, [n, A] float64 each.

    An unknown entry is a negative with the weight of the policy for unknown labels, which may be 0.
    """
    device = solver_device(task)
    mask = torch.from_numpy(task.mask[rows]).to(device)
    labels = torch.where(mask, torch.from_numpy(task.labels[rows]).to(device), 0).double()
    weights = torch.where(mask, 1.0, task.missing.weight).double()
    if isinstance(task.criterion, PosWeightLoss):
        # a label between 0 and 1 is a positive and a negative, of which the positive weighs more
        positive = labels * task.criterion.pos_weight.to(device).double()
        total = positive + (1 - labels)
        weights, labels = weights * total, positive / total
    return labels, weights


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
