"""Pictures with a panel for each attribute: precision and recall, reliability, the 2x2 table."""

from functools import cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.patches import Rectangle

from aimonk.evaluation.intervals import Z
from aimonk.evaluation.kernels import CALIBRATION_BINS
from aimonk.report.tables import short, shorten

# of Okabe and Ito's palette, told apart with every kind of colour vision
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#6b7280"
PANELS = 24  # attributes in one picture
COLUMNS, WIDTH, WIDEST = 4, 10.4, 3.4  # panels in a row, inches of a row and of a panel at most
DPI = 130
MOST_POINTS = 2000  # of one curve
STRIP = -0.34  # where the columns below a reliability diagram start
WIDE_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Arial Unicode MS",
    "Microsoft YaHei",
    "Malgun Gothic",
    "PingFang SC",
    "WenQuanYi Zen Hei",
)


def hardest(scores: dict, most: int = PANELS) -> list[int]:
    """Indices of the attributes to draw: all in their order, or those with the lowest AUROC, lowest first."""
    entries = list(scores["attributes"].values())
    if len(entries) <= most:
        return list(range(len(entries)))
    auroc = [2.0 if entry["auroc"] is None else entry["auroc"] for entry in entries]
    return np.argsort(auroc, kind="stable")[:most].tolist()


def panels(names: list[str], title: str) -> tuple[Figure, list[Axes]]:
    """A figure with an empty panel for each name."""
    columns = max(1, min(COLUMNS, len(names)))
    rows = -(-len(names) // columns)
    side = min(WIDEST, WIDTH / columns)
    width, height = max(side * columns, WIDEST), (side + 0.12) * rows + 0.75
    figure = Figure(figsize=(width, height), dpi=DPI)
    # fixed margins: working them out takes seconds with two dozen panels
    figure.subplots_adjust(
        left=0.6 / width,
        right=1 - 0.2 / width,
        bottom=0.75 / height,
        top=1 - 0.72 / height,
        wspace=0.24,
        hspace=0.42,
    )
    figure.suptitle(title, fontsize=11, y=1 - 0.2 / height, fontweight="bold")
    longest = round(6.5 * side)  # letters that leave room for a figure beside them
    grid = []
    for i, name in enumerate(names, start=1):
        axes = figure.add_subplot(rows, columns, i)
        # names are shown as they are: a dollar sign starts no formula
        axes.set_title(
            shorten(name, longest), loc="left", fontsize=9, fontfamily=font_families(), parse_math=False
        )
        axes.tick_params(labelsize=7.5, length=2, color=GREY)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(GREY)
        grid.append(axes)
    return figure, grid


def square(axes: Axes, x_label: str, y_label: str) -> None:
    """Both axes from 0 to 1."""
    ticks, limits = [0, 0.5, 1], (-0.03, 1.03)
    axes.set(xlim=limits, ylim=limits, xticks=ticks, yticks=ticks)
    axes.set_xticklabels(["0", ".5", "1"])
    axes.set_yticklabels(["0", ".5", "1"])
    axes.set_xlabel(x_label, fontsize=8, labelpad=1)
    if axes.get_subplotspec().is_first_col():
        axes.set_ylabel(y_label, fontsize=8, labelpad=3)


def beside(axes: Axes, figure: str) -> None:
    """A figure in small print to the right of a panel's name."""
    axes.set_title(figure, loc="right", fontsize=8, color=GREY)


def tell_instead(axes: Axes, why: str) -> None:
    """A few words where there is nothing to draw."""
    axes.text(0.5, 0.5, why, ha="center", va="center", fontsize=8.5, color=GREY, transform=axes.transAxes)


def legend(figure: Figure, grid: list[Axes]) -> None:
    """One legend for all panels, at the bottom; each label once."""
    found = {}
    for axes in grid:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if found:
        columns = 4 if figure.get_figwidth() > 6 else 2
        style = {"loc": "lower center", "ncols": columns, "fontsize": 8, "frameon": False}
        figure.legend(found.values(), found.keys(), **style)


@cache
def font_families() -> list[str]:
    """Matplotlib's own font, then those installed that have letters which it lacks."""
    installed = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in WIDE_FONTS if name in installed)]


def plot_precision_recall(
    labels: np.ndarray, mask: np.ndarray, probs: np.ndarray, scores: dict, shown: list[int], title: str
) -> Figure:
    """Precision over recall of each attribute, its chance line, and where its decisions stand on it.

    Args:
        labels: 0 or 1, [n, A]; ignored where mask is False.
        mask: True where the label is known, [n, A].
        probs: Between 0 and 1, [n, A].
        scores: As `metrics.score`, of the same predictions.
        shown: Indices of the attributes to draw, at most `PANELS` or so.
    """
    names = list(scores["attributes"])
    figure, grid = panels([names[a] for a in shown], title)
    for axes, a in zip(grid, shown, strict=True):
        entry, known = scores["attributes"][names[a]], mask[:, a]
        square(axes, "recall", "precision")
        if entry["ap"] is None:
            tell_instead(axes, "one value only" if entry["known"] else "nothing known")
            continue
        recall, precision = precision_recall(labels[known, a], probs[known, a])
        axes.axhline(entry["prevalence"], color=GREY, linewidth=1.2, linestyle="--", label="chance")
        # so drawn, the area below the curve is the AP
        axes.plot(recall, precision, color=BLUE, linewidth=1.8, drawstyle="steps-pre", label="precision")
        if entry["precision"] is not None:
            point = (entry["recall"], entry["precision"])
            axes.plot(*point, "o", color=ORANGE, markersize=6, markeredgecolor="white", label="as decided")
        beside(axes, f"AP {short(entry['ap'])} | {short(entry['prevalence'])}")
    legend(figure, grid)
    return figure


