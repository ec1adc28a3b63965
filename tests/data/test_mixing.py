"""Mixed inputs of a batch: means of pairs, and boxes of other inputs."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from aimonk.data.augmentation import cutmix, flip, mixup
from aimonk.data.mixing import CutMix, Mixup, draw_side


def batch(count: int = 5, channels: int = 3, height: int = 12, width: int = 10) -> Tensor:
    """uint8 [B, C, H, W]; all values of an image are 10 times its place in the batch."""
    return (10 * torch.arange(count)).view(-1, 1, 1, 1).expand(-1, channels, height, width).to(torch.uint8)


@pytest.mark.parametrize("seed", range(5))
def test_mixup_is_the_weighted_mean_of_pairs(seed: int) -> None:
    torch.manual_seed(seed)
    features = torch.randn(6, 4, 3, 2, dtype=torch.float64).float()
    mixed, mix = Mixup(1.0)(features)
    assert sorted(mix.partners.tolist()) == list(range(6)), "a permutation, so that each input weighs 1"
    assert 0 <= mix.share <= 1
    expected = (1 - mix.share) * features.numpy() + mix.share * features.numpy()[mix.partners.numpy()]
    np.testing.assert_allclose(mixed.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_mixup_of_images_has_grey_levels_of_255() -> None:
    torch.manual_seed(0)
    images = batch()
    mixed, mix = Mixup(0.4)(images)
    levels = 10 * np.arange(5)
    expected = np.rint((1 - mix.share) * levels + mix.share * levels[mix.partners.numpy()])
    assert mixed.dtype == torch.uint8
    assert (mixed.numpy() == expected[:, None, None, None]).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_mixup_of_stored_features_is_computed_in_float32(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    assert Mixup(1.0)(torch.randn(3, 4).to(dtype))[0].dtype == torch.float32


@pytest.mark.parametrize("seed", range(20))
def test_box_of_cutmix_has_the_share_of_the_partner(seed: int) -> None:
    torch.manual_seed(seed)
    images = batch()
    before = images.clone()
    mixed, mix = CutMix(1.0)(images)
    assert (images == before).all(), "stored features are never changed"
    levels = (mixed // 10).numpy()
    for i, partner in enumerate(mix.partners.tolist()):
        assert set(np.unique(levels[i])) <= {i, partner}
        if partner != i:
            from_partner = levels[i] == partner
            assert from_partner.mean() == pytest.approx(mix.share)
            rows, columns = (from_partner[0].any(axis=axis) for axis in (1, 0))
            assert (from_partner == rows[:, None] & columns).all(), "a rectangle, the same in all channels"


def test_vectors_have_no_boxes() -> None:
    features = torch.randn(3, 4)
    mixed, mix = CutMix(1.0)(features)
    assert mixed is features and mix is None


def test_sides_of_a_box() -> None:
    torch.manual_seed(0)
    sides = [draw_side(100, 0.25) for _ in range(2000)]
    lengths = np.array([end - begin for begin, end in sides])
    assert min(begin for begin, _ in sides) == 0 and max(end for _, end in sides) == 100
    # a square of a quarter of the area has half the side, unless the border cuts it
    assert lengths.max() == 50 and lengths.min() == 25
    assert np.mean(lengths == 50) == pytest.approx(0.5, abs=0.05)
    begin, end = draw_side(7, 0.0)
    assert begin == end
    assert {draw_side(1, 1.0)} == {(0, 1)}


def test_shares_follow_the_beta_distribution() -> None:
    torch.manual_seed(0)
    one = torch.zeros(1, 1)
    shares = np.array([Mixup(0.2)(one)[1].share for _ in range(4000)])
    # Beta(a, a) has a mean of 1/2 and a variance of 1 / (8 a + 4)
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(1 / 5.6, rel=0.05)


@pytest.mark.parametrize("kind", [Mixup, CutMix])
def test_seed_determines_the_mix(kind: type) -> None:
    images, results = batch(), []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        mixed, mix = kind(1.0)(images)
        results.append((mixed.tolist(), mix.partners.tolist(), mix.share))
    assert results[0] == results[1] != results[2]


@pytest.mark.parametrize("kind", [mixup, cutmix])
@pytest.mark.parametrize("alpha", [0.0, -1.0, math.nan, math.inf])
def test_invalid_alpha_raises(kind, alpha: float) -> None:
    with pytest.raises(ValueError, match=f"^augmentation.alpha is {alpha}; expected above 0$"):
        kind(alpha)


@pytest.mark.parametrize("kind", [mixup, cutmix])
def test_views_are_those_of_flip(kind) -> None:
    images = torch.randint(0, 256, (4, 3, 6, 6), dtype=torch.uint8)
    views = torch.tensor([0, 1, 1, 0])
    assert kind(1.0).views == flip().views == 2
    assert (kind(1.0)(images, views) == flip()(images, views)).all()
