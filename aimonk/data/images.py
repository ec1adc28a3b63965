"""Image files of every kind to uint8 RGB of one size, each decoded once and kept."""

import logging
import os
import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import (  # naming a plugin registers its format
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from aimonk.data.labels import IMAGE_SUFFIXES
from aimonk.data.store import Row, RowStore, StoredRows

PLUGINS = [
    JpegImagePlugin.JpegImageFile,
    PngImagePlugin.PngImageFile,
    WebPImagePlugin.WebPImageFile,
    BmpImagePlugin.BmpImageFile,
    GifImagePlugin.GifImageFile,
    TiffImagePlugin.TiffImageFile,
]
FORMATS = [plugin.format for plugin in PLUGINS]
RESIZES = ("squash", "crop", "pad")
# part of every store key: raise it when the same file would give other pixels
CODE_VERSION = "1"

log = logging.getLogger(__name__)


def decode(path: Path, size: int, resize: str) -> np.ndarray:
    """Decode one image to uint8 RGB, [size, size, 3].

    EXIF orientation is applied, transparency is laid over white, of an animation the first frame is taken.

    Args:
        size: Pixels per side.
        resize: `squash` ignores the aspect ratio, `crop` fits the short side and cuts the centre out,
            `pad` fits the long side and fills up with white.

    Raises:
        ValueError: The file is no image that can be read; the message says why, without the path.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would block for ever
            raise ValueError("not a regular file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the limits below are our own, and errors
            with Image.open(path, formats=FORMATS) as image:
                return _to_square(_to_rgb(_load(image, size)), size, resize)
    except Image.DecompressionBombError:
        raise ValueError("larger than Pillow's decompression limit") from None
    except MemoryError:
        raise ValueError("not enough memory to decode it") from None
    except Exception as error:  # Pillow's plugins raise nearly everything on malformed files
        raise ValueError(" ".join(f"{error}".split()).replace(repr(str(path)), "file") or repr(error)) from None


def _load(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
        raise ValueError(f"{width}x{height} pixels is beyond Pillow's decompression limit")
    # JPEG can be decoded at 1/2, 1/4 or 1/8 for less work; twice the wanted size keeps the quality
    image.draft(None, (2 * size, 2 * size))
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # garbage in the EXIF block leaves the picture as it is
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_8_bit(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Greyscale of 16 bits (0..65535), 32 bits (scaled by its largest value) or floats (0..1, or 0..255)."""
    values = np.asarray(image)
    if image.mode == "F":
        values = np.nan_to_num(values)
        scale = 255.0 if values.max(initial=0) <= 1 else 1.0
    elif image.mode == "I":
        top = values.max(initial=0)
        scale = 1.0 if top <= 255 else 255 / max(65535, int(top))
    else:
        scale = 255 / 65535
    return Image.fromarray((values * np.float32(scale)).clip(0, 255).round().astype(np.uint8))


def _to_square(image: Image.Image, size: int, resize: str) -> np.ndarray:
    width, height = image.size
    box, fitted = (0, 0, width, height), (size, size)
    if resize == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    elif resize == "pad":
        scale = size / max(width, height)
        fitted = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = image.resize(fitted, Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
    if fitted != (size, size):
        canvas = Image.new("RGB", (size, size), (255, 255, 255))
        canvas.paste(image, ((size - fitted[0]) // 2, (size - fitted[1]) // 2))
        image = canvas
    return np.asarray(image)


def find_images(folder: Path, names: Sequence[str], follow_links: bool) -> np.ndarray:
    """Which of the named images lie in the folder, bool [N].

    Args:
        follow_links: Whether links may lead out of the folder.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: A link leads out of the folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no images folder at {folder.absolute()}")
    there = np.array([os.path.exists(folder / name) for name in names], dtype=bool)
    if not follow_links:
        root = os.path.realpath(folder)
        for name in (n for n, ok in zip(names, there, strict=True) if ok):
            if not os.path.realpath(folder / name).startswith(root + os.sep):
                raise ValueError(f"{folder / name} is a link out of {root}; data.follow_links=true allows it")
    return there


def list_images(folder: Path) -> list[str]:
    """Relative paths of the files below a folder that are called like images, sorted."""
    found = []
    for root, _, files in os.walk(folder):
        found += [Path(root, f) for f in files if os.path.splitext(f)[1].lower() in IMAGE_SUFFIXES]
    return sorted(path.relative_to(folder).as_posix() for path in found)


def fingerprints(paths: Sequence[Path]) -> list[str]:
    """What changes whenever a file does: its path, size and modification time."""
    result = []
    for path in paths:
        info = os.stat(path)
        result.append(f"{path.absolute()}\0{info.st_size}\0{info.st_mtime_ns}")
    return result


def decode_all(paths: Sequence[Path], size: int, resize: str, rows: np.ndarray, watch: Callable) -> Iterator[Row]:
    """Decode the given rows of a list of files; an unreadable one gives its reason in place of pixels.

    Args:
        watch: Wraps the sequence of results to show progress; called with (iterable, total).
    """

    def one(row: int) -> Row:
        try:
            return row, decode(paths[row], size, resize)
        except ValueError as error:
            return row, str(error)

    # Pillow decodes and resizes without holding the interpreter, so threads are enough
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from watch(pool.map(one, (int(row) for row in rows)), len(rows))


def open_pixels(
    store: RowStore, paths: Sequence[Path], size: int, resize: str, watch: Callable
) -> StoredRows | None:
    """The decoded images, uint8 [N, size, size, 3], from the store; None where they do not fit into it."""
    return store.rows(
        family=f"pixels {CODE_VERSION} {size} {resize}",
        keys=fingerprints(paths),
        shape=(size, size, 3),
        dtype="uint8",
        compute=lambda rows: decode_all(paths, size, resize, rows, watch),
    )
