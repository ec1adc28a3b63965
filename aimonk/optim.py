"""Optimizers over the trainable part of a classifier, and learning-rate schedules."""

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from aimonk.models.classifier import Classifier

NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)


def parameter_groups(
    classifier: Classifier, cut: int, lr: float, weight_decay: float, backbone_lr_scale: float
) -> list[dict]:
    """Groups of parameters with their learning rate and weight decay; biases and norm layers never decay.

    Args:
        cut: The lowest number of frozen stages of the whole run: what lies below never trains.
        backbone_lr_scale: The stages' learning rate, as a multiple of the head's.
    """
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
            for parameter in module.parameters(recurse=False):
                # a vector is a bias or the scale of a norm or layer, whatever class it sits in
                alone = parameter.ndim <= 1 or isinstance(module, NORMS)
                (spared if alone else decayed)[parameter] = None
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

    def decay(share: float) -> float:
        return final + (1 - final) * (1 + math.cos(math.pi * share)) / 2

    return LambdaLR(optimizer, _after_warmup(warmup, total_steps, decay))


def onecycle(optimizer: Optimizer, total_steps: int, pct_start: float) -> LRScheduler:
    """Up to the learning rate over a share `pct_start` of the run, then down to nothing (Smith and Topin 2018)."""
    peaks = [group["lr"] for group in optimizer.param_groups]
    # two steps at least, or its up and down phase divide by zero
    return OneCycleLR(optimizer, peaks, total_steps=max(total_steps, 2), pct_start=pct_start)


def plateau(
    optimizer: Optimizer, total_steps: int, factor: float, patience: int
) -> ReduceLROnPlateau:
    """Multiply the learning rate by `factor` after `patience` epochs without a higher score."""
    return ReduceLROnPlateau(optimizer, mode="max", factor=factor, patience=patience)


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
