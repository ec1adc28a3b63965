"""Hashes of images: one of the pixels, and a perceptual one that changes little in a copy.

The perceptual hash is a thumbnail of 16x16 colours. It is compared in grey levels and not reduced to bits:
recompressing a file flips the sign of coefficients near zero (flat or symmetric images, such as products on
white), which would hide a copy, whereas the difference in grey levels stays as small as the change.
"""

import hashlib
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import numpy as np

SIDE = 16  # of the thumbnails
DIGEST = 16  # bytes of the hash of the pixels
BYTES = 3 * SIDE**2 + DIGEST  # of both
CODE_VERSION = "1"  # part of every key; increment it when an image gets another hash


class Hashes(NamedTuple):
    """Hashes of N images."""

    thumbnails: np.ndarray  # uint8 [N, SIDE, SIDE, 3]
    digests: np.ndarray  # bytes [N]: equal for equal pixels


def hash_image(image: np.ndarray) -> np.ndarray:
    """Both hashes of pixels uint8 [H, W, 3] as one row, uint8 [BYTES]."""
    height, width, _ = image.shape
    thumbnail = _cell_weights(height) @ image.reshape(height, -1).astype(np.float32)  # [SIDE, W * 3]
    thumbnail = np.rint(_cell_weights(width) @ thumbnail.reshape(SIDE, width, 3))  # [SIDE, SIDE, 3]
    digest = hashlib.blake2b(np.ascontiguousarray(image), digest_size=DIGEST).digest()
    return np.concatenate([thumbnail.astype(np.uint8).reshape(-1), np.frombuffer(digest, np.uint8)])


def split_rows(rows: np.ndarray) -> Hashes:
    """The hashes in rows of `hash_image`, uint8 [N, BYTES]."""
    thumbnails = rows[:, :-DIGEST].reshape(-1, SIDE, SIDE, 3)
    digests = np.ascontiguousarray(rows[:, -DIGEST:]).view(f"V{DIGEST}").reshape(-1)
    return Hashes(thumbnails, digests)


def hash_images(images: Iterable[np.ndarray]) -> Hashes:
    """The hashes of images uint8 [H, W, 3]."""
    rows = [hash_image(image) for image in images]
    return split_rows(np.array(rows, dtype=np.uint8).reshape(-1, BYTES))


@cache
def _cell_weights(size: int) -> np.ndarray:
    """Weights of `size` pixels in the averages of SIDE cells, [SIDE, size]."""
    edges = np.linspace(0, size, SIDE + 1)
    pixel = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return (np.clip(overlap, 0, 1) * (SIDE / size)).astype(np.float32)
