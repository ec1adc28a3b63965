"""The policies for unknown labels against their papers' formulas, worked out by hand."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from aimonk.training import missing_labels
from aimonk.training.losses import AsymmetricLoss, FocalLoss, MaskedLoss, PosWeightLoss
from aimonk.training.missing_labels import (
    EntropyMaximization,
    Ignore,
    LargeLoss,
    MissingLabels,
    SelectiveNegatives,
    WeakNegatives,
)

POLICIES = {
    "ignore": lambda: Ignore(),
    "weak": lambda: WeakNegatives(0.3),
    "entropy": lambda: EntropyMaximization(0.2),
    "selective": lambda: SelectiveNegatives(3, threshold=0.9, top=1, gamma=2.0, decay=0.5),
    "reject": lambda: LargeLoss("reject", 0.15),
    "correct": lambda: LargeLoss("correct", 0.15),
}
LOSSES = {
    "masked": MaskedLoss(),
    "pos_weight": PosWeightLoss(torch.tensor([0.25, 1.0, 11.96])),
    "focal": FocalLoss(gamma=2.0, alpha=None),
    "asymmetric": AsymmetricLoss(gamma_neg=4.0, gamma_pos=1.0, clip=0.05),
}
every_policy = pytest.mark.parametrize("make", POLICIES.values(), ids=POLICIES.keys())
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
NOTHING = torch.zeros(0, 3)


def make_batch(rows: int = 16, known: float = 0.5) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, labels and mask, [rows, 3]; labels under NA are 0."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(rows, 3, generator=generator)
    labels = (torch.rand(rows, 3, generator=generator) < 0.5).float()
    mask = torch.rand(rows, 3, generator=generator) < known
    return logits, torch.where(mask, labels, 0), mask


def gradient(policy: MissingLabels, loss: MaskedLoss, logits: Tensor, mask: Tensor, epoch: int = 3) -> Tensor:
    """Of the policy's part by the logits."""
    logits = logits.detach().requires_grad_()
    (policy.total(loss, logits, mask, epoch) + 0 * logits.sum()).backward()
    return logits.grad


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def test_weak_negatives_have_their_weight() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.5, 3.0]])
    mask = torch.tensor([[True, False], [False, True]])
    negatives = -math.log(1 - sigmoid(-1.0)) - math.log(1 - sigmoid(0.5))
    policy = WeakNegatives(0.25)
    assert policy.total(MaskedLoss(), logits, mask, 1).item() == pytest.approx(0.25 * negatives)
    expected = [[0, 0.25 * sigmoid(-1.0)], [0.25 * sigmoid(0.5), 0]]
    torch.testing.assert_close(gradient(policy, MaskedLoss(), logits, mask), torch.tensor(expected))
    assert policy.weight == 0.25


def test_full_weight_equals_absent_labels() -> None:
    logits, labels, mask = make_batch()
    loss, policy = MaskedLoss(), WeakNegatives(1.0)
    entries = mask.sum() + policy.weight * (~mask).sum()
    value = (loss.total(logits, labels, mask) + policy.total(loss, logits, mask, 1)) / entries
    torch.testing.assert_close(value, binary_cross_entropy_with_logits(logits, labels))


def test_entropy_equals_its_formula() -> None:
    logits, mask = torch.tensor([[0.0, -2.0, 1.5]]), torch.tensor([[False, False, True]])
    p = sigmoid(-2.0)
    entropy = math.log(2) - p * math.log(p) - (1 - p) * math.log(1 - p)
    policy = EntropyMaximization(0.2)
    assert policy.total(MaskedLoss(), logits, mask, 1).item() == pytest.approx(-0.2 * entropy)
    # d entropy / d z = -z p (1 - p): predictions are drawn towards 1/2
    slopes = gradient(policy, MaskedLoss(), logits, mask)
    torch.testing.assert_close(slopes, torch.tensor([[0, 0.2 * -2.0 * p * (1 - p), 0]]))


def test_selective_leaves_out_frequent_and_likely_entries() -> None:
    policy = SelectiveNegatives(3, threshold=0.6, top=1, gamma=2.0, decay=0.0)
    logits = torch.tensor([[-1.0, 4.0, 0.5], [-2.0, 5.0, -3.0]])
    mask = torch.tensor([[False, False, True], [False, False, False]])
    # attribute 1 is predicted with .99 on average; the most probable unknown entry of both images is its
    p, q, r = sigmoid(-1.0), sigmoid(-2.0), sigmoid(-3.0)
    expected = sum(x**2 * -math.log(1 - x) for x in (p, q, r))
    assert policy.total(MaskedLoss(), logits, mask, 1).item() == pytest.approx(expected)
    policy = SelectiveNegatives(3, threshold=0.6, top=2, gamma=2.0, decay=0.0)
    expected = r**2 * -math.log(1 - r)
    assert policy.total(MaskedLoss(), logits, mask, 1).item() == pytest.approx(expected)
    policy = SelectiveNegatives(3, threshold=0.6, top=0, gamma=0.0, decay=0.0)
    expected = sum(-math.log(1 - x) for x in (p, q, r))
    assert policy.total(MaskedLoss(), logits, mask, 1).item() == pytest.approx(expected)
    policy = SelectiveNegatives(3, threshold=0.0, top=0, gamma=0.0, decay=0.0)
    assert policy.total(MaskedLoss(), logits, mask, 1).item() == 0


