"""Pictures of garments: a cut, colours and attributes, over a background with clutter."""

import colorsys
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE = 256  # pixels a side of the finished picture
CANVAS = 2 * SIZE  # drawn at twice the size, so that edges come out smooth

_TURNS = np.linspace(0, 2 * math.pi, 24, endpoint=False)
_CIRCLE = np.stack([np.cos(_TURNS), np.sin(_TURNS)], axis=1)  # [24, 2]

Colour = tuple[int, int, int]
Points = Sequence[tuple[float, float]]


def draw_picture(present: dict[str, bool], rng: np.random.Generator) -> Image.Image:
    """Draw one picture, RGB, SIZE x SIZE: a garment that shows the given attributes, over a background.

    The same generator state draws the same picture but for the attributes that differ.
    """
    # a generator for each part, so that no attribute shifts the random numbers of another part
    background, clutter, cut, decoration, light = rng.spawn(5)
    canvas = _draw_background(background)
    _draw_clutter(canvas, clutter)
    _Garment(cut).paint(canvas, present, decoration)
    return _photograph(canvas, light)


class _Frame:
    """Maps a drawing's own coordinates (y down) to canvas pixels."""

    def __init__(self, x: float, y: float, scale: float, angle: float) -> None:
        self.origin = np.array([x, y])
        self.scale = scale
        cos, sin = math.cos(angle), math.sin(angle)
        self.matrix = scale * np.array([[cos, -sin], [sin, cos]])

    def __call__(self, points: Points, rounded: int = 0) -> list[tuple[float, float]]:
        """Place points; `rounded` times, each corner is cut at a quarter of its edges (Chaikin)."""
        corners = np.asarray(points, dtype=float)  # [P, 2]
        for _ in range(rounded):
            following = np.roll(corners, -1, axis=0)
            cut = np.stack([0.75 * corners + 0.25 * following, 0.25 * corners + 0.75 * following], axis=1)
            corners = cut.reshape(-1, 2)
        return [(x, y) for x, y in (corners @ self.matrix.T + self.origin).tolist()]

    def ellipse(self, x: float, y: float, width: float, height: float) -> list[tuple[float, float]]:
        """An ellipse about (x, y) with the given half axes, as a polygon."""
        return self(_CIRCLE * (width, height) + (x, y))


