"""The loss of mixed inputs and of smoothed labels, with unknown entries."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from aimonk.data.mixing import Mix
from aimonk.training.losses import AsymmetricLoss, FocalLoss, MaskedLoss, PosWeightLoss
from aimonk.training.missing_labels import MissingLabels, WeakNegatives
from aimonk.training.targets import known_loss, unknown_loss

LOSSES = [
    MaskedLoss(),
    PosWeightLoss(torch.tensor([3.0, 0.5])),
    FocalLoss(2.0, 0.25),
    AsymmetricLoss(4.0, 1.0, 0.05),
]
NAN = float("nan")


def example() -> tuple[Tensor, Tensor, Tensor]:
    """Logits, labels and mask, [3, 2]; two entries are unknown."""
    logits = torch.tensor([[0.5, -1.0], [2.0, 0.0], [-0.3, 1.2]])
    labels = torch.tensor([[1.0, NAN], [0.0, 1.0], [NAN, 0.0]])
    return logits, labels, ~labels.isnan()


def test_mixed_loss_by_hand() -> None:
    logits, labels, mask = example()
    mix = Mix(torch.tensor([1, 2, 0]), 0.3)

    def cross_entropy(z: float, y: float) -> float:
        p = 1 / (1 + np.exp(-z))
        return -np.log(p) if y == 1 else -np.log(1 - p)

    # each logit: .7 times its own label, .3 times that of its partner; unknown ones are left out
    own = cross_entropy(0.5, 1) + cross_entropy(2.0, 0) + cross_entropy(0.0, 1) + cross_entropy(1.2, 0)
    partner = cross_entropy(0.5, 0) + cross_entropy(-1.0, 1) + cross_entropy(0.0, 0) + cross_entropy(-0.3, 1)
    value = known_loss(MaskedLoss(), logits, labels, mask, 0.0, mix)
    assert value.item() == pytest.approx(0.7 * own + 0.3 * partner, rel=1e-6)


def test_mixed_cross_entropy_is_that_of_mixed_labels() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 4), (torch.rand(6, 4) < 0.5).float()
    mix = Mix(torch.randperm(6), 0.4)
    expected = binary_cross_entropy_with_logits(
        logits, 0.6 * labels + 0.4 * labels[mix.partners], reduction="sum"
    )
    value = known_loss(MaskedLoss(), logits, labels, torch.ones_like(labels, dtype=torch.bool), 0.0, mix)
    torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_each_known_entry_weighs_one(loss: MaskedLoss) -> None:
    # with equal logits the loss of a label does not depend on the image it is mixed into
    _, labels, mask = example()
    logits = torch.tensor([[0.7, -0.2]]).expand(3, 2)
    plain = known_loss(loss, logits, labels, mask, 0.0, None)
    mixed = known_loss(loss, logits, labels, mask, 0.0, Mix(torch.tensor([2, 0, 1]), 0.37))
    torch.testing.assert_close(mixed, plain)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_unknown_entries_have_no_gradient(loss: MaskedLoss, smoothing: float) -> None:
    logits, labels, mask = example()
    logits.requires_grad_()
    # the partner of the first input is the input itself; that of the others is known where they are not
    known_loss(loss, logits, labels, mask, smoothing, Mix(torch.tensor([0, 2, 1]), 0.3)).backward()
    assert logits.grad.isfinite().all()
    assert logits.grad[0, 1] == 0
    assert (logits.grad[[1, 1, 2, 2], [0, 1, 0, 1]] != 0).all()


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_smoothed_cross_entropy_is_that_of_smoothed_labels(smoothing: float) -> None:
    logits, labels, mask = example()
    smooth = labels[mask] * (1 - smoothing) + smoothing / 2
    expected = binary_cross_entropy_with_logits(logits[mask], smooth, reduction="sum")
    torch.testing.assert_close(known_loss(MaskedLoss(), logits, labels, mask, smoothing, None), expected)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_smoothing_weighs_the_opposite_label(loss: MaskedLoss) -> None:
    logits, labels, mask = example()
    known = torch.where(mask, labels, 0)
    entries = 0.95 * loss.entries(logits, known) + 0.05 * loss.entries(logits, 1 - known)
    torch.testing.assert_close(known_loss(loss, logits, labels, mask, 0.1, None), entries[mask].sum())
    assert known_loss(loss, logits, labels, mask, 0.0, None) == loss.total(logits, labels, mask)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_batch_without_known_entries_has_no_loss(loss: MaskedLoss) -> None:
    logits, labels, mask = example()
    logits.requires_grad_()
    value = known_loss(loss, logits, labels, torch.zeros_like(mask), 0.1, Mix(torch.tensor([1, 2, 0]), 0.5))
    value.backward()
    assert value == 0 and (logits.grad == 0).all()


def total(missing: MissingLabels, mask: Tensor, exists: Tensor, mix: Mix) -> Tensor:
    """Loss of the example with a policy for unknown labels."""
    logits, labels, _ = example()
    known = known_loss(MaskedLoss(), logits, labels, mask, 0.0, mix)
    return known + unknown_loss(missing, MaskedLoss(), logits, mask, exists, 1, mix)


def test_unknown_entries_of_both_sources_have_the_policy() -> None:
    # unknown means absent: the same as known zeros
    logits, labels, mask = example()
    mix, absent = Mix(torch.tensor([1, 2, 0]), 0.3), torch.where(mask, labels, 0)
    expected = known_loss(MaskedLoss(), logits, absent, torch.ones_like(mask), 0.0, mix)
    torch.testing.assert_close(
        total(WeakNegatives(1.0), mask, torch.ones(3, dtype=torch.bool), mix), expected
    )


def test_padding_has_no_unknown_entries_in_a_mix() -> None:
    logits, labels, mask = example()
    mask[1] = False  # a row of padding has no loss with its labels, whatever it is mixed into
    exists, mix = torch.tensor([True, False, True]), Mix(torch.tensor([1, 2, 0]), 0.3)
    absent, real = torch.where(mask, labels, 0), exists[:, None].expand(3, 2)
    own = MaskedLoss().total(logits, absent, real)
    partners = MaskedLoss().total(logits, absent[mix.partners], real[mix.partners])
    torch.testing.assert_close(total(WeakNegatives(1.0), mask, exists, mix), 0.7 * own + 0.3 * partners)
