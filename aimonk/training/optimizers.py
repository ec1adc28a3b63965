"""Optimizers of the trainable part of a classifier."""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Optimizer

from aimonk.models.classifier import Classifier

Betas = tuple[float, float]
# layers whose weight is a matrix, even with one row or column
PRODUCTS = (nn.Linear, nn.modules.conv._ConvNd)


def parameter_groups(
    classifier: Classifier, cut: int, lr: float, weight_decay: float, backbone_lr_scale: float
) -> list[dict]:
    """Parameter groups with learning rate and weight decay; biases and norm layers have no weight decay.

    Args:
        cut: Fewest frozen stages of all epochs: the stages below never train.
        backbone_lr_scale: Learning rate of the stages, as a multiple of the head's.

    Raises:
        ValueError: A negative or infinite number.
    """
    # torch does not check the learning rates of groups
    for key, value in (("lr", lr), ("weight_decay", weight_decay), ("backbone_lr_scale", backbone_lr_scale)):
        if not 0 <= value < math.inf:
            raise ValueError(f"optimizer.{key} is {value}; expected 0 or more")
    parts = {"head": ([classifier.head], lr)}
    parts["backbone"] = (list(classifier.stages.values())[cut:], lr * backbone_lr_scale)
    groups = []
    for name, (modules, rate) in parts.items():
        decayed, exempt = _by_decay(modules)
        groups.append({"params": decayed, "lr": rate, "weight_decay": weight_decay, "name": name})
        groups.append({"params": exempt, "lr": rate, "weight_decay": 0.0, "name": f"{name} without decay"})
    return [group for group in groups if group["params"]]


def _by_decay(modules: list[nn.Module]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    decayed: dict[nn.Parameter, None] = {}
    exempt: dict[nn.Parameter, None] = {}
    for root in modules:
        for module in root.modules():
            for name, parameter in module.named_parameters(recurse=False):
                # the scale of a norm layer or a residual branch is a vector, possibly of shape [C, 1, 1]
                is_vector = parameter.numel() == max(parameter.shape, default=1)
                is_scale = is_vector and not isinstance(module, PRODUCTS)
                is_exempt = parameter.ndim <= 1 or "bias" in name or is_scale
                (exempt if is_exempt else decayed)[parameter] = None
    return list(decayed), list(exempt)


def adam(
    classifier: Classifier, cut: int, lr: float, betas: Betas, weight_decay: float, backbone_lr_scale: float
) -> Optimizer:
    """Adam (Kingma and Ba 2015); weight decay is an L2 penalty."""
    groups = parameter_groups(classifier, cut, lr, weight_decay, backbone_lr_scale)
    return torch.optim.Adam(groups, betas=tuple(betas), fused=_is_on_cuda(classifier))


def adamw(
    classifier: Classifier, cut: int, lr: float, betas: Betas, weight_decay: float, backbone_lr_scale: float
) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""
    groups = parameter_groups(classifier, cut, lr, weight_decay, backbone_lr_scale)
    return torch.optim.AdamW(groups, betas=tuple(betas), fused=_is_on_cuda(classifier))


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
    return torch.optim.SGD(groups, momentum=momentum, nesterov=nesterov, fused=_is_on_cuda(classifier))


@dataclass(frozen=True)
class HeadSolver:
    """Solves the head as one logistic regression with an L2 penalty for each attribute.

    Attributes:
        penalty: The same for all attributes, 1 / C of scikit-learn's LogisticRegression; None chooses one for
            each by cross-validation.
        folds: Of the cross-validation.
    """

    penalty: float | None
    folds: int


def lbfgs(classifier: Classifier, cut: int, penalty: float | None, folds: int) -> HeadSolver:
    """L-BFGS on the entire training set, in float64.

    Raises:
        ValueError: A setting is out of range.
    """
    if penalty is not None and not 0 < penalty < math.inf:
        raise ValueError(f"optimizer.penalty is {penalty}; expected null or above 0")
    if folds < 2:
        raise ValueError(f"optimizer.folds is {folds}; expected 2 or more")
    return HeadSolver(penalty, folds)


def auto(
    classifier: Classifier,
    cut: int,
    lr: float,
    betas: Betas,
    weight_decay: float,
    backbone_lr_scale: float,
    penalty: float | None,
    folds: int,
    solvable: bool = False,
) -> Optimizer | HeadSolver:
    """`lbfgs` where the head can be solved, as `solvable` says, otherwise `adamw`."""
    solver = lbfgs(classifier, cut, penalty, folds)
    descent = adamw(classifier, cut, lr, betas, weight_decay, backbone_lr_scale)
    return solver if solvable else descent


def _is_on_cuda(classifier: Classifier) -> bool:
    return next(classifier.parameters()).is_cuda
