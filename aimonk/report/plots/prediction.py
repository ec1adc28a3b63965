"""A picture of what a model says of images."""

import logging
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from aimonk.data.images.decoding import decode
from aimonk.report.plots.loss import save
from aimonk.report.predictions import Answer

log = logging.getLogger(__name__)

DRAWN = 12  # images in a picture at most


def draw(path: Path, answers: Sequence[Answer]) -> None:
    """A PNG picture of the first images, each beside its probabilities; what is present is dark."""
    shown = answers[:DRAWN]
    rows = max(1, len(shown))
    tall = max(2.2, 0.28 * max((len(answer.probs) for answer in shown), default=1))
    figure = Figure(figsize=(7, tall * rows), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 2, squeeze=False, width_ratios=[1, 1.6])
    for (left, right), answer in zip(axes, shown, strict=True):
        left.imshow(decode(Path(answer.image), 448, "pad"))
        left.set_axis_off()
        left.set_title(Path(answer.image).name, fontsize=9, parse_math=False)
        colors = ["tab:blue" if name in answer.present else "lightsteelblue" for name in answer.probs]
        bars = right.barh(list(range(len(answer.probs))), list(answer.probs.values()), color=colors)
        right.bar_label(bars, [f"{p:.2f}" for p in answer.probs.values()], padding=3, fontsize=8)
        right.set_yticks(range(len(answer.probs)), list(answer.probs), fontsize=9, parse_math=False)
        right.set(xlim=(0, 1.15), xticks=[0, 0.5, 1])
        right.invert_yaxis()
        right.spines[["top", "right"]].set_visible(False)
    save(figure, path)
    if len(answers) > DRAWN:
        log.info("the picture shows the first %d of %d images", DRAWN, len(answers))
