"""Optimizers over the trainable part of a classifier, and learning-rate schedules."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from aimonk.models.classifier import Classifier

# what multiplies its input with a matrix, even if that has one row or column
PRODUCTS = (nn.Linear, nn.modules.conv._ConvNd)


def parameter_groups(
    classifier: Classifier, cut: int, lr: float, weight_decay: float, backbone_lr_scale: float
) -> list[dict]:
    """Groups of parameters with their learning rate and weight decay; biases and norm layers never decay.

    Args:
        cut: The lowest number of frozen stages of the whole run: what lies below never trains.
        backbone_lr_scale: The stages' learning rate, as a multiple of the head's.

    Raises:
        ValueError: A negative or infinite number.
    """
    # torch checks the rates that it is given directly, not those of groups
    for key, value in (("lr", lr), ("weight_decay", weight_decay), ("backbone_lr_scale", backbone_lr_scale)):
        if not 0 <= value < math.inf:
            raise ValueError(f"optimizer.{key} is {value}; expected 0 or more")
    parts = {"head": ([classifier.head], lr)}
    parts["backbone"] = (list(classifier.stages.values())[cut:], lr * backbone_lr_scale)
    groups = []
    for name, (modules, rate) in parts.items():
        decayed, spared = _by_decay(modules)
        groups.append({"params": decayed, "lr": rate, "weight_decay": weight_decay, "name": name})
        groups.append({"params": spared, "lr": rate, "weight_decay": 0.0, "name": f"{name} without decay"})
    return [group for group in groups if group["params"]]


def _by_decay(modules: list[nn.Module]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    decayed: dict[nn.Parameter, None] = {}
    spared: dict[nn.Parameter, None] = {}
    for root in modules:
        for module in root.modules():
            for name, parameter in module.named_parameters(recurse=False):
                # the scale of a norm or a layer is a vector, though it may be shaped [C, 1, 1]
                is_vector = parameter.numel() == max(parameter.shape, default=1)
                is_scale = is_vector and not isinstance(module, PRODUCTS)
                spare = parameter.ndim <= 1 or "bias" in name or is_scale
                (spared if spare else decayed)[parameter] = None
    return list(decayed), list(spared)


def _fused(classifier: Classifier) -> bool:
    return next(classifier.parameters()).is_cuda


def adam(
    classifier: Classifier,
    cut: int,
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
    backbone_lr_scale: float,
) -> Optimizer:
    """Adam (Kingma and Ba 2015); its weight decay is an L2 penalty."""
    groups = parameter_groups(classifier, cut, lr, weight_decay, backbone_lr_scale)
    return torch.optim.Adam(groups, betas=tuple(betas), fused=_fused(classifier))


def adamw(
    classifier: Classifier,
    cut: int,
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
    backbone_lr_scale: float,
) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""
    groups = parameter_groups(classifier, cut, lr, weight_decay, backbone_lr_scale)
    return torch.optim.AdamW(groups, betas=tuple(betas), fused=_fused(classifier))


def sgd(
    classifier: Classifier,
    cut: int,
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    backbone_lr_scale: float,
) -> Optimizer:
    """Stochastic gradient descent with momentum."""
    groups = parameter_groups(classifier, cut, lr, weight_decay, backbone_lr_scale)
    return torch.optim.SGD(groups, momentum=momentum, nesterov=nesterov, fused=_fused(classifier))


def constant(optimizer: Optimizer, total_steps: int, warmup: float) -> LRScheduler:
    """The same learning rate throughout, after a linear warm-up over that share of the run."""
    return LambdaLR(optimizer, _after_warmup(warmup, total_steps, lambda share: 1.0))


def cosine(optimizer: Optimizer, total_steps: int, warmup: float, final: float) -> LRScheduler:
    """Half a cosine (Loshchilov and Hutter 2017) from the learning rate down to `final` times it."""
    if not 0 <= final <= 1:
        raise ValueError(f"scheduler.final is {final}; expected 0 to 1")
    decay = partial(_half_cosine, 1, final)
    return LambdaLR(optimizer, _after_warmup(warmup, total_steps, decay))


def onecycle(optimizer: Optimizer, total_steps: int, pct_start: float) -> LRScheduler:
    """Up to the learning rate over a share `pct_start` of the run, then down to nothing.

    Smith and Topin 2018, "Super-convergence: very fast training of neural networks using large learning
    rates". The rates are those of torch's OneCycleLR; momentum and betas stay as the optimizer has them.
    """
    if not 0 <= pct_start <= 1:
        raise ValueError(f"scheduler.pct_start is {pct_start}; expected a share of the run, 0 to 1")
    peak = pct_start * total_steps - 1  # the step, which may lie between two or before the first

    def scale(step: int) -> float:
        if step < peak:
            return _half_cosine(1 / 25, 1, step / peak)
        return _half_cosine(1, 1 / 25e4, min(1.0, (step - peak) / (total_steps - 1 - peak or 1)))

    return LambdaLR(optimizer, scale)


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def plateau(optimizer: Optimizer, total_steps: int, factor: float, patience: int) -> ReduceLROnPlateau:
    """Multiply the learning rate by `factor` after more than `patience` epochs without a higher score."""
    if not 0 < factor < 1:
        raise ValueError(f"scheduler.factor is {factor}; expected between 0 and 1")
    # a relative threshold would take a negative score, such as minus the loss, for higher than itself
    return ReduceLROnPlateau(
        optimizer, mode="max", factor=factor, patience=patience, threshold=0, threshold_mode="abs"
    )


def _after_warmup(
    warmup: float, total_steps: int, schedule: Callable[[float], float]
) -> Callable[[int], float]:
    if not 0 <= warmup < 1:
        raise ValueError(f"scheduler.warmup is {warmup}; expected a share of the run, 0 to below 1")
    steps = round(warmup * total_steps)

    def scale(step: int) -> float:
        if step < steps:
            return (step + 1) / (steps + 1)
        return schedule(min(1.0, (step - steps) / max(1, total_steps - steps)))

    return scale
