"""Decoding of image files to uint8 RGB of a fixed size, in bounded memory."""

import contextlib
import math
import os
import re
import stat
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import (  # importing a plugin registers its format
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

FORMATS = [
    JpegImagePlugin.JpegImageFile.format,
    PngImagePlugin.PngImageFile.format,
    WebPImagePlugin.WebPImageFile.format,
    BmpImagePlugin.BmpImageFile.format,
    GifImagePlugin.GifImageFile.format,
    TiffImagePlugin.TiffImageFile.format,
]
RESIZES = ("squash", "crop", "pad")
# EXIF orientation -> the transposition that undoes it
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# bounds on memory: metadata, strips and tiles are read in one piece, and WebP is held several times
MAX_FILE_BYTES = 400 * 2**20
MAX_CHUNK_BYTES = 300 * 2**20
MAX_WEBP_PIXELS = 3 * 2**24
BAND_PIXELS = 2**22  # larger images are converted to RGB in bands of this size
HUGE_PIXELS = 2**25  # larger images are decoded one at a time
one_huge = threading.Lock()

# Pillow's warnings (unusual metadata, large images) are harmless or become errors below; a filter around each
# call would be unsafe, since all threads share the list of filters
warnings.filterwarnings("ignore", module=r"PIL\.")


class UnavailableError(ValueError):
    """The file cannot be read at present, for a reason that may pass."""


def decode(source: Path | BinaryIO, size: int, resize: str) -> np.ndarray:
    """Decode one image, a file, an open one or one inside a shard, to uint8 RGB, [size, size, 3].

    Applies the EXIF orientation, composites transparency over white, and takes the first frame of animations.

    Args:
        size: Pixels per side.
        resize: `squash` ignores the aspect ratio, `crop` fits the short side and crops the centre, `pad` fits
            the long side and pads with white.

    Raises:
        ValueError: The file is not a readable image; the message does not contain the path.
        UnavailableError: The file cannot be read, for a reason outside the file.
    """
    # JPEG can be decoded faster at 1/2, 1/4 or 1/8 scale; twice the target size preserves the quality
    return _read(source, (2 * size, 2 * size), lambda image: to_square(image, size, resize))


def decode_full(path: Path) -> np.ndarray:
    """Decode one image to uint8 RGB of its own size, [H, W, 3]; the rest as `decode`.

    Needs memory for several copies of the image.
    """
    return _read(path, None, _to_full)


def _read(
    source: Path | BinaryIO, draft: tuple[int, int] | None, convert: Callable[[Image.Image], np.ndarray]
) -> np.ndarray:
    """The converted image of a file; errors as `decode`.

    Args:
        draft: Smallest size at which JPEG may be decoded.
    """
    try:
        with open_image(source) as file:
            image = Image.open(file, formats=FORMATS)
            _check_size(image)
            image.draft(None, draft)
            is_huge = image.width * image.height > HUGE_PIXELS
            with one_huge if is_huge else contextlib.nullcontext(), image:
                image.load()
                return convert(image)
    except MemoryError:
        raise UnavailableError("not enough memory to decode the image") from None
    except UnidentifiedImageError:
        raise ValueError(f"unknown image format; expected {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError:
        raise ValueError("exceeds Pillow's decompression limit") from None
    except Exception as error:  # Pillow's plugins raise errors of any type on malformed files
        if isinstance(error, OSError) and error.errno is not None:
            raise UnavailableError(error.strerror) from None
        reason = " ".join(f"{error}".split()) or type(error).__name__
        raise ValueError(f"decoder error {reason}" if re.fullmatch(r"-?\d+", reason) else reason) from None


@contextlib.contextmanager
def open_image(source: Path | BinaryIO) -> Iterator[BinaryIO]:
    """Open a regular file; others, such as pipes, could block forever. Open files stay open."""
    if not isinstance(source, str | os.PathLike):
        # an image inside another file has a method `open`
        with source.open() if hasattr(source, "open") else contextlib.nullcontext(source) as file:
            yield file
        return
    _check_file(os.stat(source))
    # the file may be replaced between the two checks; without O_NONBLOCK, opening a pipe waits for a writer
    flags = getattr(os, "O_NONBLOCK", 0)
    with open(source, "rb", opener=lambda name, mode: os.open(name, mode | flags)) as file:
        _check_file(os.fstat(file.fileno()))
        yield file


def _check_file(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("not a regular file")
    check_bytes(status.st_size)


def check_bytes(size: int) -> None:
    """Reject the size of a file.

    Raises:
        ValueError: It is empty, or needs too much memory.
    """
    if size == 0:
        raise ValueError("the file is empty")
    if size > MAX_FILE_BYTES:
        raise ValueError(f"the file has {size >> 20} MB; expected at most {MAX_FILE_BYTES >> 20} MB")


def _check_size(image: Image.Image) -> None:
    pixels = image.width * image.height
    if Image.MAX_IMAGE_PIXELS is not None and pixels > Image.MAX_IMAGE_PIXELS:
        raise ValueError(f"{image.width}x{image.height} pixels exceed Pillow's decompression limit")
    if image.format == "WEBP" and pixels > MAX_WEBP_PIXELS:
        raise ValueError(f"{image.width}x{image.height} pixels of WebP would require a gigabyte of memory")
    if image.format == "TIFF" and _chunk_bytes(image) > MAX_CHUNK_BYTES:
        raise ValueError(f"a strip or tile of {_chunk_bytes(image) >> 20} MB would require too much memory")


def _chunk_bytes(image: Image.Image) -> int:
    """Size of a strip or tile of a TIFF image, which may be declared much larger than the image."""
    tags, names = image.tag_v2, ExifTags.Base
    rows = min(tags.get(names.RowsPerStrip, image.height), image.height)
    pixels = tags.get(names.TileWidth, image.width) * tags.get(names.TileLength, rows)
    return pixels * tags.get(names.SamplesPerPixel, 1) * max(tags.get(names.BitsPerSample, (1,))) // 8


def to_square(image: Image.Image, size: int, resize: str) -> np.ndarray:
    """Pixels uint8 [size, size, 3] of an image in memory, of any mode; as `decode` otherwise."""
    width, height = image.size
    box, fitted = (0.0, 0.0, float(width), float(height)), (size, size)
    if resize == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    elif resize == "pad":
        scale = size / max(width, height)
        fitted = (max(1, round(width * scale)), max(1, round(height * scale)))
    rgb, box = _to_rgb(image, box, fitted)
    rgb = rgb.resize(fitted, Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
    turn = _orientation(image)
    if turn is not None:
        rgb = rgb.transpose(turn)
    if rgb.size != (size, size):
        canvas = Image.new("RGB", (size, size), (255, 255, 255))
        canvas.paste(rgb, ((size - rgb.width) // 2, (size - rgb.height) // 2))
        rgb = canvas
    return np.asarray(rgb)


def _to_full(image: Image.Image) -> np.ndarray:
    rgb = _band_to_rgb(image, _white(image))
    turn = _orientation(image)
    return np.asarray(rgb if turn is None else rgb.transpose(turn))


def _orientation(image: Image.Image) -> Image.Transpose | None:
    try:
        return TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # an invalid EXIF block is ignored
        return None


def _to_rgb(
    image: Image.Image, box: tuple[float, float, float, float], fitted: tuple[int, int]
) -> tuple[Image.Image, tuple[float, float, float, float]]:
    """Convert an image to RGB; returns it with the box in its coordinates.

    A large image is cropped to the box and reduced to at least twice the fitted size, in bands: complete
    copies in several modes would require gigabytes.
    """
    white = _white(image)
    if image.width * image.height <= BAND_PIXELS:
        return _band_to_rgb(image, white), box
    x0, y0, x1, y1 = box
    scale_x, scale_y = (x1 - x0) / fitted[0], (y1 - y0) / fitted[1]
    across, down = max(1, int(scale_x / 2)), max(1, int(scale_y / 2))
    # resizing reads up to half an output pixel beyond the box
    left, right = max(0, int(x0 - scale_x / 2)), min(image.width, math.ceil(x1 + scale_x / 2))
    top, bottom = max(0, int(y0 - scale_y / 2)), min(image.height, math.ceil(y1 + scale_y / 2))
    small = Image.new("RGB", (-(-(right - left) // across), -(-(bottom - top) // down)))
    for y, band in _bands(image, (left, top, right, bottom), down):
        small.paste(_band_to_rgb(band, white).reduce((across, down)), (0, (y - top) // down))
    return small, ((x0 - left) / across, (y0 - top) / down, (x1 - left) / across, (y1 - top) / down)


def _bands(
    image: Image.Image, box: tuple[int, int, int, int], step: int
) -> Iterator[tuple[int, Image.Image]]:
    """Yield horizontal bands of a box, each with its top row; their heights are multiples of step."""
    left, top, right, bottom = box
    rows = max(1, BAND_PIXELS // (right - left) // step) * step
    for y in range(top, bottom, rows):
        yield y, image.crop((left, y, right, min(y + rows, bottom)))


def _band_to_rgb(image: Image.Image, white: float) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        values = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=white)
        image = Image.fromarray((values * (255 / white)).clip(0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _white(image: Image.Image) -> float:
    """The value of white in greyscale of more than 8 bits, by the bits in use.

    For integers 255, 4095 (12 bits in a file of 16) or 65535, or else the largest value; for floats 1 or 255.
    """
    if not image.mode.startswith("I") and image.mode != "F":
        return 255.0
    tops = []
    for _, band in _bands(image, (0, 0, *image.size), 1):
        values = np.asarray(band)
        tops.append(float(values[np.isfinite(values)].max(initial=0)))
    if image.mode == "F":
        return 1.0 if max(tops) <= 1 else 255.0
    return next((white for white in (255.0, 4095.0, 65535.0) if max(tops) <= white), max(tops))
