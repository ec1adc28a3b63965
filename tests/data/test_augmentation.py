import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from aimonk.data.augmentation import FixedViews, Random, crop_color, flip, none, trivial

SETTINGS = dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, scale=(0.3, 1.0), ratio=(0.75, 1.33))


def photographs(count: int = 6, size: int = 24) -> Tensor:
    """uint8 [B, 3, H, W], in the memory format of decoded images."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


@pytest.fixture(params=["crop_color", "trivial"])
def random(request: pytest.FixtureRequest) -> Random:
    return crop_color(24, **SETTINGS) if request.param == "crop_color" else trivial()


def test_none_returns_the_images() -> None:
    images = photographs()
    assert none().views == 1 and none()(images, torch.zeros(6, dtype=torch.int64)) is images


def test_flip_is_exact() -> None:
    images = photographs()
    assert flip().views == 2
    flipped = flip()(images, torch.tensor([0, 1, 0, 1, 1, 0]))
    for i, view in enumerate([0, 1, 0, 1, 1, 0]):
        expected = images[i].numpy()[:, :, ::-1] if view else images[i].numpy()
        assert (flipped[i].numpy() == expected).all()
    assert flipped.dtype == torch.uint8 and flipped.is_contiguous(memory_format=torch.channels_last)
    assert (flip()(flip()(images, torch.ones(6)), torch.ones(6)) == images).all()


def test_view_0_is_the_unchanged_image(random: Random) -> None:
    images = photographs()
    assert random.views is None
    assert (random(images, torch.zeros(6, dtype=torch.int64)) == images).all()


def test_image_and_number_determine_a_view(random: Random) -> None:
    images, views = photographs(), torch.tensor([5, 0, 2**61 + 1, 7, 8, 2**31])
    torch.manual_seed(1)
    together = random(images, views)
    assert together.shape == images.shape and together.dtype == torch.uint8
    torch.manual_seed(2)
    for i in torch.tensor([3, 0, 5, 1, 4, 2]):  # alone and in another order
        assert (random(images[i : i + 1], views[i : i + 1])[0] == together[i]).all()


def test_views_differ(random: Random) -> None:
    image = photographs(1).expand(40, -1, -1, -1)
    results = random(image, torch.arange(40))
    assert len({result.numpy().tobytes() for result in results}) > 25
    assert (results[1:] != image[1:]).flatten(1).any(dim=1).float().mean() > 0.7


def test_crop_color_flips_half_of_the_images() -> None:
    images = photographs(1).expand(60, -1, -1, -1)
    plain = dict(brightness=0, contrast=0, saturation=0, hue=0, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    results = crop_color(24, **plain)(images, torch.arange(1, 61))
    mirrored = [(r == images[0].flip(-1)).all().item() for r in results]
    same = [(r == images[0]).all().item() for r in results]
    assert 15 < sum(mirrored) < 45 and sum(mirrored) + sum(same) == 60


def test_global_generators_are_not_changed(random: Random, monkeypatch: pytest.MonkeyPatch) -> None:
    # torch.manual_seed would seed the GPU's generator too, and with it the network's own randomness
    monkeypatch.setattr(torch, "manual_seed", lambda seed: pytest.fail("all generators seeded"))
    torch.default_generator.manual_seed(3)
    before, numpy_before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    random(photographs(), torch.arange(6))
    assert (torch.random.get_rng_state() == before).all()
    assert (np.random.get_state()[1] == numpy_before).all()


def test_generator_is_restored_after_an_error() -> None:
    class Broken(torch.nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            raise ValueError("broken")

    before = torch.random.get_rng_state()
    with pytest.raises(ValueError, match="broken"):
        Random(Broken())(photographs(), torch.arange(6))
    assert (torch.random.get_rng_state() == before).all()


def test_fixed_views_are_reproducible(random: Random) -> None:
    fixed, images = FixedViews(random, 3), photographs()
    assert fixed.views == 3
    zero = torch.zeros(6, dtype=torch.int64)
    assert (fixed(images, zero) == images).all()
    first, second = fixed(images, zero + 1), fixed(images, zero + 2)
    assert (first != second).any()
    assert (fixed(images[[4]], torch.tensor([2]))[0] == second[4]).all()


def test_fixed_views_differ_between_images() -> None:
    """With one transform per view number, a data set would have few different crops."""
    crops = FixedViews(Random(v2.RandomCrop(8)), 2)
    places = torch.arange(24 * 24).reshape(1, 1, 24, 24) // 3
    images = places.to(torch.uint8).repeat(20, 3, 1, 1)
    images[:, 0, 23, 23] = torch.arange(20)  # nearly equal images
    results = crops(images, torch.ones(20, dtype=torch.int64))
    assert len({result[1].numpy().tobytes() for result in results}) > 10


def test_fixed_views_do_not_depend_on_the_layout(random: Random) -> None:
    fixed, images = FixedViews(random, 2), photographs()
    ones = torch.ones(6, dtype=torch.int64)
    assert (fixed(images, ones) == fixed(images.contiguous(), ones)).all()


def test_fewer_than_two_views_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"features.views is 1; expected 2 or more"):
        FixedViews(trivial(), 1)
