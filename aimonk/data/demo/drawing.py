"""Drawing primitives of the demo: coordinate frames, masks, shadows and colours."""

import colorsys
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE = 256  # side of the finished picture, pixels
CANVAS = 2 * SIZE  # pictures are drawn at twice the size, for smooth edges

_TURNS = np.linspace(0, 2 * math.pi, 24, endpoint=False)
_CIRCLE = np.stack([np.cos(_TURNS), np.sin(_TURNS)], axis=1)  # [24, 2]

Colour = tuple[int, int, int]
Points = Sequence[tuple[float, float]]


class Frame:
    """Maps coordinates of a drawing (y down) to canvas pixels."""

    def __init__(self, x: float, y: float, scale: float, angle: float) -> None:
        self.origin = np.array([x, y])
        self.scale = scale
        cos, sin = math.cos(angle), math.sin(angle)
        self.matrix = scale * np.array([[cos, -sin], [sin, cos]])

    def __call__(self, points: Points, rounded: int = 0) -> list[tuple[float, float]]:
        """Map points; `rounded` times, each corner is cut at a quarter of its edges (Chaikin)."""
        corners = np.asarray(points, dtype=float)  # [P, 2]
        for _ in range(rounded):
            following = np.roll(corners, -1, axis=0)
            cut = np.stack([0.75 * corners + 0.25 * following, 0.25 * corners + 0.75 * following], axis=1)
            corners = cut.reshape(-1, 2)
        return [(x, y) for x, y in (corners @ self.matrix.T + self.origin).tolist()]

    def ellipse(self, x: float, y: float, width: float, height: float) -> list[tuple[float, float]]:
        """An ellipse around (x, y) with the given semi-axes, as a polygon."""
        return self(_CIRCLE * (width, height) + (x, y))


def mask_of(polygons: Sequence[Points]) -> Image.Image:
    mask = Image.new("L", (CANVAS, CANVAS), 0)
    draw = ImageDraw.Draw(mask)
    for polygon in polygons:
        draw.polygon(polygon, fill=255)
    return mask


def drop_shadow(canvas: Image.Image, shape: Image.Image, rng: np.random.Generator) -> None:
    # blurring at 1/8 scale is much faster and looks the same
    small = shape.reduce(8).filter(ImageFilter.GaussianBlur(1.5)).point(lambda value: value // 2)
    dx, dy = rng.integers(4, 16, size=2).tolist()
    canvas.paste((20, 20, 25), (dx, dy), small.resize(canvas.size, Image.Resampling.BILINEAR))


def pick_colour(
    rng: np.random.Generator, vivid: float = 1.0, darkest: float = 0.3, apart_from: Sequence[Colour] = ()
) -> Colour:
    """A random colour that differs clearly from the given ones."""
    while True:
        hue, saturation, value = rng.uniform((0, 0.05, darkest), (1, 0.9 * vivid, 1))
        red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))
        if all(math.dist((red, green, blue), other) > 130 for other in apart_from):
            return red, green, blue


def shade(colour: Sequence[int], factor: float) -> Colour:
    red, green, blue = (min(255, int(part * factor)) for part in colour)
    return red, green, blue
