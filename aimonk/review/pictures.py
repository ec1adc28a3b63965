"""Pictures of the images under review, by index, and the check of dropped ones."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from aimonk.data.images.decoding import FORMATS, decode, open_image
from aimonk.report.thumbnails import load_thumbnails

SIDE = 720  # pixels of the large picture
MAX_BYTES = 20 * 2**20  # of a dropped image
MAX_PIXELS = 50_000_000


class TooLarge(ValueError):
    """A dropped image exceeds the bounds."""


class Pictures:
    """Thumbnails and large pictures, as JPEG.

    Args:
        paths: Files, N.
        pixels: Decoded images [N, size, size, 3], or the files.
    """

    def __init__(self, paths: Sequence[Path], pixels: Sequence):
        self.paths, self.pixels = paths, pixels

    def thumbnail(self, row: int) -> bytes | None:
        """None where the file is unreadable by now."""
        found = load_thumbnails(self.pixels, [row])
        return to_jpeg(found[row]) if found else None

    def large(self, row: int) -> bytes | None:
        """The entire image in a square, which the page stretches to the image's own shape."""
        try:
            return to_jpeg(decode(self.paths[row], SIDE, "squash"))
        except ValueError:
            return None

    def read(self, row: int, size: int, resize: str) -> np.ndarray:
        """Pixels as a model sees them, uint8 [size, size, 3]; errors as `decode`."""
        source = self.pixels[row]
        return np.array(source if isinstance(source, np.ndarray) else decode(source, size, resize))

    def shape(self, row: int) -> tuple[int, int]:
        """Width and height in pixels as displayed; a square where the file is unreadable by now."""
        try:
            with open_image(self.paths[row]) as file, Image.open(file, formats=FORMATS) as image:
                return displayed_size(image)
        except Exception:  # Pillow's plugins raise errors of any type on malformed files
            return 1, 1


def displayed_size(image: Image.Image) -> tuple[int, int]:
    """Width and height after the EXIF orientation."""
    width, height = image.size
    try:
        turned = image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
    except Exception:  # an invalid EXIF block is ignored
        turned = False
    return (height, width) if turned else (width, height)


def to_jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def read_dropped(content: bytes, size: int, resize: str) -> np.ndarray:
    """Decode a dropped image in memory, uint8 [size, size, 3].

    Raises:
        TooLarge: More bytes or pixels than allowed; nothing is decoded.
        ValueError: It is no readable image.
    """
    if len(content) > MAX_BYTES:
        raise TooLarge(f"the image has {len(content) >> 20} MB; expected at most {MAX_BYTES >> 20} MB")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
    except Image.DecompressionBombError:
        raise TooLarge(f"the image has too many pixels; expected at most {MAX_PIXELS:,}") from None
    except Exception:  # Pillow's plugins raise errors of any type on malformed files
        raise ValueError(f"unknown image format; expected {', '.join(FORMATS)}") from None
    if width * height > MAX_PIXELS:
        raise TooLarge(f"the image has {width * height:,} pixels; expected at most {MAX_PIXELS:,}")
    return np.array(decode(io.BytesIO(content), size, resize))
