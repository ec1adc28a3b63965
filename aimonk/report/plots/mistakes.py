"""The picture of a model's worst mistakes."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.transforms import IdentityTransform

from aimonk.report.mistakes import MOST_SHOWN, Mistakes
from aimonk.report.plots.figure import DPI, GREY, font_families
from aimonk.report.tables import short, shorten
from aimonk.report.thumbnails import SIDE

GAP, TOP, STEP, ROW = 10, 62, SIDE + 10, SIDE + 48  # pixels
UNREADABLE = 236  # grey level of a missing image
HEADINGS = ("absent, predicted present", "present, predicted absent")


def plot_mistakes(
    mistakes: Sequence[Mistakes], thumbnails: dict[int, np.ndarray], names: Sequence[str], title: str
) -> Figure:
    """A row for each attribute, with false positives on the left and false negatives on the right.

    Args:
        names: Image names by row of the label table.
    """
    width, height = 2 * MOST_SHOWN * STEP + 5 * GAP, TOP + ROW * len(mistakes)
    canvas = np.full((height, width, 3), 255, dtype=np.uint8)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)

    def write(x: int, y: int, content: str, **style) -> None:
        # in pixels from the top left corner, like the thumbnails
        position = {"transform": IdentityTransform(), "fontfamily": font_families(), "parse_math": False}
        figure.text(x, height - y, content, **position, **style)

    write(2 * GAP, 24, title, fontsize=9, fontweight="bold")
    columns = (2 * GAP, MOST_SHOWN * STEP + 4 * GAP)
    for left, heading in zip(columns, HEADINGS, strict=True):
        write(left, 52, heading, fontsize=7, color=GREY)
    for i, mistake in enumerate(mistakes):
        top = TOP + i * ROW + 20
        sides = (mistake.false_positives, mistake.false_negatives)
        for left, side, count in zip(columns, sides, mistake.counts, strict=True):
            write(left, top - 6, f"{shorten(mistake.attribute, 34)}: {count or 'none'}", fontsize=7)
            for k, (row, prob) in enumerate(side[:MOST_SHOWN]):
                x = left + k * STEP
                canvas[top : top + SIDE, x : x + SIDE] = thumbnails.get(row, UNREADABLE)
                file = names[row].rsplit("/", 1)[-1]
                write(x, top + SIDE + 12, f"{short(prob)} {shorten(file, 13)}", fontsize=5, color=GREY)
    figure.figimage(canvas)
    return figure
