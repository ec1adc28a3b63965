"""The picture of predictions for images."""

import logging
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from aimonk.data.images.decoding import decode
from aimonk.report.plots.figure import save
from aimonk.report.predictions import Prediction

log = logging.getLogger(__name__)

MAX_IMAGES = 12


def plot_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """Write a PNG of the first images next to bars of their probabilities; dark bars are present."""
    shown = predictions[:MAX_IMAGES]
    height = max(2.2, 0.28 * max(len(prediction.probs) for prediction in shown))
    figure = Figure(figsize=(7, height * len(shown)), dpi=120, layout="constrained")
    axes = figure.subplots(len(shown), 2, squeeze=False, width_ratios=[1, 1.6])
    for (left, right), prediction in zip(axes, shown, strict=True):
        left.imshow(decode(Path(prediction.image), 448, "pad"))
        left.set_axis_off()
        left.set_title(Path(prediction.image).name, fontsize=9, parse_math=False)
        names, probs = list(prediction.probs), list(prediction.probs.values())
        colors = ["tab:blue" if name in prediction.present else "lightsteelblue" for name in names]
        bars = right.barh(list(range(len(probs))), probs, color=colors)
        right.bar_label(bars, [f"{p:.2f}" for p in probs], padding=3, fontsize=8)
        right.set_yticks(range(len(names)), names, fontsize=9, parse_math=False)
        right.set(xlim=(0, 1.15), xticks=[0, 0.5, 1])
        right.invert_yaxis()
        right.spines[["top", "right"]].set_visible(False)
    save(figure, path)
    if len(predictions) > MAX_IMAGES:
        log.info("the picture shows the first %d of %d images", MAX_IMAGES, len(predictions))
