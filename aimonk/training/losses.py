"""Losses for incomplete labels: unknown entries are left out.

Each is a module called as `loss(logits [B, A], labels [B, A], mask [B, A])`; mask is True for known entries.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus


class MaskedLoss(nn.Module):
    """Binary cross-entropy over the known entries; other losses override `entries`."""

    def forward(self, logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """Mean loss of the known entries; arguments as in `total`.

        Returns:
            Scalar; 0, and still differentiable, when no entry is known.
        """
        return self.total(logits, labels, mask) / mask.sum().clamp(min=1)

    def total(self, logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """Sum of the loss over the known entries, a scalar.

        Args:
            logits: Raw scores, [B, A].
            labels: 0 to 1, [B, A]: a share of annotators who chose 1 weights the losses of both labels;
                ignored where mask is False, NaN included.
            mask: True where the label is known, [B, A].

        Raises:
            ValueError: The shapes differ.
        """
        if not logits.shape == labels.shape == mask.shape:
            shapes = f"{list(logits.shape)}, {list(labels.shape)}, {list(mask.shape)}"
            raise ValueError(f"logits, labels and mask should all be [B, A]. Got {shapes}")
        # NaN * 0 is NaN, so unknown labels are replaced first; float32 because half precision overflows
        labels = torch.where(mask, labels, 0).float()
        return torch.where(mask, self.entries(logits.float(), labels), 0).sum()

    def entries(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of each entry, [B, A]."""
        return softplus(logits) - labels * logits


class PosWeightLoss(MaskedLoss):
    """Binary cross-entropy with a weight for the positives of each attribute.

    Args:
        pos_weight: Weights, [A]; see `count_pos_weight`.
    """

    def __init__(self, pos_weight: Tensor):
        super().__init__()
        self.register_buffer("pos_weight", pos_weight)

    @classmethod
    def of_labels(cls, labels: Tensor, mask: Tensor, max_weight: float | None) -> "PosWeightLoss":
        """The loss with the weights that balance the training labels, [N, A]; see `count_pos_weight`."""
        present = (mask & (labels > 0.5)).sum(dim=0)
        absent = (mask & (labels <= 0.5)).sum(dim=0)
        return cls(count_pos_weight(present, absent, max_weight))

    def entries(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self.pos_weight * labels * softplus(-logits) + (1 - labels) * softplus(logits)


class FocalLoss(MaskedLoss):
    """Cross-entropy that is reduced for entries which are classified well (Lin et al. 2017).

    Args:
        gamma: Focusing; 0 gives plain cross-entropy.
        alpha: Weight of positives; negatives weigh 1 - alpha. None weighs both 1. The common .25 assumes rare
            positives and is wrong for frequent attributes.
    """

    def __init__(self, gamma: float, alpha: float | None):
        super().__init__()
        if not 0 <= gamma < math.inf:
            raise ValueError(f"loss.gamma is {gamma}; expected 0 or more")
        if alpha is not None and not 0 <= alpha <= 1:
            raise ValueError(f"loss.alpha is {alpha}; expected null or 0 to 1")
        self.gamma = gamma
        self.alpha = alpha

    def entries(self, logits: Tensor, labels: Tensor) -> Tensor:
        positive, negative = self._positive(logits), self._positive(-logits)
        if self.alpha is not None:
            positive, negative = self.alpha * positive, (1 - self.alpha) * negative
        return labels * positive + (1 - labels) * negative

    def _positive(self, logits: Tensor) -> Tensor:
        """Loss of each entry with the label 1, before alpha; that of 0 has the opposite logits."""
        # (1 - p_t)^gamma through its logarithm, whose gradient stays finite where p_t rounds to 1
        return torch.exp(self.gamma * logsigmoid(-logits)) * softplus(-logits)


class AsymmetricLoss(MaskedLoss):
    """Focal loss with separate focusing for positives and negatives, and a margin (Ridnik et al. 2021).

    The authors sum over the batch; this is the mean over known entries, so their learning rates do not apply.

    Args:
        gamma_neg: Focusing of negatives.
        gamma_pos: Focusing of positives.
        clip: Probability below which the loss of a negative is 0.
    """

    def __init__(self, gamma_neg: float, gamma_pos: float, clip: float):
        super().__init__()
        if not (0 <= gamma_neg < math.inf and 0 <= gamma_pos < math.inf):
            raise ValueError(f"loss.gamma_neg and gamma_pos are {gamma_neg}, {gamma_pos}; expected 0 or more")
        if not 0 <= clip < 1:
            raise ValueError(f"loss.clip is {clip}; expected 0 to below 1")
        self.gamma_neg = gamma_neg
        self.gamma_pos = gamma_pos
        self.clip = clip

    def entries(self, logits: Tensor, labels: Tensor) -> Tensor:
        positive = torch.exp(self.gamma_pos * logsigmoid(-logits)) * softplus(-logits)
        if self.clip == 0:
            negative = torch.exp(self.gamma_neg * logsigmoid(logits)) * softplus(logits)
        else:
            # 1 - p_m = min(sigmoid(-z) + clip, 1) is never 0, so its logarithm is finite
            # the lower bound keeps the gradient of a power below 1 finite
            prob = torch.sigmoid(logits)
            above = torch.clamp(prob - self.clip, min=1e-8)
            kept = torch.clamp(torch.sigmoid(-logits) + self.clip, max=1)
            # releases of torch differ in the gradient of a clamp at its bound
            negative = torch.where(prob > self.clip, -above.pow(self.gamma_neg) * torch.log(kept), 0)
        return labels * positive + (1 - labels) * negative


def count_pos_weight(present: Tensor, absent: Tensor, max_weight: float | None) -> Tensor:
    """Negatives per positive of each attribute, among known entries.

    Args:
        present: Known positives, [A].
        absent: Known negatives, [A].
        max_weight: Maximum weight; None sets no limit.

    Returns:
        Weights, [A]; 1 for an attribute without known positives or without known negatives.
    """
    if max_weight is not None and not max_weight > 0:
        raise ValueError(f"loss.max_weight is {max_weight}; expected null or above 0")
    both = (present > 0) & (absent > 0)
    weight = torch.where(both, absent / present.clamp(min=1), 1.0).float()
    return weight if max_weight is None else weight.clamp(max=max_weight)
