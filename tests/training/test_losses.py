"""The losses against torch, torchvision, timm, their papers' formulas and values worked out by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.loss import AsymmetricLossMultiLabel
from torch.nn.functional import binary_cross_entropy_with_logits
from torchvision.ops import sigmoid_focal_loss

from aimonk.training.losses import AsymmetricLoss, FocalLoss, MaskedLoss, PosWeightLoss, count_pos_weight

property_test = settings(max_examples=20, deadline=None, derandomize=True)

WEIGHTS = torch.tensor([0.25, 1.0, 11.96])
LOSSES = {
    "masked": MaskedLoss(),
    "pos_weight": PosWeightLoss(WEIGHTS),
    "focal": FocalLoss(gamma=2.0, alpha=None),
    "focal, weak": FocalLoss(gamma=0.5, alpha=0.25),
    "focal, plain": FocalLoss(gamma=0.0, alpha=None),
    "asymmetric": AsymmetricLoss(gamma_neg=4.0, gamma_pos=1.0, clip=0.05),
    "asymmetric, weak": AsymmetricLoss(gamma_neg=0.5, gamma_pos=0.5, clip=0.05),
    "asymmetric, no margin": AsymmetricLoss(gamma_neg=4.0, gamma_pos=0.5, clip=0.0),
    "asymmetric, plain": AsymmetricLoss(gamma_neg=0.0, gamma_pos=0.0, clip=0.05),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())


def make_batch(seed: int = 0, rows: int = 16, known: float = 0.7):
    """Logits, labels and mask, [rows, 3]; labels under NA are 0."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(rows, 3, generator=generator)
    labels = (torch.rand(rows, 3, generator=generator) < 0.5).float()
    mask = torch.rand(rows, 3, generator=generator) < known
    return logits, torch.where(mask, labels, 0), mask


def gradient(loss, logits, labels, mask):
    """Of the loss by the logits."""
    logits = logits.detach().requires_grad_()
    loss(logits, labels, mask).backward()
    return logits.grad


def in_full(kind: str, z: float, y: int, weight: float = 1.0) -> float:
    """Loss of one entry by the papers' formulas, in Python floats."""
    p = 1 / (1 + math.exp(-z))
    p_t = p if y else 1 - p
    if kind == "focal":
        return (1 - p_t) ** 2 * -math.log(p_t)
    if kind == "asymmetric":
        p_m = max(p - 0.05, 0)
        return (1 - p) * -math.log(p) if y else p_m**4 * -math.log(1 - p_m)
    return (weight if y else 1) * -math.log(p_t)


@pytest.mark.parametrize("kind", ["masked", "pos_weight", "focal", "asymmetric"])
def test_loss_is_the_formula_over_known_entries(kind):
    logits, labels, mask = make_batch()
    expected = [
        in_full(
            kind, logits[b, a].item(), int(labels[b, a]), WEIGHTS[a].item() if kind == "pos_weight" else 1.0
        )
        for b, a in mask.nonzero().tolist()
    ]
    assert 0 < len(expected) < mask.numel()
    assert LOSSES[kind](logits, labels, mask).item() == pytest.approx(sum(expected) / len(expected), rel=1e-5)


@every_loss
def test_share_of_annotators_weights_both_labels(loss):
    logits, labels, mask = make_batch()
    share = torch.full_like(labels, 0.25)
    ones, zeros = torch.ones_like(labels), torch.zeros_like(labels)
    expected = 0.25 * loss(logits, ones, mask) + 0.75 * loss(logits, zeros, mask)
    torch.testing.assert_close(loss(logits, share, mask), expected)


def test_hand_computed_values():
    # p = 1/2 everywhere: -log p = log 2
    logits, labels = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])
    mask = torch.ones(1, 2, dtype=torch.bool)
    log2 = math.log(2)
    assert MaskedLoss()(logits, labels, mask).item() == pytest.approx(log2)
    assert PosWeightLoss(torch.tensor([3.0, 5.0]))(logits, labels, mask).item() == pytest.approx(2 * log2)
    assert FocalLoss(2.0, None)(logits, labels, mask).item() == pytest.approx(log2 / 4)
    assert FocalLoss(2.0, 0.25)(logits, labels, mask).item() == pytest.approx(log2 / 4 * (0.25 + 0.75) / 2)
    negative = 0.45**4 * -math.log(0.55)
    assert AsymmetricLoss(4.0, 1.0, 0.05)(logits, labels, mask).item() == pytest.approx(
        (log2 / 2 + negative) / 2
    )


