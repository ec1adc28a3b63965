from pathlib import Path

from matplotlib.axes import Axes

from aimonk.report.plots.decisions import plot_decisions
from aimonk.report.plots.figure import save


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_decisions_show_counts_and_shares(case: dict, tmp_path: Path) -> None:
    figure = plot_decisions(case["scores"], [0, 3, 4], "Decisions")
    entry = case["scores"]["attributes"]["hat"]
    shown = texts(figure.axes[0])
    assert [int(n) for n in shown[::2]] == [entry[key] for key in ("tp", "fn", "fp", "tn")]
    assert shown[1] == f"{entry['recall']:.0%}" and shown[7] == f"{entry['specificity']:.0%}"
    assert texts(figure.axes[1])[1] == "-", "a share of no images is undefined"
    assert texts(figure.axes[2]) == ["no known labels"]
    assert save(figure, tmp_path / "decisions.png").startswith(b"\x89PNG")
