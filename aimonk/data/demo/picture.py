"""Pictures of the demo: a garment over a background with clutter, under uneven light."""

import math

import numpy as np
from PIL import Image, ImageDraw

from aimonk.data.demo.drawing import CANVAS, SIZE, Frame, pick_colour, shade
from aimonk.data.demo.garment import Garment


def draw_picture(present: dict[str, bool], rng: np.random.Generator) -> Image.Image:
    """Draw a picture, RGB, SIZE x SIZE, of a garment with the given attributes.

    Pictures from equal generator states differ only where their attributes differ.
    """
    # a generator for each part, so that attributes do not affect the random numbers of other parts
    background, clutter, cut, decoration, light = rng.spawn(5)
    canvas = _draw_background(background)
    _draw_clutter(canvas, clutter)
    Garment(cut).paint(canvas, present, decoration)
    return _photograph(canvas, light)


def _draw_background(rng: np.random.Generator) -> Image.Image:
    """Blotches of one colour, plain or under planks, tiles, wallpaper or speckles."""
    base = np.array(pick_colour(rng, vivid=0.5, darkest=0.4))
    blotches = np.clip(base + rng.normal(0, 18, size=(3, 3, 1)) + rng.normal(0, 6, size=(3, 3, 3)), 0, 255)
    canvas = Image.fromarray(blotches.astype(np.uint8)).resize((CANVAS, CANVAS), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(canvas)
    ink = shade(tuple(base.tolist()), rng.choice([0.75, 0.85, 1.15]))
    frame = Frame(CANVAS / 2, CANVAS / 2, CANVAS, rng.uniform(-math.pi, math.pi))
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
    """Draw random objects, some of which the garment covers in part."""
    draw = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(0, 6)):
        x, y = rng.uniform(0, CANVAS, size=2)
        frame = Frame(x, y, rng.uniform(0.06, 0.16) * CANVAS, rng.uniform(-math.pi, math.pi))
        colour = pick_colour(rng)
        kind = rng.choice(["disc", "box", "triangle", "ring", "bar"])
        if kind == "ring":
            ring = frame.ellipse(0, 0, 0.5, 0.4)
            draw.line([*ring, ring[0]], fill=colour, width=10, joint="curve")
            continue
        if kind == "disc":
            shape = frame.ellipse(0, 0, 0.5, 0.5)
        elif kind == "triangle":
            shape = frame([(-0.5, 0.4), (0.5, 0.4), (0, -0.5)], rounded=2)
        else:
            half = 0.4 if kind == "box" else 0.1
            shape = frame([(-0.7, -half), (0.7, -half), (0.7, half), (-0.7, half)])
        draw.polygon(shape, fill=colour, outline=shade(colour, 0.6), width=3)


def _photograph(canvas: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Reduce to the final size and add uneven light and noise."""
    pixels = np.asarray(canvas.reduce(CANVAS // SIZE), dtype=np.float32)  # [H, W, 3]
    across = np.linspace(-1, 1, SIZE, dtype=np.float32)
    slope_x, slope_y = rng.uniform(-0.15, 0.15, size=2)
    light = rng.uniform(0.85, 1.1) + slope_x * across[None, :] + slope_y * across[:, None]  # [H, W]
    noise = rng.uniform(1, 6) * rng.standard_normal((SIZE, SIZE, 1), dtype=np.float32)
    lit = pixels * light[:, :, None].astype(np.float32) + noise
    return Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))