def precision_recall(labels: np.ndarray, probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision at every probability that a positive has, from the highest, and at recall 0.

    Args:
        labels: 0 or 1, at least one of them 1, [n].
        probs: [n].
    """
    order = np.argsort(-probs, kind="stable")
    positive, probs = labels[order] == 1, probs[order]
    last = np.flatnonzero(np.append(np.diff(probs) != 0, True))  # of equal probabilities
    tp = np.cumsum(positive)[last]
    gained = np.flatnonzero(np.diff(tp, prepend=0))
    recall, precision = tp[gained] / positive.sum(), tp[gained] / (last[gained] + 1)
    if len(recall) > MOST_POINTS:
        kept = np.linspace(0, len(recall) - 1, MOST_POINTS).round().astype(int)
        recall, precision = recall[kept], precision[kept]
    return np.append(0, recall), np.append(precision[0], precision)


def plot_reliability(
    labels: np.ndarray, mask: np.ndarray, probs: np.ndarray, scores: dict, shown: list[int], title: str
) -> Figure:
    """How often an attribute is there, by its probability, in the bins of the calibration error.

    Arguments as in `plot_precision_recall`. Whiskers are Wilson's 95 % limits, columns the number of entries.
    """
    names = list(scores["attributes"])
    figure, grid = panels([names[a] for a in shown], title)
    for axes, a in zip(grid, shown, strict=True):
        entry, known = scores["attributes"][names[a]], mask[:, a]
        square(axes, "probability", "share present")
        if not known.any():
            tell_instead(axes, "nothing known")
            continue
        counts, means, shares = reliability(labels[known, a], probs[known, a])
        filled = counts > 0
        centres = (np.arange(CALIBRATION_BINS) + 0.5) / CALIBRATION_BINS
        # the columns stand in a strip of their own below the points
        heights = 0.2 * counts / counts.max()
        axes.bar(centres, heights, 0.085, STRIP, color=GREY, alpha=0.3, label="number of entries")
        for x, y, count in zip(centres[filled], heights[filled], counts[filled], strict=True):
            axes.text(x, STRIP + y + 0.01, f"{count:,}", ha="center", va="bottom", fontsize=5.5, color=GREY)
        axes.set_ylim(STRIP, 1.03)
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1.2, linestyle="--", label="as often as said")
        low, high = wilson_limits(shares[filled], counts[filled])
        off = np.abs([shares[filled] - low, high - shares[filled]])
        style = {"color": BLUE, "fmt": "o", "markersize": 5, "linewidth": 1.3}
        axes.errorbar(means[filled], shares[filled], off, label="share present", **style)
        beside(axes, f"error {short(entry['ece'])}")
    legend(figure, grid)
    return figure


def reliability(labels: np.ndarray, probs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number of entries, mean probability and share of positives of each bin, nan where it is empty."""
    bins = np.minimum((probs * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    counts, said, present = (
        np.bincount(bins, weights, CALIBRATION_BINS) for weights in (None, probs, labels.astype(float))
    )
    empty = np.full(CALIBRATION_BINS, np.nan)
    return counts, *(np.divide(x, counts, out=empty.copy(), where=counts > 0) for x in (said, present))


def wilson_limits(share: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % limits of a share of `count` independent entries (Wilson 1927)."""
    middle = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z / (1 + Z**2 / count) * np.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return middle - half, middle + half


def plot_decisions(scores: dict, shown: list[int], title: str) -> Figure:
    """The 2x2 table of each attribute: counts, and their share of what is labelled so."""
    names = list(scores["attributes"])
    figure, grid = panels([names[a] for a in shown], title)
    for axes, a in zip(grid, shown, strict=True):
        entry = scores["attributes"][names[a]]
        if not entry["known"]:
            axes.set_axis_off()
            tell_instead(axes, "nothing known")
            continue
        counts = np.array([[entry["tp"], entry["fn"]], [entry["fp"], entry["tn"]]])
        totals = counts.sum(axis=1, keepdims=True)
        shares = np.divide(counts, totals, out=np.zeros((2, 2)), where=totals > 0)
        axes.set(xlim=(-0.5, 1.5), ylim=(1.5, -0.5))
        for (i, j), count in np.ndenumerate(counts):
            # right answers on the diagonal
            patch = Rectangle((j - 0.49, i - 0.49), 0.98, 0.98, facecolor=BLUE if i == j else ORANGE)
            patch.set_alpha(0.04 + 0.7 * shares[i, j])
            axes.add_patch(patch)
            share = f"{shares[i, j]:.0%}" if totals[i, 0] else "-"
            axes.text(j, i - 0.08, f"{count:,}", ha="center", va="center", fontsize=12)
            axes.text(j, i + 0.24, share, ha="center", va="center", fontsize=8)
        axes.set_xticks([0, 1], ["said present", "said absent"])
        axes.set_yticks([0, 1], ["is present", "is absent"], rotation=90, va="center")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure
