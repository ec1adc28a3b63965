"""Augmentation as numbered views: an image and the number of a view determine the pixels.

View 0 is always the image as it is. Where a view's number is the only randomness, an epoch is reproduced by
its numbers alone, and an augmentation with few views can have each of them computed once.
"""

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.transforms import v2


class Unchanged:
    """No augmentation: view 0 alone."""

    views = 1

    def __call__(self, images: Tensor, views: Tensor) -> Tensor:
        return images


class Flip:
    """The image and its mirror image."""

    views = 2

    def __call__(self, images: Tensor, views: Tensor) -> Tensor:
        return torch.where((views == 1)[:, None, None, None], images.flip(-1), images)


class Random:
    """A random transform of each image, drawn from the view's number.

    Args:
        transform: uint8 [3, H, W] to the same; draws from torch's CPU generator, which is put back after.

    Attributes:
        views: None: there is no end of them.
    """

    views = None

    def __init__(self, transform: nn.Module):
        self.transform = transform

    def __call__(self, images: Tensor, views: Tensor) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            return torch.stack(
                [self._one(image, view) for image, view in zip(images, views.tolist(), strict=True)]
            )

    def _one(self, image: Tensor, view: int) -> Tensor:
        if view == 0:
            return image
        # transforms draw from this generator alone, and torch.manual_seed would set the GPU's as well
        torch.default_generator.manual_seed(view)
        return self.transform(image)


class FixedViews:
    """The first `views` views of a random augmentation, each drawn once and for all from image and number."""

    def __init__(self, augmentation: Random, views: int):
        if views < 2:
            raise ValueError(f"features.views is {views}; expected 2 or more (the image itself is one)")
        self.augmentation = augmentation
        self.views = views

    def __call__(self, images: Tensor, views: Tensor) -> Tensor:
        # torch's generator takes 32 bits of a seed, so image and number must share them; 0 would be no change
        seeds = [
            0 if view == 0 else zlib.crc32(image.contiguous().numpy(), view) or 1
            for image, view in zip(images, views.tolist(), strict=True)
        ]
        return self.augmentation(images, torch.tensor(seeds))


def none() -> Unchanged:
    """Images as they are."""
    return Unchanged()


def flip() -> Flip:
    """Mirror each image with probability one half."""
    return Flip()


def crop_color(
    size: int,
    scale: Sequence[float],
    ratio: Sequence[float],
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
) -> Random:
    """Random resized crop, mirroring and colour jitter.

    Args:
        size: Side of the result in pixels; that of the images.
        scale: Smallest and largest share of the area that a crop keeps.
        ratio: Smallest and largest aspect ratio of a crop.
    """
    return Random(
        v2.Compose(
            [
                v2.RandomResizedCrop(size, scale=scale, ratio=ratio, antialias=True),
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(brightness, contrast, saturation, hue),
            ]
        )
    )


def trivial() -> Random:
    """TrivialAugment (Müller and Hutter 2021) after mirroring: one random operation of random strength."""
    return Random(v2.Compose([v2.RandomHorizontalFlip(), v2.TrivialAugmentWide()]))
