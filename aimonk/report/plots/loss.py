"""The loss curve of a run."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from aimonk.report.plots.figure import save

X_LABEL, Y_LABEL = "iteration_number", "training_loss"


def plot_loss(path: Path, losses: list[float], epochs: list[dict], chosen: int | None, title: str) -> None:
    """Write the loss curve: raw values thin, smoothed ones bold, and loss and mean AP of validation images.

    Args:
        losses: Training loss of each iteration.
        epochs: For each epoch, the number of its last `iteration`, and `val_loss` and `mean_ap` or None.
        chosen: The iteration whose weights were kept; None marks none.
    """
    # without pyplot, whose global state the jobs of a sweep would share
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    iterations = np.arange(1, len(losses) + 1)
    axes.plot(iterations, losses, color="tab:blue", linewidth=0.6, alpha=0.4, label="each iteration")
    axes.plot(iterations, smooth(np.array(losses)), color="tab:blue", linewidth=2.2, label="smoothed")
    validated = [(e["iteration"], e["val_loss"]) for e in epochs if e.get("val_loss") is not None]
    if validated:
        axes.plot(*zip(*validated, strict=True), "o-", color="tab:orange", markersize=4, label="validation")
        if chosen is not None:
            axes.axvline(chosen, color="tab:gray", linewidth=1, linestyle=":", label="kept weights")
    # a quantile, since single spikes at the start would flatten the rest
    top = np.quantile(losses, 0.995) if len(losses) > 20 else max(losses, default=1)
    top = max([top, *(loss for _, loss in validated)])
    axes.set_title(title, parse_math=False)
    bottom = 1.08 * min([0, *losses])  # missing=entropy may have a negative loss
    axes.set(xlabel=X_LABEL, ylabel=Y_LABEL, ylim=(bottom, 1.08 * top if top > 0 else 1))
    axes.grid(alpha=0.25)
    scored = [(e["iteration"], e["mean_ap"]) for e in epochs if e.get("mean_ap") is not None]
    handles, labels = axes.get_legend_handles_labels()
    if scored:
        right = axes.twinx()
        handles += right.plot(
            *zip(*scored, strict=True), "s--", color="tab:green", markersize=4, linewidth=1.2
        )
        labels.append("validation mean AP, right axis")
        right.set(ylim=(0, 1.02), ylabel="validation mean AP")
    axes.legend(handles, labels, frameon=False, loc="center right")
    save(figure, path)


def smooth(values: np.ndarray) -> np.ndarray:
    """Centred moving average over a twentieth of the curve, with shorter windows at its ends, [n]."""
    half = max(1, len(values) // 40)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    i = np.arange(len(values))
    reach = np.minimum(half, np.minimum(i, len(values) - 1 - i))
    return (sums[i + reach + 1] - sums[i - reach]) / (2 * reach + 1)
