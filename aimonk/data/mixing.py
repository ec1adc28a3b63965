"""Mixing of the inputs of a batch: images, or the outputs of frozen stages.

Labels are never mixed, since losses decide by them and entries may be unknown: the loss of a mixed input is
the mean of its losses with the labels of both sources, weighted by their shares.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mix:
    """What was mixed into a batch.

    Attributes:
        partners: For each input the one that is mixed into it, a permutation, [B].
        share: Share of the partners, 0 to 1.
    """

    partners: Tensor
    share: float


class Mixup:
    """Weighted means of pairs of inputs; draws from torch's CPU generator.

    Zhang et al. 2018, "mixup: Beyond empirical risk minimization"; of the outputs of frozen stages, Verma et
    al. 2019, "Manifold mixup".

    Args:
        alpha: Of the beta distribution of the share.
    """

    def __init__(self, alpha: float):
        self.alpha = check_alpha(alpha)

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Mix]:
        mix = draw_mix(self.alpha, inputs)
        mixed = torch.lerp(inputs.float(), inputs[mix.partners].float(), mix.share)
        # the network takes whole grey levels
        return mixed.round().to(inputs.dtype) if inputs.dtype == torch.uint8 else mixed, mix


class CutMix:
    """Inputs with a box of another input, at the same place; draws from torch's CPU generator.

    Yun et al. 2019, "CutMix: Regularization strategy to train strong classifiers with localizable features".

    Args:
        alpha: Of the beta distribution of the box's share of the area, before the border cuts it.
    """

    def __init__(self, alpha: float):
        self.alpha = check_alpha(alpha)

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Mix | None]:
        if inputs.ndim != 4:  # the vectors of an entirely frozen backbone have no boxes
            return inputs, None
        mix = draw_mix(self.alpha, inputs)
        (top, bottom), (left, right) = (draw_side(size, mix.share) for size in inputs.shape[2:])
        mixed = inputs.clone()
        mixed[:, :, top:bottom, left:right] = inputs[mix.partners, :, top:bottom, left:right]
        area = (bottom - top) * (right - left)
        return mixed, Mix(mix.partners, area / math.prod(inputs.shape[2:]))


def check_alpha(alpha: float) -> float:
    if not 0 < alpha < math.inf:
        raise ValueError(f"augmentation.alpha is {alpha}; expected above 0")
    return alpha


def draw_mix(alpha: float, inputs: Tensor) -> Mix:
    """Random partners, and a share from Beta(alpha, alpha), the same for all inputs."""
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    return Mix(torch.randperm(len(inputs)).to(inputs.device, non_blocking=True), share)


def draw_side(size: int, share: float) -> tuple[int, int]:
    """Begin and end of a box of sqrt(share) * size around a random centre, cut at the border."""
    centre, length = int(torch.randint(size, ())), round(size * math.sqrt(share))
    begin = centre - length // 2
    return max(0, begin), min(size, begin + length)
