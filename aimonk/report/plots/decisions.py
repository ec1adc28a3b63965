"""Confusion matrices with a panel for each attribute."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from aimonk.report.plots.figure import BLUE, ORANGE
from aimonk.report.plots.panels import add_reason, make_panels
from aimonk.report.tables import undefined_reason


def plot_decisions(scores: dict, shown: list[int], title: str) -> Figure:
    """Counts of the 2x2 table of each attribute, and their share of the row.

    Args:
        scores: As `metrics.score`.
        shown: Indices of the attributes to draw.
    """
    figure, panels = make_panels(scores, shown, title)
    for axes, _, entry in panels:
        if not entry["known"]:
            axes.set_axis_off()
            add_reason(axes, undefined_reason(entry))
            continue
        counts = np.array([[entry["tp"], entry["fn"]], [entry["fp"], entry["tn"]]])
        totals = counts.sum(axis=1, keepdims=True)
        shares = np.divide(counts, totals, out=np.zeros((2, 2)), where=totals > 0)
        axes.set(xlim=(-0.5, 1.5), ylim=(1.5, -0.5))
        for (i, j), count in np.ndenumerate(counts):
            # correct decisions are on the diagonal
            patch = Rectangle((j - 0.49, i - 0.49), 0.98, 0.98, facecolor=BLUE if i == j else ORANGE)
            patch.set_alpha(0.04 + 0.7 * shares[i, j])
            axes.add_patch(patch)
            share = f"{shares[i, j]:.0%}" if totals[i, 0] else "-"
            axes.text(j, i - 0.08, f"{count:,}", ha="center", va="center", fontsize=12)
            axes.text(j, i + 0.24, share, ha="center", va="center", fontsize=8)
        axes.set_xticks([0, 1], ["predicted present", "predicted absent"])
        axes.set_yticks([0, 1], ["actually present", "actually absent"], rotation=90, va="center")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure
