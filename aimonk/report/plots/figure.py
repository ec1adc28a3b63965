"""Figures: colours, fonts, and the PNG file."""

import io
import warnings
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from PIL import Image

from aimonk.files.atomic import replacing

# from Okabe and Ito's palette, distinguishable with every type of colour vision
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#6b7280"
DPI = 130
WIDE_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Arial Unicode MS",
    "Microsoft YaHei",
    "Malgun Gothic",
    "PingFang SC",
    "WenQuanYi Zen Hei",
)


@cache
def font_families() -> list[str]:
    """Matplotlib's own font, then installed fonts for the letters that it lacks."""
    installed = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in WIDE_FONTS if name in installed)]


def to_png(pixels: np.ndarray) -> bytes:
    """Pixels uint8 [H, W, 3] as a PNG."""
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(content, "PNG")
    return content.getvalue()


def save(figure: Figure, path: Path) -> bytes:
    """Write a figure as PNG and return the file's content."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        # a letter that no installed font has becomes a box
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(content, format="png")
    with replacing(path) as file:
        file.write(content.getvalue())
    return content.getvalue()