def test_likely_entries_are_those_of_the_image() -> None:
    # the known entry of the first image is more probable, the unknown ones of the second image all are
    logits = torch.tensor([[9.0, -1.0, -2.0], [3.0, 4.0, 5.0]])
    mask = torch.tensor([[True, False, False], [False, False, False]])
    policy = SelectiveNegatives(3, threshold=1.0, top=1, gamma=0.0, decay=0.5)
    slopes = gradient(policy, MaskedLoss(), logits, mask)
    assert (slopes != 0).tolist() == [[False, False, True], [True, True, False]]


def test_top_may_exceed_the_attributes() -> None:
    logits, _, mask = make_batch()
    policy = SelectiveNegatives(3, threshold=1.0, top=10, gamma=0.0, decay=0.5)
    assert policy.total(MaskedLoss(), logits, mask, 1).item() == 0


def test_prior_is_a_moving_average_of_predictions() -> None:
    policy = SelectiveNegatives(3, threshold=0.5, top=1, gamma=2.0, decay=0.75)
    first, second = make_batch(rows=4)[0], make_batch(rows=7)[0] - 1
    everything = torch.ones(7, 3, dtype=torch.bool)  # known entries count as well
    policy.total(MaskedLoss(), first, everything[:4], 1)
    torch.testing.assert_close(policy.prior, 0.25 * torch.sigmoid(first).mean(0))
    policy.total(MaskedLoss(), second, everything, 1)
    expected = 0.75 * 0.25 * torch.sigmoid(first).mean(0) + 0.25 * torch.sigmoid(second).mean(0)
    torch.testing.assert_close(policy.prior, expected)
    other = SelectiveNegatives(3, threshold=0.5, top=1, gamma=2.0, decay=0.75)
    other.load_state_dict(policy.state_dict())
    assert torch.equal(other.prior, policy.prior)


def test_prior_covers_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, _, mask = make_batch()
    probs = torch.sigmoid(logits)
    of_another = torch.cat([probs[10:].sum(0), torch.tensor([6.0])])
    monkeypatch.setattr(missing_labels, "all_reduce", lambda of_this: of_this + of_another)
    policy = SelectiveNegatives(3, threshold=0.5, top=1, gamma=2.0, decay=0.0)
    policy.total(MaskedLoss(), logits[:10], mask[:10], 1)
    torch.testing.assert_close(policy.prior, probs.mean(0))


def test_prior_leaves_an_attribute_out_while_it_is_frequent() -> None:
    policy = SelectiveNegatives(1, threshold=0.6, top=0, gamma=0.0, decay=0.5)
    mask = torch.zeros(8, 1, dtype=torch.bool)
    used = [policy.total(MaskedLoss(), torch.full((8, 1), z), mask, 1).item() > 0 for z in (9, 9, 9, -9, -9)]
    # priors of .5, .75, .87, .44 and .22
    assert used == [True, False, False, True, True]


@pytest.mark.parametrize(("epoch", "share"), [(1, 0.0), (2, 0.15), (3, 0.3), (7, 0.9), (8, 1.0), (50, 1.0)])
def test_large_loss_excepts_its_share(epoch: int, share: float) -> None:
    logits, _, mask = make_batch()
    policy, unknown = LargeLoss("reject", 0.15), int((~mask).sum())
    kept = gradient(policy, MaskedLoss(), logits, mask, epoch) / torch.sigmoid(logits)
    assert unknown - kept.sum().item() == pytest.approx(share * unknown, abs=1e-4)
    # whole entries, the largest losses, and at most one in part
    kept = kept[~mask][logits[~mask].argsort(descending=True)]
    assert ((kept > 1e-6) & (kept < 1 - 1e-6)).sum() <= 1
    assert (kept.diff() > -1e-6).all()


def test_rejected_entries_add_nothing() -> None:
    logits = torch.tensor([[2.0, 1.0], [3.0, -1.0]])
    mask = torch.tensor([[False, False], [True, False]])
    # a share of .5 of three entries: the one with logit 2, and half of that with logit 1
    value = LargeLoss("reject", 0.5).total(MaskedLoss(), logits, mask, 2).item()
    assert value == pytest.approx(-0.5 * math.log(1 - sigmoid(1.0)) - math.log(1 - sigmoid(-1.0)))


