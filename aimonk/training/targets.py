"""The loss of a batch towards smoothed labels, and of mixed inputs."""

from torch import Tensor

from aimonk.data.mixing import Mix
from aimonk.training.losses import MaskedLoss
from aimonk.training.missing_labels import MissingLabels


def known_loss(
    criterion: MaskedLoss, logits: Tensor, labels: Tensor, mask: Tensor, smoothing: float, mix: Mix | None
) -> Tensor:
    """Sum of the loss over the known entries, a scalar; each entry weighs 1 in total.

    Args:
        logits: Of the mixed inputs, [B, A].
        labels: Of the inputs before they were mixed, [B, A].
        mask: Likewise.
        mix: None if they were not mixed.
    """
    own = smoothed_loss(criterion, logits, labels, mask, smoothing)
    if mix is None:
        return own
    partners = smoothed_loss(criterion, logits, labels[mix.partners], mask[mix.partners], smoothing)
    return (1 - mix.share) * own + mix.share * partners


def unknown_loss(
    missing: MissingLabels,
    criterion: MaskedLoss,
    logits: Tensor,
    mask: Tensor,
    exists: Tensor,
    epoch: int,
    mix: Mix | None,
) -> Tensor:
    """Sum of the loss over the unknown entries, a scalar; other arguments as in `known_loss`.

    Args:
        exists: False for rows of padding and for missing images, which have no unknown labels, [B].
        epoch: Current epoch, from 1.
    """
    own = _of_existing(missing, criterion, logits, mask, exists, epoch)
    if mix is None:
        return own
    # reading the partners waits for the accelerator
    exists = exists if exists.all() else exists[mix.partners.cpu()]
    others = _of_existing(missing, criterion, logits, mask[mix.partners], exists, epoch)
    return (1 - mix.share) * own + mix.share * others


def _of_existing(
    missing: MissingLabels, criterion: MaskedLoss, logits: Tensor, mask: Tensor, exists: Tensor, epoch: int
) -> Tensor:
    if not exists.all():  # indexing waits for the accelerator
        logits, mask = logits[exists], mask[exists]
    return missing.total(criterion, logits, mask, epoch)


def smoothed_loss(
    criterion: MaskedLoss, logits: Tensor, labels: Tensor, mask: Tensor, smoothing: float
) -> Tensor:
    """Sum of the loss over the known entries, each opposite label with a weight of smoothing / 2.

    For the cross-entropy, that is the loss towards smoothing / 2 and 1 - smoothing / 2 (Szegedy et al. 2016,
    "Rethinking the Inception architecture for computer vision").
    """
    loss = criterion.total(logits, labels, mask)
    if smoothing == 0:
        return loss
    return (1 - smoothing / 2) * loss + smoothing / 2 * criterion.total(logits, 1 - labels, mask)
