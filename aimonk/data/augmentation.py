"""Augmentation by numbered views: an image and the number of a view determine the pixels.

View 0 is the unchanged image. The view numbers of an epoch suffice to reproduce it, and if there are few
views, each can be computed once.
"""

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from aimonk.data.mixing import CutMix, Mixup


class Unchanged:
    """No augmentation: view 0 only."""

    views = 1

    def __call__(self, images: Tensor, views: Tensor) -> Tensor:
        return images


class Flip:
    """The image and its mirror image."""

    views = 2

    def __call__(self, images: Tensor, views: Tensor) -> Tensor:
        return torch.where((views == 1)[:, None, None, None], images.flip(-1), images)


class MixedFlip(Flip):
    """The same views, to be mixed within each batch at the inputs of the part that trains.

    Attributes:
        mix: Inputs of a batch, [B, ...], to mixed ones and what was mixed.
    """

    def __init__(self, mix: Mixup | CutMix):
        self.mix = mix


class Random:
    """A random transform of each image, seeded by the number of the view.

    Args:
        transform: uint8 [3, H, W] to the same; draws from torch's CPU generator, whose state is restored.

    Attributes:
        views: None, since the number of views is unbounded.
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
        # transforms draw from this generator only; torch.manual_seed would also seed the GPU's
        torch.default_generator.manual_seed(view)
        return self.transform(image)


class FixedViews:
    """A fixed set of views of a random augmentation, each determined by the image and the view number."""

    def __init__(self, augmentation: Random, views: int):
        if views < 2:
            raise ValueError(f"features.views is {views}; expected 2 or more (view 0 is the unchanged image)")
        self.augmentation = augmentation
        self.views = views

    def __call__(self, images: Tensor, views: Tensor) -> Tensor:
        # torch's generator uses 32 bits of a seed: a checksum of image and view; 0 means the unchanged image
        seeds = [
            0 if view == 0 else zlib.crc32(image.contiguous().numpy(), view) or 1
            for image, view in zip(images, views.tolist(), strict=True)
        ]
        return self.augmentation(images, torch.tensor(seeds))


def none() -> Unchanged:
    """Unchanged images."""
    return Unchanged()


def flip() -> Flip:
    """Mirror each image with probability one half."""
    return Flip()


def mixup(alpha: float) -> MixedFlip:
    """Mirror each image with probability one half, then take weighted means of pairs."""
    return MixedFlip(Mixup(alpha))


def cutmix(alpha: float) -> MixedFlip:
    """Mirror each image with probability one half, then paste a box of another one."""
    return MixedFlip(CutMix(alpha))


def crop_color(
    size: int,
    scale: Sequence[float],
    ratio: Sequence[float],
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
) -> Random:
    """Random resized crop, horizontal flip and colour jitter.

    Args:
        size: Side of the images and the result, in pixels.
        scale: Smallest and largest share of the area in a crop.
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
    """TrivialAugment (Müller and Hutter 2021) after a random horizontal flip."""
    return Random(v2.Compose([v2.RandomHorizontalFlip(), v2.TrivialAugmentWide()]))
