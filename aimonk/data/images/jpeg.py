"""Decoded images as JPEG, in which about ten times as many fit into a store."""

import io

import numpy as np
from PIL import Image


def pack(pixels: np.ndarray, quality: int) -> np.ndarray:
    """The JPEG file of pixels uint8 [H, W, 3], as uint8 [any length].

    Args:
        quality: 1 to 100, as Pillow defines it.
    """
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=quality)
    return np.frombuffer(content.getbuffer(), np.uint8)


def unpack(content: np.ndarray) -> np.ndarray:
    """Pixels uint8 [H, W, 3] of a JPEG file."""
    return np.asarray(Image.open(io.BytesIO(content.tobytes()), formats=["JPEG"]).convert("RGB"))
