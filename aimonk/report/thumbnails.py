"""Thumbnails of images."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from aimonk.data.images.decoding import decode

SIDE = 112  # pixels


def load_thumbnails(
    pixels: Sequence[np.ndarray] | Sequence[Path], rows: Iterable[int]
) -> dict[int, np.ndarray]:
    """Thumbnails uint8 [SIDE, SIDE, 3] by row; an unreadable image has none.

    Args:
        pixels: Images uint8 [H, W, 3], or their files.
    """
    thumbnails = {}
    for row in sorted(set(rows)):
        try:
            source = pixels[row]
            image = source if isinstance(source, np.ndarray) else decode(source, SIDE, "squash")
        except ValueError:  # the file was readable when training began
            continue
        thumbnails[row] = shrink(image)
    return thumbnails


def shrink(pixels: np.ndarray) -> np.ndarray:
    """The thumbnail, uint8 [SIDE, SIDE, 3], of uint8 pixels [H, W, 3]."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize((SIDE, SIDE)))