def test_complete_labels_equal_torch():
    logits, labels, _ = make_batch()
    mask = torch.ones_like(labels, dtype=torch.bool)
    expected = binary_cross_entropy_with_logits(logits, labels)
    torch.testing.assert_close(MaskedLoss()(logits, labels, mask), expected)
    expected = binary_cross_entropy_with_logits(logits, labels, pos_weight=WEIGHTS)
    torch.testing.assert_close(PosWeightLoss(WEIGHTS)(logits, labels, mask), expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
@pytest.mark.parametrize("alpha", [None, 0.25, 1.0])
def test_focal_equals_torchvision(gamma, alpha):
    logits, labels, _ = make_batch()
    mask = torch.ones_like(labels, dtype=torch.bool)
    # torchvision takes a negative alpha for none
    expected = sigmoid_focal_loss(logits, labels, -1 if alpha is None else alpha, gamma, "mean")
    torch.testing.assert_close(FocalLoss(gamma, alpha)(logits, labels, mask), expected)


@pytest.mark.parametrize(
    ("gamma_neg", "gamma_pos", "clip"), [(4, 1, 0.05), (4, 1, 0), (2, 0, 0.2), (1, 3, 0.5), (0, 0, 0.05)]
)
def test_asymmetric_equals_timm_up_to_the_reduction(gamma_neg, gamma_pos, clip):
    # releases of timm differ in whether they add up or average over images, so there is one
    logits, labels = (values.view(1, -1) for values in make_batch()[:2])
    mask = torch.ones_like(labels, dtype=torch.bool)
    theirs = AsymmetricLossMultiLabel(gamma_neg, gamma_pos, clip)
    ours = AsymmetricLoss(gamma_neg, gamma_pos, clip)
    torch.testing.assert_close(labels.numel() * ours(logits, labels, mask), theirs(logits, labels))
    mine = labels.numel() * gradient(ours, logits, labels, mask)
    logits.requires_grad_()
    theirs(logits, labels).backward()
    torch.testing.assert_close(mine, logits.grad, rtol=1e-4, atol=1e-5)


@property_test
@given(st.integers(0, 2**32 - 1))
def test_no_focusing_gives_cross_entropy(seed):
    batch = make_batch(seed)
    expected = MaskedLoss()(*batch)
    torch.testing.assert_close(FocalLoss(0.0, None)(*batch), expected)
    torch.testing.assert_close(AsymmetricLoss(0.0, 0.0, 0.0)(*batch), expected)
    torch.testing.assert_close(PosWeightLoss(torch.ones(3))(*batch), expected)


@every_loss
@pytest.mark.parametrize("placeholder", [math.nan, math.inf, -math.inf, 7.0, 1.0])
def test_labels_of_unknown_entries_have_no_effect(loss, placeholder):
    logits, labels, mask = make_batch()
    filled = torch.where(mask, labels, placeholder)
    assert torch.equal(loss(logits, filled, mask), loss(logits, labels, mask))
    assert torch.equal(gradient(loss, logits, filled, mask), gradient(loss, logits, labels, mask))


@every_loss
def test_gradient_is_zero_exactly_at_unknown_entries(loss):
    logits, labels, mask = make_batch()
    labels[~mask] = math.nan
    logits[0, ~mask[0]] = 1e4
    slopes = gradient(loss, logits, labels, mask)
    assert (~mask).any(dim=1)[0] and (slopes[~mask] == 0).all()
    # below the margin a negative costs nothing
    pushed = mask & ((labels > 0.5) | (logits > -2.5))
    assert (slopes[pushed] != 0).all()


@every_loss
def test_infinite_loss_of_unknown_entries_has_no_effect(loss):
    logits, labels, mask = make_batch()
    expected = loss(logits, labels, mask)
    assert torch.equal(loss(torch.where(mask, logits, math.inf), labels, mask), expected)


def test_gradient_at_the_clip_probability():
    # sigmoid(0) - 0.5 is exactly 0, where a root has an infinite slope
    logits, mask = torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool)
    assert gradient(AsymmetricLoss(0.5, 0.5, 0.5), logits, torch.zeros(1, 1), mask).item() == 0


@every_loss
def test_unknown_entries_do_not_count_in_the_mean(loss):
    logits, labels, mask = make_batch(rows=4)
    more = [torch.cat([logits, logits + 1]), torch.cat([labels, labels]), torch.cat([mask, mask & False])]
    torch.testing.assert_close(loss(*more), loss(logits, labels, mask))


@every_loss
@pytest.mark.parametrize("rows", [0, 4])
def test_no_known_entry_gives_a_differentiable_zero(loss, rows):
    logits, labels = torch.randn(rows, 3, requires_grad=True), torch.full((rows, 3), math.nan)
    value = loss(logits, labels, torch.zeros(rows, 3, dtype=torch.bool))
    assert value.item() == 0 and value.shape == ()
    value.backward()
    assert torch.equal(logits.grad, torch.zeros(rows, 3))