class _Garment:
    """The cut, colours and place of one garment; none of them depends on the attributes."""

    def __init__(self, rng: np.random.Generator) -> None:
        x, y = rng.uniform((0.40, 0.50), (0.60, 0.60)) * CANVAS
        self.frame = _Frame(x, y, rng.uniform(0.48, 0.62) * CANVAS, math.radians(rng.uniform(-18, 18)))
        self.fabric = _colour(rng)
        self.trim = _colour(rng, apart_from=(self.fabric,))
        self.neck, self.neck_depth = rng.uniform((0.09, 0.06), (0.13, 0.20))
        self.shoulder = rng.uniform(0.27, 0.33)
        self.chest = self.shoulder * rng.uniform(0.82, 0.95)
        self.waist = self.chest * rng.uniform(0.80, 1.0)
        self.hem, self.hem_y = rng.uniform((0.22, 0.30), (0.40, 0.52))
        self.sleeve_length = rng.uniform(0.42, 0.66)
        self.arm_angles = rng.uniform(0.20, 0.85, size=2)

    def paint(self, canvas: Image.Image, present: dict[str, bool], rng: np.random.Generator) -> None:
        """Draw the garment and its hat, each where the attributes say so, onto the canvas."""
        pattern, shadow, buttons, neck, hat = rng.spawn(5)
        layer = Image.new("RGB", canvas.size, self.fabric)
        if present["stripes"]:
            self._draw_stripes(ImageDraw.Draw(layer), pattern)
        elif pattern.random() < 0.4:
            self._draw_dots(ImageDraw.Draw(layer), pattern)

        *sleeves, torso = self._outline(present["sleeves"])
        _drop_shadow(canvas, _mask_of([*sleeves, torso]), shadow)
        draw = ImageDraw.Draw(canvas)
        for parts in (sleeves, [torso]):  # the torso lies over the sleeves
            if parts:
                canvas.paste(layer, mask=_mask_of(parts))
            for part in parts:
                draw.line([*part, part[0]], fill=_shade(self.fabric, 0.55), width=3, joint="curve")
        if present["buttons"]:
            self._draw_buttons(draw, buttons)
        self._draw_neck(draw, neck)
        if present["hat"]:
            self._draw_hat(canvas, hat)

    def _outline(self, sleeves: bool) -> list[list[tuple[float, float]]]:
        """Polygons on the canvas: the sleeves, where there are any, then the torso."""
        shoulder = self.shoulder if sleeves else 0.72 * self.shoulder
        half = [(self.neck, -0.50), (shoulder, -0.45), (shoulder, -0.44), (0.9 * shoulder, -0.32)]
        half += [(self.chest, -0.22), (self.waist, 0.06), (self.hem, self.hem_y), (self.hem, self.hem_y)]
        torso = [*half, *((-x, y) for x, y in reversed(half))]
        parts = []
        for side, angle in zip((-1, 1), self.arm_angles, strict=True):
            along = np.array([math.sin(angle), math.cos(angle)])
            across = np.array([math.cos(angle), -math.sin(angle)])
            wrist = np.array([self.shoulder - 0.04, -0.40]) + self.sleeve_length * along
            outer, inner = wrist + 0.06 * across, wrist - 0.06 * across
            sleeve = [
                (self.neck, -0.49),
                (self.shoulder, -0.45),
                outer,
                outer,
                inner,
                inner,
                (self.chest, -0.20),
            ]
            parts.append(self.frame([(side * x, y) for x, y in [*sleeve, (0.0, -0.2)]], rounded=2))
        return [*(parts if sleeves else []), self.frame(torso, rounded=2)]

    def _draw_stripes(self, draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
        colour = _colour(rng, apart_from=(self.fabric,))
        width, gap = rng.uniform((0.03, 0.045), (0.06, 0.08))
        direction = rng.choice([0.0, 0.0, math.pi / 2, math.pi / 4, -math.pi / 4]) + rng.uniform(-0.08, 0.08)
        turn = _Frame(0, 0, 1, direction)
        for start in np.arange(-1.6, 1.6, width + gap):
            band = [(-1.6, start), (1.6, start), (1.6, start + width), (-1.6, start + width)]
            draw.polygon(self.frame(turn(band)), fill=colour)

    def _draw_dots(self, draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
        colour = _colour(rng, apart_from=(self.fabric,))
        pitch = rng.uniform(0.11, 0.18)
        radius = pitch * rng.uniform(0.15, 0.3)
        for row, y in enumerate(np.arange(-0.7, 0.7, pitch)):
            for x in np.arange(-1.1, 1.1, pitch) + (row % 2) * pitch / 2:
                draw.polygon(self.frame.ellipse(x, y, radius, radius), fill=colour)

    def _draw_buttons(self, draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
        """A placket down the front with a row of buttons on it."""
        placket = self.trim if rng.random() < 0.5 else self.fabric
        button = _colour(rng, apart_from=(placket,))
        half, radius = rng.uniform((0.045, 0.026), (0.06, 0.036))
        top, bottom = self.neck_depth - 0.5, self.hem_y - 0.02
        strip = [(-half, top), (half, top), (half, bottom), (-half, bottom)]
        draw.polygon(self.frame(strip), fill=placket, outline=_shade(placket, 0.6), width=3)
        for y in np.linspace(top + 0.06, bottom - 0.06, rng.integers(4, 8)):
            draw.polygon(
                self.frame.ellipse(0, y, radius, radius), fill=button, outline=_shade(button, 0.5), width=2
            )

    def _draw_neck(self, draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
        """The opening, round or pointed, with or without a collar."""
        depth = self.neck_depth - 0.5
        middle = (
            [(0.0, depth)] if rng.random() < 0.5 else [(0.6 * self.neck, depth), (-0.6 * self.neck, depth)]
        )
        opening = [(self.neck, -0.495), *middle, (-self.neck, -0.495), (0.0, -0.46)]
        draw.polygon(self.frame(opening), fill=_shade(self.fabric, 0.4))
        if rng.random() < 0.4:
            for side in (-1, 1):
                flap = [
                    (self.neck, -0.53),
                    (self.neck + 0.06, -0.47),
                    (self.neck - 0.01, depth + 0.02),
                    (0.01, depth),
                ]
                place = self.frame([(side * x, y) for x, y in flap])
                draw.polygon(place, fill=self.trim, outline=_shade(self.trim, 0.6), width=3)

    def _draw_hat(self, canvas: Image.Image, rng: np.random.Generator) -> None:
        """A hat with a brim, laid above the neck."""
        (x, y), *_ = self.frame([(rng.uniform(-0.12, 0.12), rng.uniform(-0.68, -0.60))])
        x, y = np.clip((x, y), (0.2 * CANVAS, 0.16 * CANVAS), (0.8 * CANVAS, 0.9 * CANVAS))
        frame = _Frame(x, y, self.frame.scale * rng.uniform(1.0, 1.2), math.radians(rng.uniform(-25, 25)))
        colour = _colour(rng)
        band = _colour(rng, apart_from=(colour,))
        brim, crown, height = rng.uniform((0.30, 0.14, 0.17), (0.35, 0.18, 0.22))
        rim = frame.ellipse(0, 0.02, brim, 0.08)
        dome = [
            (-crown, 0.03),
            (-crown, 0.03),
            (-0.85 * crown, -height),
            (0, -0.9 * height),
            (0.85 * crown, -height),
        ]
        dome = frame([*dome, (crown, 0.03), (crown, 0.03)], rounded=2)
        _drop_shadow(canvas, _mask_of([rim, dome]), rng)
        draw = ImageDraw.Draw(canvas)
        for part in (rim, dome):
            draw.polygon(part, fill=colour, outline=_shade(colour, 0.55), width=3)
        strip = [(-0.97 * crown, -0.06), (0.97 * crown, -0.06), (0.99 * crown, 0.02), (-0.99 * crown, 0.02)]
        draw.polygon(frame(strip), fill=band)


def _draw_background(rng: np.random.Generator) -> Image.Image:
    """Soft blotches of one colour under planks, tiles, wallpaper, speckles or nothing."""
    base = np.array(_colour(rng, vivid=0.5, darkest=0.4))
    blotches = np.clip(base + rng.normal(0, 18, size=(3, 3, 1)) + rng.normal(0, 6, size=(3, 3, 3)), 0, 255)
    canvas = Image.fromarray(blotches.astype(np.uint8)).resize((CANVAS, CANVAS), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(canvas)
    ink = _shade(tuple(base.tolist()), rng.choice([0.75, 0.85, 1.15]))
    frame = _Frame(CANVAS / 2, CANVAS / 2, CANVAS, rng.uniform(-math.pi, math.pi))
    kind = rng.choice(["plain", "planks", "tiles", "wallpaper", "speckles"])
    pitch = rng.uniform(0.06, 0.2)
    if kind in ("planks", "tiles", "wallpaper"):
        width = int(pitch * CANVAS / 2) if kind == "wallpaper" else 4
        for place in np.arange(-0.8, 0.8, pitch):
            draw.line(frame([(-0.8, place), (0.8, place)]), fill=ink, width=width)
            if kind == "tiles":
                draw.line(frame([(place, -0.8), (place, 0.8)]), fill=ink, width=width)
    elif kind == "speckles":
        for x, y in rng.uniform(0, CANVAS, size=(150, 2)).tolist():
            draw.ellipse((x, y, x + 7, y + 7), fill=ink)
    return canvas


def _draw_clutter(canvas: Image.Image, rng: np.random.Generator) -> None:
    """Things that lie about, some of them half under the garment."""
    draw = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(0, 6)):
        x, y = rng.uniform(0, CANVAS, size=2)
        frame = _Frame(x, y, rng.uniform(0.06, 0.16) * CANVAS, rng.uniform(-math.pi, math.pi))
        colour = _colour(rng)
        edge = _shade(colour, 0.6)
        kind = rng.choice(["disc", "box", "triangle", "ring", "bar"])
        if kind == "disc":
            draw.polygon(frame.ellipse(0, 0, 0.5, 0.5), fill=colour, outline=edge, width=3)
        elif kind == "ring":
            draw.line(
                [*(ring := frame.ellipse(0, 0, 0.5, 0.4)), ring[0]], fill=colour, width=10, joint="curve"
            )
        elif kind == "triangle":
            draw.polygon(
                frame([(-0.5, 0.4), (0.5, 0.4), (0, -0.5)], rounded=2), fill=colour, outline=edge, width=3
            )
        else:
            half = 0.4 if kind == "box" else 0.1
            box = [(-0.7, -half), (0.7, -half), (0.7, half), (-0.7, half)]
            draw.polygon(frame(box), fill=colour, outline=edge, width=3)


def _mask_of(polygons: Sequence[Points]) -> Image.Image:
    mask = Image.new("L", (CANVAS, CANVAS), 0)
    draw = ImageDraw.Draw(mask)
    for polygon in polygons:
        draw.polygon(polygon, fill=255)
    return mask


def _drop_shadow(canvas: Image.Image, shape: Image.Image, rng: np.random.Generator) -> None:
    # blurred at an eighth of the size, which costs a sixty-fourth and looks the same
    small = shape.reduce(8).filter(ImageFilter.GaussianBlur(1.5)).point(lambda value: value // 2)
    dx, dy = rng.integers(4, 16, size=2).tolist()
    canvas.paste((20, 20, 25), (dx, dy), small.resize(canvas.size, Image.Resampling.BILINEAR))


def _photograph(canvas: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Reduce to the final size and add uneven light and noise."""
    pixels = np.asarray(canvas.reduce(CANVAS // SIZE), dtype=np.float32)  # [H, W, 3]
    across = np.linspace(-1, 1, SIZE, dtype=np.float32)
    slope_x, slope_y = rng.uniform(-0.15, 0.15, size=2)
    light = rng.uniform(0.85, 1.1) + slope_x * across[None, :] + slope_y * across[:, None]  # [H, W]
    noise = rng.uniform(1, 6) * rng.standard_normal((SIZE, SIZE, 1), dtype=np.float32)
    lit = pixels * light[:, :, None].astype(np.float32) + noise
    return Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))


def _colour(
    rng: np.random.Generator, vivid: float = 1.0, darkest: float = 0.3, apart_from: Sequence[Colour] = ()
) -> Colour:
    """Any colour, but one that can be told from the given ones."""
    while True:
        hue, saturation, value = rng.uniform((0, 0.05, darkest), (1, 0.9 * vivid, 1))
        red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))
        if all(math.dist((red, green, blue), other) > 130 for other in apart_from):
            return red, green, blue


def _shade(colour: Sequence[int], factor: float) -> Colour:
    red, green, blue = (min(255, int(part * factor)) for part in colour)
    return red, green, blue
