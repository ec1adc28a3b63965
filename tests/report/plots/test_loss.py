from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from aimonk.report.plots import loss
from aimonk.report.plots.loss import plot_loss, smooth


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures created during a test."""
    figures = []

    class Recorded(Figure):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            figures.append(self)

    monkeypatch.setattr(loss, "Figure", Recorded)
    return figures


def labelled(axes: Axes) -> dict[str, np.ndarray]:
    """Points [n, 2] of each line, by its name in the legend."""
    return {line.get_label(): line.get_xydata() for line in axes.lines}


def falling(count: int) -> list[float]:
    return (1 / np.sqrt(np.arange(1, count + 1)) + 0.05 * np.random.default_rng(0).random(count)).tolist()


def test_curve_has_the_required_title_and_labels(tmp_path: Path, drawn: list[Figure]) -> None:
    losses = falling(60)
    epochs = [
        {"iteration": 30, "val_loss": 0.5, "mean_ap": 0.7},
        {"iteration": 60, "val_loss": 0.4, "mean_ap": None},
    ]
    plot_loss(tmp_path / "loss_curve.png", losses, epochs, chosen=60, title="Aimonk_multilabel_problem")
    with Image.open(tmp_path / "loss_curve.png") as image:
        assert image.format == "PNG"
        assert min(image.size) >= 400, "legible"
    axes, right = drawn[0].axes
    assert right.lines[0].get_xydata().tolist() == [[30, 0.7]] and "mean AP" in right.get_ylabel()
    assert axes.get_title() == "Aimonk_multilabel_problem"
    assert axes.get_xlabel() == "iteration_number"
    assert axes.get_ylabel() == "training_loss"
    lines = labelled(axes)
    np.testing.assert_allclose(lines["each iteration"], np.stack([np.arange(1, 61), losses], axis=1))
    assert lines["smoothed"][:, 0].tolist() == list(range(1, 61))
    assert lines["validation"].tolist() == [[30, 0.5], [60, 0.4]]
    assert lines["kept weights"][:, 0].tolist() == [60, 60]
    widths = {line.get_label(): line.get_linewidth() for line in axes.lines}
    assert widths["smoothed"] > 2 * widths["each iteration"]
    names = {text.get_text() for text in axes.get_legend().get_texts()}
    assert names == {*lines, "validation mean AP, right axis"}


def test_title_is_literal(tmp_path: Path, drawn: list[Figure]) -> None:
    plot_loss(tmp_path / "curve.png", [0.7, 0.6], [], chosen=None, title="$x^{$ <b>")
    assert drawn[0].axes[0].get_title() == "$x^{$ <b>"


def test_curve_without_validation(tmp_path: Path, drawn: list[Figure]) -> None:
    epochs = [{"iteration": 3, "val_loss": None}]
    plot_loss(tmp_path / "curve.png", [0.7, 0.6, 0.5], epochs, chosen=None, title="Aimonk_multilabel_problem")
    assert set(labelled(drawn[0].axes[0])) == {"each iteration", "smoothed"}


@pytest.mark.parametrize("losses", [[], [0.7], [0.0, 0.0], [1e30, 1e-30]])
def test_degenerate_curves_can_be_drawn(losses: list[float], tmp_path: Path) -> None:
    plot_loss(tmp_path / "curve.png", losses, [], chosen=None, title="Aimonk_multilabel_problem")
    with Image.open(tmp_path / "curve.png") as image:
        image.load()


def test_single_spike_does_not_flatten_the_curve(tmp_path: Path, drawn: list[Figure]) -> None:
    plot_loss(
        tmp_path / "curve.png", [1000.0, *falling(999)], [], chosen=None, title="Aimonk_multilabel_problem"
    )
    assert drawn[0].axes[0].get_ylim()[1] < 2


def test_no_global_figure_remains(tmp_path: Path) -> None:
    import matplotlib.pyplot

    plot_loss(tmp_path / "curve.png", falling(5), [], chosen=None, title="Aimonk_multilabel_problem")
    assert matplotlib.pyplot.get_fignums() == []


@pytest.mark.parametrize("count", [1, 2, 3, 50, 400])
def test_smoothing_is_a_centred_mean(count: int) -> None:
    values = np.random.default_rng(count).random(count)
    half = max(1, count // 40)
    for i, smoothed in enumerate(smooth(values)):
        reach = min(half, i, count - 1 - i)
        assert smoothed == pytest.approx(values[i - reach : i + reach + 1].mean())
    np.testing.assert_allclose(smooth(np.full(count, 0.3)), 0.3)


def test_negative_losses_are_visible(tmp_path: Path, drawn: list[Figure]) -> None:
    plot_loss(tmp_path / "loss_curve.png", [0.3, 0.1, -0.2], [], chosen=None, title="")
    low, high = drawn[0].axes[0].get_ylim()
    assert low < -0.2 and high > 0.3
