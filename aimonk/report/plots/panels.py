"""A grid of panels, one for each attribute."""

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from aimonk.report.plots.figure import DPI, GREY, font_families, to_png
from aimonk.report.tables import shorten

MOST_PANELS = 24
TITLE_HEIGHT, BELOW, LEGEND_HEIGHT = 0.24, 0.38, 0.3  # inches above a panel, below it, and of the legend
SCALE = 1.32  # pixels of a picture per CSS pixel
COLUMNS, WIDTH, WIDEST = 4, 10.4, 3.4  # panels in a row, inches of a row and of a panel at most


def hardest(scores: dict, most: int = MOST_PANELS) -> list[int]:
    """Indices of the attributes to draw: all in their order, or those with the lowest AUROC, lowest first."""
    entries = list(scores["attributes"].values())
    if len(entries) <= most:
        return list(range(len(entries)))
    auroc = [2.0 if entry["auroc"] is None else entry["auroc"] for entry in entries]
    return np.argsort(auroc, kind="stable")[:most].tolist()


def make_panels(scores: dict, shown: list[int], title: str) -> tuple[Figure, list[tuple[Axes, int, dict]]]:
    """A figure with an empty panel for each attribute in `shown`: axes, attribute index, attribute scores."""
    columns = max(1, min(COLUMNS, len(shown)))
    rows = -(-len(shown) // columns)
    side = min(WIDEST, WIDTH / columns)
    width, height = max(side * columns, WIDEST), (side + 0.12) * rows + 0.75
    figure = Figure(figsize=(width, height), dpi=DPI)
    # fixed margins: a layout engine takes seconds with two dozen panels
    figure.subplots_adjust(
        left=0.6 / width,
        right=1 - 0.2 / width,
        bottom=0.75 / height,
        top=1 - 0.72 / height,
        wspace=0.24,
        hspace=0.42,
    )
    figure.suptitle(title, fontsize=11, y=1 - 0.2 / height, fontweight="bold")
    longest = round(6.5 * side)  # letters that leave room for a score to their right
    entries, panels = list(scores["attributes"].items()), []
    for i, a in enumerate(shown, start=1):
        name, entry = entries[a]
        axes = figure.add_subplot(rows, columns, i)
        # names are printed literally: a dollar sign starts no formula
        axes.set_title(
            shorten(name, longest), loc="left", fontsize=9, fontfamily=font_families(), parse_math=False
        )
        axes.tick_params(labelsize=7.5, length=2, color=GREY)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(GREY)
        panels.append((axes, a, entry))
    return figure, panels


def set_unit_square(axes: Axes, x_label: str, y_label: str) -> None:
    """Both axes from 0 to 1."""
    ticks, limits = [0, 0.5, 1], (-0.03, 1.03)
    axes.set(xlim=limits, ylim=limits, xticks=ticks, yticks=ticks)
    axes.set_xticklabels(["0", ".5", "1"])
    axes.set_yticklabels(["0", ".5", "1"])
    axes.set_xlabel(x_label, fontsize=8, labelpad=1)
    if axes.get_subplotspec().is_first_col():
        axes.set_ylabel(y_label, fontsize=8, labelpad=3)


def add_score(axes: Axes, score: str) -> None:
    """A score in small print to the right of a panel's name."""
    axes.set_title(score, loc="right", fontsize=8, color=GREY)


def add_reason(axes: Axes, reason: str) -> None:
    """The reason why a panel is empty."""
    axes.text(0.5, 0.5, reason, ha="center", va="center", fontsize=8.5, color=GREY, transform=axes.transAxes)


def add_legend(figure: Figure) -> None:
    """One legend for all panels, at the bottom; each label once."""
    found = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if found:
        columns = 4 if figure.get_figwidth() > 6 else 2
        style = {"loc": "lower center", "ncols": columns, "fontsize": 8, "frameon": False}
        figure.legend(found.values(), found.keys(), **style)


def split_panels(figure: Figure, png: bytes) -> tuple[list[tuple[bytes, int]], tuple[bytes, int] | None]:
    """The panels of a figure, and its legend if it has one, as PNGs with their widths in CSS pixels.

    A page can arrange them in as many columns as it has room for.

    Args:
        png: The figure as `save` returns it.
    """
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    height, width = pixels.shape[:2]
    places = [axes.get_position() for axes in figure.axes]  # from the bottom, as shares of the figure
    across = sorted({round(place.x0, 6) for place in places})
    gap_x = (1 - places[0].x1) if len(across) < 2 else across[1] - places[0].x1
    title, below = TITLE_HEIGHT / figure.get_figheight(), BELOW / figure.get_figheight()
    parts = []
    for place in places:
        left = 0.0 if round(place.x0, 6) == across[0] else place.x0 - 0.75 * gap_x
        right = min(1.0, place.x1 + 0.25 * gap_x)
        rows = slice(round((1 - place.y1 - title) * height), round((1 - place.y0 + below) * height))
        part = pixels[rows, round(left * width) : round(right * width)]
        parts.append((to_png(part), round(part.shape[1] / SCALE)))
    if not figure.legends:
        return parts, None
    legend = pixels[-round(LEGEND_HEIGHT * DPI) :]
    columns = np.flatnonzero((legend < 250).any(axis=(0, 2)))
    legend = legend[:, max(0, columns[0] - 8) : columns[-1] + 8]
    return parts, (to_png(legend), round(legend.shape[1] / SCALE))