def test_corrected_entries_are_positives() -> None:
    logits = torch.tensor([[2.0, 1.0], [3.0, -1.0]])
    mask = torch.tensor([[False, False], [True, False]])
    policy = LargeLoss("correct", 0.5)
    p, q, r = sigmoid(2.0), sigmoid(1.0), sigmoid(-1.0)
    expected = -math.log(p) - 0.5 * (math.log(q) + math.log(1 - q)) - math.log(1 - r)
    assert policy.total(MaskedLoss(), logits, mask, 2).item() == pytest.approx(expected)
    slopes = torch.tensor([[p - 1, 0.5 * (q - 1) + 0.5 * q], [0, r]])
    torch.testing.assert_close(gradient(policy, MaskedLoss(), logits, mask, 2), slopes)


def test_ignore_adds_nothing() -> None:
    logits, _, mask = make_batch()
    assert Ignore().total(MaskedLoss(), logits, mask, 1).item() == 0
    assert Ignore.weight == 0


@every_policy
@every_loss
def test_complete_labels_add_exactly_nothing(make, loss: MaskedLoss) -> None:
    logits, _, mask = make_batch()
    complete = torch.ones_like(mask)
    assert make().total(loss, logits, complete, 5).item() == 0
    assert not gradient(make(), loss, logits, complete).any()
    assert make().total(loss, NOTHING, NOTHING.bool(), 5).item() == 0


@every_policy
@every_loss
def test_known_entries_are_not_touched(make, loss: MaskedLoss) -> None:
    logits, _, mask = make_batch()
    assert not gradient(make(), loss, logits, mask)[mask].any()
    assert make().total(loss, logits, mask, 5).isfinite()
    if make is not POLICIES["selective"]:  # where they count in the prior
        other = torch.where(mask, 50.0, logits)
        assert torch.equal(make().total(loss, other, mask, 5), make().total(loss, logits, mask, 5))


@every_policy
@every_loss
def test_gradient_equals_finite_differences(make, loss: MaskedLoss, monkeypatch) -> None:
    logits, _, mask = make_batch(rows=5)
    # in double precision: the cast to single would drown the differences
    monkeypatch.setattr(torch.Tensor, "float", lambda tensor: tensor.double())
    logits = logits.double().requires_grad_()
    policy = make()
    policy.decay = 0.0
    assert torch.autograd.gradcheck(lambda z: policy.total(loss, z, mask, 3) + 0 * z.sum(), (logits,))


@every_policy
@every_loss
@pytest.mark.parametrize("size", [20.0, 100.0, 1e4, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_logits_stay_finite(make, loss: MaskedLoss, size: float, dtype: torch.dtype) -> None:
    logits = torch.tensor([[size, -size, size], [-size, size, -size]], dtype=dtype)
    mask = torch.tensor([[False, False, True], [False, False, False]])
    assert torch.isfinite(make().total(loss, logits, mask, 3))
    assert torch.isfinite(gradient(make(), loss, logits, mask)).all()


@every_policy
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(make, dtype: torch.dtype) -> None:
    logits, _, mask = make_batch()
    logits = logits.to(dtype)
    value = make().total(MaskedLoss(), logits, mask, 3)
    assert value.dtype == torch.float32
    assert torch.equal(value, make().total(MaskedLoss(), logits.float(), mask, 3))


@pytest.mark.parametrize("make", [POLICIES["ignore"], POLICIES["weak"]])
def test_convex_policies_say_so(make) -> None:
    assert make().convex


@pytest.mark.parametrize("name", ["entropy", "selective", "reject", "correct"])
def test_other_policies_are_not_convex(name: str) -> None:
    policy = POLICIES[name]()
    assert not policy.convex and policy.weight == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WeakNegatives(1.5), "missing.weight is 1.5; expected 0 to 1"),
        (lambda: WeakNegatives(math.nan), "missing.weight is nan; expected 0 to 1"),
        (lambda: EntropyMaximization(-1.0), "missing.alpha is -1.0; expected 0 or more"),
        (lambda: SelectiveNegatives(1, 1.5, 1, 2.0, 0.9), "missing.threshold is 1.5; expected 0 to 1"),
        (lambda: SelectiveNegatives(1, 0.5, -1, 2.0, 0.9), "missing.top is -1; expected 0 or more"),
        (lambda: SelectiveNegatives(1, 0.5, 1, -2.0, 0.9), "missing.gamma is -2.0; expected 0 or more"),
        (lambda: SelectiveNegatives(1, 0.5, 1, 2.0, 1.0), "missing.decay is 1.0; expected 0 to below 1"),
        (lambda: LargeLoss("drop", 0.1), "missing.variant is 'drop'; expected reject or correct"),
        (lambda: LargeLoss("reject", 2.0), "missing.delta_rel is 2.0; expected 0 to 1"),
    ],
)
def test_invalid_settings_raise(make, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert str(caught.value) == message
