"""What kinds of files the images are, from their headers alone."""

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

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
    """What an image file says of itself.

    Attributes:
        format: Such as JPEG.
        mode: Pillow's name of the colour space, such as RGB, L (greyscale) or RGBA.
    """

    format: str
    mode: str
    width: int
    height: int


def read_headers(paths: Sequence[Path]) -> list[Header]:
    """The headers of readable images; nothing is decoded."""

    def one(path: Path) -> Header:
        with Image.open(path) as image:
            return Header(image.format or "?", image.mode, *image.size)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, paths))


def odd_files(names: Sequence[str], headers: Sequence[Header]) -> dict[str, str]:
    """Name -> what is unusual: another format than the suffix says, or no plain colours."""
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
    """Smallest, middle and largest short side in pixels, and how many files there are of each format."""
    sides = sorted(min(header.width, header.height) for header in headers)
    return {
        "shortest_side": sides[0],
        "median_side": sides[len(sides) // 2],
        "longest_side": sides[-1],
        "formats": dict(Counter(header.format for header in headers).most_common()),
    }
