"""Drawings of garments with given attributes."""

import math

import numpy as np
from PIL import Image, ImageDraw

from aimonk.data.demo.drawing import CANVAS, Frame, drop_shadow, mask_of, pick_colour, shade


class Garment:
    """Cut, colours and position of a garment, independent of its attributes."""

    def __init__(self, rng: np.random.Generator) -> None:
        x, y = rng.uniform((0.40, 0.50), (0.60, 0.60)) * CANVAS
        self.frame = Frame(x, y, rng.uniform(0.48, 0.62) * CANVAS, math.radians(rng.uniform(-18, 18)))
        self.fabric = pick_colour(rng)
        self.trim = pick_colour(rng, apart_from=(self.fabric,))
        self.neck, self.neck_depth = rng.uniform((0.09, 0.06), (0.13, 0.20))
        self.shoulder = rng.uniform(0.27, 0.33)
        self.chest = self.shoulder * rng.uniform(0.82, 0.95)
        self.waist = self.chest * rng.uniform(0.80, 1.0)
        self.hem, self.hem_y = rng.uniform((0.22, 0.30), (0.40, 0.52))
        self.sleeve_length = rng.uniform(0.42, 0.66)
        self.arm_angles = rng.uniform(0.20, 0.85, size=2)

    def paint(self, canvas: Image.Image, present: dict[str, bool], rng: np.random.Generator) -> None:
        """Draw the garment with the given attributes onto the canvas."""
        pattern, shadow, buttons, neck, hat = rng.spawn(5)
        layer = Image.new("RGB", canvas.size, self.fabric)
        if present["stripes"]:
            self._draw_stripes(ImageDraw.Draw(layer), pattern)
        elif pattern.random() < 0.4:
            self._draw_dots(ImageDraw.Draw(layer), pattern)

        *sleeves, torso = self._outline(present["sleeves"])
        drop_shadow(canvas, mask_of([*sleeves, torso]), shadow)
        draw = ImageDraw.Draw(canvas)
        for parts in (sleeves, [torso]):  # the torso covers the sleeves
            if parts:
                canvas.paste(layer, mask=mask_of(parts))
            for part in parts:
                draw.line([*part, part[0]], fill=shade(self.fabric, 0.55), width=3, joint="curve")
        if present["buttons"]:
            self._draw_buttons(draw, buttons)
        self._draw_neck(draw, neck)
        if present["hat"]:
            self._draw_hat(canvas, hat)

    def _outline(self, sleeves: bool) -> list[list[tuple[float, float]]]:
        """Polygons on the canvas: the sleeves, if any, then the torso."""
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
            sleeve = [(self.neck, -0.49), (self.shoulder, -0.45), outer, outer, inner, inner]
            sleeve += [(self.chest, -0.20), (0.0, -0.2)]
            parts.append(self.frame([(side * x, y) for x, y in sleeve], rounded=2))
        return [*(parts if sleeves else []), self.frame(torso, rounded=2)]

    def _draw_stripes(self, draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
        colour = pick_colour(rng, apart_from=(self.fabric,))
        width, gap = rng.uniform((0.03, 0.045), (0.06, 0.08))
        direction = rng.choice([0.0, 0.0, math.pi / 2, math.pi / 4, -math.pi / 4]) + rng.uniform(-0.08, 0.08)
        turn = Frame(0, 0, 1, direction)
        for start in np.arange(-1.6, 1.6, width + gap):
            band = [(-1.6, start), (1.6, start), (1.6, start + width), (-1.6, start + width)]
            draw.polygon(self.frame(turn(band)), fill=colour)

    def _draw_dots(self, draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
        colour = pick_colour(rng, apart_from=(self.fabric,))
        pitch = rng.uniform(0.11, 0.18)
        radius = pitch * rng.uniform(0.15, 0.3)
        for row, y in enumerate(np.arange(-0.7, 0.7, pitch)):
            for x in np.arange(-1.1, 1.1, pitch) + (row % 2) * pitch / 2:
                draw.polygon(self.frame.ellipse(x, y, radius, radius), fill=colour)

    def _draw_buttons(self, draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
        """Draw a placket with a row of buttons."""
        placket = self.trim if rng.random() < 0.5 else self.fabric
        button = pick_colour(rng, apart_from=(placket,))
        half, radius = rng.uniform((0.045, 0.026), (0.06, 0.036))
        top, bottom = self.neck_depth - 0.5, self.hem_y - 0.02
        strip = [(-half, top), (half, top), (half, bottom), (-half, bottom)]
        draw.polygon(self.frame(strip), fill=placket, outline=shade(placket, 0.6), width=3)
        for y in np.linspace(top + 0.06, bottom - 0.06, rng.integers(4, 8)):
            draw.polygon(
                self.frame.ellipse(0, y, radius, radius), fill=button, outline=shade(button, 0.5), width=2
            )

    def _draw_neck(self, draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
        """Draw the neckline, round or pointed, with or without a collar."""
        depth = self.neck_depth - 0.5
        is_pointed = rng.random() < 0.5
        middle = [(0.0, depth)] if is_pointed else [(0.6 * self.neck, depth), (-0.6 * self.neck, depth)]
        opening = [(self.neck, -0.495), *middle, (-self.neck, -0.495), (0.0, -0.46)]
        draw.polygon(self.frame(opening), fill=shade(self.fabric, 0.4))
        if rng.random() < 0.4:
            for side in (-1, 1):
                flap = [(self.neck, -0.53), (self.neck + 0.06, -0.47)]
                flap += [(self.neck - 0.01, depth + 0.02), (0.01, depth)]
                place = self.frame([(side * x, y) for x, y in flap])
                draw.polygon(place, fill=self.trim, outline=shade(self.trim, 0.6), width=3)

    def _draw_hat(self, canvas: Image.Image, rng: np.random.Generator) -> None:
        """Draw a hat with a brim above the neck."""
        (x, y), *_ = self.frame([(rng.uniform(-0.12, 0.12), rng.uniform(-0.68, -0.60))])
        x, y = np.clip((x, y), (0.2 * CANVAS, 0.16 * CANVAS), (0.8 * CANVAS, 0.9 * CANVAS))
        frame = Frame(x, y, self.frame.scale * rng.uniform(1.0, 1.2), math.radians(rng.uniform(-25, 25)))
        colour = pick_colour(rng)
        band = pick_colour(rng, apart_from=(colour,))
        brim, crown, height = rng.uniform((0.30, 0.14, 0.17), (0.35, 0.18, 0.22))
        rim = frame.ellipse(0, 0.02, brim, 0.08)
        dome = [(-crown, 0.03), (-crown, 0.03), (-0.85 * crown, -height), (0, -0.9 * height)]
        dome += [(0.85 * crown, -height), (crown, 0.03), (crown, 0.03)]
        dome = frame(dome, rounded=2)
        drop_shadow(canvas, mask_of([rim, dome]), rng)
        draw = ImageDraw.Draw(canvas)
        for part in (rim, dome):
            draw.polygon(part, fill=colour, outline=shade(colour, 0.55), width=3)
        strip = [(-0.97 * crown, -0.06), (0.97 * crown, -0.06), (0.99 * crown, 0.02), (-0.99 * crown, 0.02)]
        draw.polygon(frame(strip), fill=band)