@every_loss
@pytest.mark.parametrize("size", [20.0, 100.0, 1e4, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_logits_stay_finite(loss, size, dtype):
    logits = torch.tensor([[size, -size, size], [-size, size, -size]], dtype=dtype)
    labels = torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    mask = torch.ones(2, 3, dtype=torch.bool)
    assert torch.isfinite(loss(logits, labels, mask))
    assert torch.isfinite(gradient(loss, logits, labels, mask)).all()


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(loss, dtype):
    logits, labels, mask = make_batch()
    logits = logits.to(dtype)
    value = loss(logits, labels.to(dtype), mask)
    assert value.dtype == torch.float32
    assert torch.equal(value, loss(logits.float(), labels, mask))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(loss(logits, labels, mask), value)


@every_loss
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float64])
def test_labels_may_be_integers_or_booleans(loss, dtype):
    logits, labels, mask = make_batch()
    assert torch.equal(loss(logits, labels.to(dtype), mask), loss(logits, labels, mask))


@every_loss
def test_gradient_equals_finite_differences(loss, monkeypatch):
    logits, labels, mask = make_batch(rows=5)
    # off the margin's corner, and in double precision: the cast to single would drown the differences
    monkeypatch.setattr(torch.Tensor, "float", lambda tensor: tensor.double())
    logits = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(z, labels, mask), (logits,))


def test_loss_decreases_towards_the_label():
    logits = torch.linspace(-8, 8, 200).view(-1, 1)
    for label in (0.0, 1.0):
        labels, mask = torch.full((1, 1), label), torch.ones(1, 1, dtype=torch.bool)
        for name, loss in LOSSES.items():
            if name == "pos_weight":
                continue
            values = torch.stack([loss(z.view(1, 1), labels, mask) for z in (logits if label else -logits)])
            assert (values.diff() <= 1e-7).all(), name


def test_different_shapes_raise():
    logits, labels, mask = make_batch(rows=3)
    with pytest.raises(ValueError, match=r"should all be \[B, A\]\. Got \[3, 1\], \[3\], \[3\]"):
        MaskedLoss()(logits[:, :1], labels[:, 0], mask[:, 0])
    with pytest.raises(ValueError, match="should all be"):
        MaskedLoss()(logits, labels, mask[:, :1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FocalLoss(-1.0, None), "loss.gamma is -1.0"),
        (lambda: FocalLoss(math.nan, None), "loss.gamma is nan"),
        (lambda: FocalLoss(2.0, 1.5), "loss.alpha is 1.5"),
        (lambda: AsymmetricLoss(-4.0, 1.0, 0.05), "gamma_neg and gamma_pos are -4.0, 1.0"),
        (lambda: AsymmetricLoss(4.0, math.inf, 0.05), "gamma_neg and gamma_pos are 4.0, inf"),
        (lambda: AsymmetricLoss(4.0, 1.0, 1.0), "loss.clip is 1.0"),
        (lambda: count_pos_weight(torch.ones(1), torch.ones(1), 0), "loss.max_weight is 0"),
        (lambda: count_pos_weight(torch.ones(1), torch.ones(1), math.nan), "loss.max_weight is nan"),
    ],
)
def test_invalid_settings_raise(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_pos_weight_is_negatives_per_positive():
    # the counts of the sample data's README
    present, absent = torch.tensor([789, 713, 466, 68]), torch.tensor([106, 171, 416, 813])
    weights = count_pos_weight(present, absent, None)
    assert weights.tolist() == pytest.approx([0.1343, 0.2398, 0.8927, 11.956], abs=5e-4)
    assert count_pos_weight(present, absent, 10.0).tolist() == pytest.approx(
        [0.1343, 0.2398, 0.8927, 10], abs=5e-4
    )


def test_pos_weight_of_a_constant_attribute_is_one():
    weights = count_pos_weight(torch.tensor([0, 5, 0, 2]), torch.tensor([5, 0, 0, 6]), None)
    assert weights.tolist() == [1, 1, 1, 3] and weights.dtype == torch.float32


def test_pos_weight_ignores_unknown_labels():
    nan = math.nan
    labels = torch.tensor([[1.0, 1.0], [0.0, 7.0], [0.0, 1.0], [nan, 0.0], [1.0, 0.0], [0.0, 0.0]])
    mask = torch.tensor([[1, 1], [1, 0], [1, 0], [0, 1], [0, 1], [1, 0]], dtype=torch.bool)
    loss = PosWeightLoss.of_labels(labels, mask, max_weight=None)
    assert loss.pos_weight.tolist() == [3, 2]
    # the weights follow the loss to another device
    assert list(loss.state_dict()) == ["pos_weight"]
    assert PosWeightLoss.of_labels(labels, mask, max_weight=2.5).pos_weight.tolist() == [2.5, 2]
