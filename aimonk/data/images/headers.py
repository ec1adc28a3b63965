"""Format, colour mode and size of image files, read from their headers."""

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from aimonk.data.images.decoding import open_image

SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jfif", ".jpe"),
    "MPO": (".jpg", ".jpeg", ".mpo"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
}


@dataclass(frozen=True)
class Header:
    """The header of an image file.

    Attributes:
        format: Such as JPEG.
        mode: Pillow's image mode, such as RGB, L (greyscale) or RGBA.
    """

    format: str
    mode: str
    width: int
    height: int


def read_headers(paths: Sequence[Path]) -> list[Header]:
    """Read the headers of readable images without decoding them."""

    def read_header(path: Path) -> Header:
        with open_image(path) as file, Image.open(file) as image:
            return Header(image.format or "?", image.mode, *image.size)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(read_header, paths))


def odd_files(names: Sequence[str], headers: Sequence[Header]) -> dict[str, str]:
    """Name -> remarks, for files whose format does not match their suffix or whose mode is not RGB."""
    odd = {}
    for name, header in zip(names, headers, strict=True):
        suffix = os.path.splitext(name)[1].lower()
        remarks = []
        if suffix not in SUFFIXES.get(header.format, (suffix,)):
            remarks.append(f"{header.format} named {suffix or 'without a suffix'}")
        if header.mode != "RGB":
            remarks.append(
                {"L": "greyscale", "RGBA": "with transparency", "P": "palette"}.get(header.mode, header.mode)
            )
        if remarks:
            odd[name] = ", ".join(remarks)
    return odd


def summarise_sizes(headers: Sequence[Header]) -> dict[str, int | dict[str, int]]:
    """Minimum, median and maximum of the short side in pixels, and the number of files of each format."""
    sides = sorted(min(header.width, header.height) for header in headers)
    return {
        "shortest_side": sides[0],
        "median_side": sides[len(sides) // 2],
        "longest_side": sides[-1],
        "formats": dict(Counter(header.format for header in headers).most_common()),
    }
