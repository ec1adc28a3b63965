from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes

from aimonk.report.plots.curves import (
    MOST_POINTS,
    plot_precision_recall,
    plot_reliability,
    precision_recall,
    reliability,
)
from aimonk.report.plots.figure import save


def lines(axes: Axes) -> dict[str, np.ndarray]:
    """Points [n, 2] of each line, by its name in the legend."""
    return {line.get_label(): line.get_xydata() for line in axes.lines}


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_precision_recall_shows_chance_and_the_threshold(case: dict, tmp_path: Path) -> None:
    figure = plot_precision_recall(**case, shown=[0, 1, 2, 3, 4], title="Precision and recall, test images")
    assert figure.get_suptitle() == "Precision and recall, test images"
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(case["scores"]["attributes"])
    for axes, entry in zip(figure.axes[:3], list(case["scores"]["attributes"].values())[:3], strict=True):
        drawn = lines(axes)
        np.testing.assert_allclose(drawn["chance"][:, 1], entry["prevalence"])
        np.testing.assert_allclose(drawn["at the threshold"], [[entry["recall"], entry["precision"]]])
        curve = drawn["precision"]
        (line,) = [line for line in axes.lines if line.get_label() == "precision"]
        assert line.get_drawstyle() == "steps-pre", "the area below the curve is the sum"
        assert (np.diff(curve[:, 0]) * curve[1:, 1]).sum() == pytest.approx(entry["ap"])
        assert curve[-1, 0] == 1
    assert texts(figure.axes[3]) == ["one class only"] and texts(figure.axes[4]) == ["no known labels"]
    assert save(figure, tmp_path / "curve.png").startswith(b"\x89PNG")


def test_long_curves_are_thinned() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(20_000) < 0.5).astype(float)
    recall, precision = precision_recall(labels, rng.random(20_000) + 0.2 * labels)
    assert len(recall) == len(precision) == MOST_POINTS + 1
    assert recall[0] == 0 and recall[-1] == 1 and (np.diff(recall) >= 0).all()


def test_reliability_uses_bins_of_the_calibration_error(case: dict, tmp_path: Path) -> None:
    known = case["mask"][:, 0]
    counts, means, shares = reliability(case["labels"][known, 0], case["probs"][known, 0])
    assert counts.sum() == known.sum()
    error = np.nansum(counts * np.abs(means - shares)) / counts.sum()
    assert error == pytest.approx(case["scores"]["attributes"]["hat"]["ece"])

    figure = plot_reliability(**case, shown=[0, 3, 4], title="Reliability")
    axes = figure.axes[0]
    assert lines(axes)["perfect calibration"].tolist() == [[0, 0], [1, 1]]
    points = axes.containers[-1].lines[0].get_xydata()
    np.testing.assert_allclose(points, np.stack([means, shares], axis=1)[counts > 0])
    assert [int(text) for text in texts(axes)] == counts[counts > 0].tolist()
    assert texts(figure.axes[2]) == ["no known labels"]
    assert save(figure, tmp_path / "reliability.png").startswith(b"\x89PNG")
