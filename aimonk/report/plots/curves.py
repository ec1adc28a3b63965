"""Precision-recall curves and reliability diagrams with a panel for each attribute."""

import numpy as np
from matplotlib.figure import Figure

from aimonk.evaluation.intervals import wilson_limits
from aimonk.evaluation.kernels import CALIBRATION_BINS, Predictions, calibration_bins, rankings
from aimonk.report.plots.figure import BLUE, GREY, ORANGE
from aimonk.report.plots.panels import add_legend, add_reason, add_score, make_panels, set_unit_square
from aimonk.report.tables import short, undefined_reason

MOST_POINTS = 2000  # of one curve
STRIP = -0.34  # lower edge of the columns below a reliability diagram


def plot_precision_recall(
    labels: np.ndarray, mask: np.ndarray, probs: np.ndarray, scores: dict, shown: list[int], title: str
) -> Figure:
    """Precision over recall for each attribute, with its chance line and the point at its threshold.

    Args:
        labels: 0 or 1, [n, A]; ignored where mask is False.
        mask: True where the label is known, [n, A].
        probs: [n, A].
        scores: As `metrics.score`, of the same predictions.
        shown: Indices of the attributes to draw.
    """
    figure, panels = make_panels(scores, shown, title)
    for axes, a, entry in panels:
        known = mask[:, a]
        set_unit_square(axes, "recall", "precision")
        if entry["ap"] is None:
            add_reason(axes, undefined_reason(entry))
            continue
        recall, precision = precision_recall(labels[known, a], probs[known, a])
        axes.axhline(entry["prevalence"], color=GREY, linewidth=1.2, linestyle="--", label="chance")
        # with these steps, the area below the curve is the AP
        axes.plot(recall, precision, color=BLUE, linewidth=1.8, drawstyle="steps-pre", label="precision")
        if entry["precision"] is not None:
            point = (entry["recall"], entry["precision"])
            axes.plot(
                *point, "o", color=ORANGE, markersize=6, markeredgecolor="white", label="at the threshold"
            )
        add_score(axes, f"AP {short(entry['ap'])} | {short(entry['chance']['ap'])}")
    add_legend(figure)
    return figure


def precision_recall(labels: np.ndarray, probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision at recall 0 and at each probability of a positive, highest probability first.

    Args:
        labels: 0 or 1, at least one of them 1, [n].
        probs: [n].
    """
    known = np.ones((len(labels), 1), dtype=bool)
    (ranking,) = rankings(Predictions(labels[:, None] == 1, known, probs[:, None], known))
    tp = ranking.ends + 1
    recall, precision = tp / len(ranking.positives), tp / (tp + ranking.upto)
    if len(recall) > MOST_POINTS:
        kept = np.linspace(0, len(recall) - 1, MOST_POINTS).round().astype(int)
        recall, precision = recall[kept], precision[kept]
    return np.append(0, recall), np.append(precision[0], precision)


def plot_reliability(
    labels: np.ndarray, mask: np.ndarray, probs: np.ndarray, scores: dict, shown: list[int], title: str
) -> Figure:
    """Share of positives over mean probability for each attribute, in the bins of the calibration error.

    Arguments as in `plot_precision_recall`. Whiskers are 95 % Wilson limits, columns the number of entries.
    """
    figure, panels = make_panels(scores, shown, title)
    for axes, a, entry in panels:
        known = mask[:, a]
        set_unit_square(axes, "probability", "share present")
        if not known.any():
            add_reason(axes, undefined_reason(entry))
            continue
        counts, means, shares = reliability(labels[known, a], probs[known, a])
        filled = counts > 0
        centres = (np.arange(CALIBRATION_BINS) + 0.5) / CALIBRATION_BINS
        # the columns have a strip of their own below the points
        heights = 0.2 * counts / counts.max()
        axes.bar(centres, heights, 0.085, STRIP, color=GREY, alpha=0.3, label="number of entries")
        for x, y, count in zip(centres[filled], heights[filled], counts[filled], strict=True):
            axes.text(x, STRIP + y + 0.01, f"{count:,}", ha="center", va="bottom", fontsize=5.5, color=GREY)
        axes.set_ylim(STRIP, 1.03)
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1.2, linestyle="--", label="perfect calibration")
        low, high = wilson_limits(shares[filled], counts[filled])
        off = np.abs([shares[filled] - low, high - shares[filled]])
        style = {"color": BLUE, "fmt": "o", "markersize": 5, "linewidth": 1.3}
        axes.errorbar(means[filled], shares[filled], off, label="share present", **style)
        add_score(axes, f"error {short(entry['ece'])}")
    add_legend(figure)
    return figure


def reliability(labels: np.ndarray, probs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number of entries, mean probability and share of positives of each bin; nan where it is empty."""
    bins = calibration_bins(probs)
    counts, prob_sums, positives = (
        np.bincount(bins, weights, CALIBRATION_BINS) for weights in (None, probs, labels.astype(float))
    )
    empty = np.full(CALIBRATION_BINS, np.nan)
    return counts, *(
        np.divide(sums, counts, out=empty.copy(), where=counts > 0) for sums in (prob_sums, positives)
    )
