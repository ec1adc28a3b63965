"""Policies for unknown labels: what an entry that is NA adds to the loss.

The loss of an iteration is the sum over its known entries plus that of the policy, divided by the number of
known entries plus `weight` times that of the unknown ones. Known entries, absent ones included, are never
treated differently; where no entry is unknown, all policies equal `Ignore`.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

from aimonk.runtime.distributed import all_reduce
from aimonk.training.losses import MaskedLoss


class MissingLabels(nn.Module):
    """A policy; each overrides `entries`.

    Attributes:
        convex: Whether the loss stays convex in the logits if that of the known entries is.
        weight: Weight of an unknown entry in the denominator of the mean.
    """

    convex = False
    weight = 1.0

    def total(self, criterion: MaskedLoss, logits: Tensor, mask: Tensor, epoch: int) -> Tensor:
        """Sum of the loss over the unknown entries, a scalar; 0 without any.

        Args:
            criterion: The loss of the known entries.
            logits: Raw scores, [B, A], without rows of padding.
            mask: True where the label is known, [B, A].
            epoch: Current epoch, from 1.
        """
        # float32 because half precision overflows
        return torch.where(mask, 0, self.entries(criterion, logits.float(), ~mask, epoch)).sum()

    def entries(self, criterion: MaskedLoss, logits: Tensor, unknown: Tensor, epoch: int) -> Tensor:
        """Loss of each entry if it is unknown, [B, A]."""
        raise NotImplementedError


class Ignore(MissingLabels):
    """Unknown entries are left out."""

    convex = True
    weight = 0.0

    def total(self, criterion: MaskedLoss, logits: Tensor, mask: Tensor, epoch: int) -> Tensor:
        return torch.zeros((), device=logits.device)


class WeakNegatives(MissingLabels):
    """An unknown entry is a negative of a given weight.

    Args:
        weight: 1 assumes that unknown means absent.
    """

    convex = True

    def __init__(self, weight: float):
        super().__init__()
        if not 0 <= weight <= 1:
            raise ValueError(f"missing.weight is {weight}; expected 0 to 1")
        self.weight = weight

    def entries(self, criterion: MaskedLoss, logits: Tensor, unknown: Tensor, epoch: int) -> Tensor:
        return self.weight * criterion.entries(logits, torch.zeros_like(logits))


class EntropyMaximization(MissingLabels):
    """The entropy of the prediction is maximised where the label is unknown (Zhou et al. 2022, EM loss).

    Without the pseudo-labels of the paper.

    Args:
        alpha: Weight of the entropy.
    """

    def __init__(self, alpha: float):
        super().__init__()
        if not 0 <= alpha < math.inf:
            raise ValueError(f"missing.alpha is {alpha}; expected 0 or more")
        self.alpha = alpha

    def entries(self, criterion: MaskedLoss, logits: Tensor, unknown: Tensor, epoch: int) -> Tensor:
        # -log p = softplus(-z), which stays finite where p rounds to 0
        entropy = torch.sigmoid(logits) * softplus(-logits) + torch.sigmoid(-logits) * softplus(logits)
        return -self.alpha * entropy


class SelectiveNegatives(MissingLabels):
    """Unknown entries are negatives, except where a positive is likely (Ben-Baruch et al. 2022, CSL).

    An unknown entry is left out if the prior probability of its attribute is above `threshold`, or if it is
    among the `top` most probable unknown ones of its image. The other ones have the loss of a negative times
    p^gamma.

    The paper takes the priors from a temporary model, trained beforehand without the unknown entries. Here
    they are a moving average of the probabilities that the model itself predicts for the training images,
    from 0 on. An attribute of which only positives are known should not be left out: the model would then
    predict it everywhere.

    Args:
        attributes: Number of attributes.
        threshold: Prior probability; 1 leaves no attribute out.
        top: Number of entries of an image; 0 leaves none out.
        gamma: Focusing; 0 gives the loss of a negative itself.
        decay: Of the moving average, per batch.
    """

    def __init__(self, attributes: int, threshold: float, top: int, gamma: float, decay: float):
        super().__init__()
        if not 0 <= threshold <= 1:
            raise ValueError(f"missing.threshold is {threshold}; expected 0 to 1")
        if top < 0:
            raise ValueError(f"missing.top is {top}; expected 0 or more")
        if not 0 <= gamma < math.inf:
            raise ValueError(f"missing.gamma is {gamma}; expected 0 or more")
        if not 0 <= decay < 1:
            raise ValueError(f"missing.decay is {decay}; expected 0 to below 1")
        self.threshold = threshold
        self.top = top
        self.gamma = gamma
        self.decay = decay
        self.register_buffer("prior", torch.zeros(attributes))

    def entries(self, criterion: MaskedLoss, logits: Tensor, unknown: Tensor, epoch: int) -> Tensor:
        with torch.no_grad():
            self._update(torch.sigmoid(logits))
            left_out = self._find_likely(logits, unknown) | (self.prior > self.threshold)
        negative = criterion.entries(logits, torch.zeros_like(logits))
        # p^gamma through its logarithm, as in the focal loss
        return torch.where(left_out, 0, torch.exp(self.gamma * logsigmoid(logits)) * negative)

    def _update(self, probs: Tensor) -> None:
        """Add a batch of all processes to the moving average; a collective call."""
        batch = all_reduce(torch.cat([probs.sum(dim=0), probs.new_full((1,), len(probs))]))
        self.prior.lerp_((batch[:-1] / batch[-1].clamp(min=1)).to(self.prior), 1 - self.decay)

    def _find_likely(self, logits: Tensor, unknown: Tensor) -> Tensor:
        """The `top` most probable unknown entries of each image, [B, A]; any value at known ones."""
        scores = torch.where(unknown, logits, -math.inf)
        best = scores.topk(min(self.top, logits.shape[1]), dim=1).indices
        return torch.zeros_like(unknown).scatter_(1, best, True)


class LargeLoss(MissingLabels):
    """Unknown entries are negatives, except those of the largest loss (Kim et al. 2022, LL-R and LL-Ct).

    The exceptions are a share of the unknown entries of a batch that grows by `delta_rel` in each epoch after
    the first. The share of a small batch is no integer: the last one counts as an exception in part.

    Args:
        variant: `reject` leaves the exceptions out, `correct` makes them positives in this iteration.
        delta_rel: Share of the unknown entries.
    """

    def __init__(self, variant: str, delta_rel: float):
        super().__init__()
        if variant not in ("reject", "correct"):
            raise ValueError(f"missing.variant is {variant!r}; expected reject or correct")
        if not 0 <= delta_rel <= 1:
            raise ValueError(f"missing.delta_rel is {delta_rel}; expected 0 to 1")
        self.variant = variant
        self.delta_rel = delta_rel

    def entries(self, criterion: MaskedLoss, logits: Tensor, unknown: Tensor, epoch: int) -> Tensor:
        negative = criterion.entries(logits, torch.zeros_like(logits))
        excepted = self._find_large(negative.detach(), unknown, epoch)
        if self.variant == "reject":
            return (1 - excepted) * negative
        return (1 - excepted) * negative + excepted * criterion.entries(logits, torch.ones_like(logits))

    def _find_large(self, losses: Tensor, unknown: Tensor, epoch: int) -> Tensor:
        """Which part of each entry is an exception, [B, A]; their sum is the share of the unknown entries."""
        count = min(1.0, (epoch - 1) * self.delta_rel) * unknown.sum()
        order = torch.where(unknown, losses, -math.inf).flatten().argsort(descending=True, stable=True)
        return (count - order.argsort()).clamp(0, 1).view_as(losses)
