import io
from pathlib import Path

import pytest
from PIL import Image

from aimonk.report.plots.decisions import plot_decisions
from aimonk.report.plots.figure import save
from aimonk.report.plots.panels import MOST_PANELS, hardest, split_panels


def test_attributes_with_lowest_auroc_are_shown() -> None:
    def scores(auroc: list[float | None]) -> dict:
        return {"attributes": {f"a{i}": {"auroc": value} for i, value in enumerate(auroc)}}

    assert hardest(scores([0.9, None, 0.2])) == [0, 1, 2]
    assert hardest(scores([0.9, None, 0.2, 0.5]), most=2) == [2, 3]
    assert len(hardest(scores([0.5] * 80))) == MOST_PANELS


@pytest.mark.parametrize("count", [1, 2, 5, MOST_PANELS])
def test_panel_size_does_not_depend_on_their_number(count: int, case: dict) -> None:
    scores = {"attributes": {f"a{i}": case["scores"]["attributes"]["hat"] for i in range(count)}}
    figure = plot_decisions(scores, list(range(count)), "Decisions")
    width, height = figure.get_size_inches()
    for axes in figure.axes:
        box = axes.get_position()
        assert 1.8 < box.width * width < 3.5 and 1.5 < box.height * height < 3.5


@pytest.mark.parametrize("count", [1, 5])
def test_panels_are_cut_from_the_picture(count: int, case: dict, tmp_path: Path) -> None:
    scores = {"attributes": {f"a{i}": case["scores"]["attributes"]["hat"] for i in range(count)}}
    figure = plot_decisions(scores, list(range(count)), "Decisions")
    parts, legend = split_panels(figure, save(figure, tmp_path / "decisions.png"))
    assert len(parts) == count and sum(width for _, width in parts[:4]) <= 1080
    assert (legend is None) == (not figure.legends)
    for png, width in parts:
        picture = Image.open(io.BytesIO(png))
        assert picture.width > width > 150, "a picture of high resolution"
        assert picture.convert("L").getextrema()[0] < 100, "something is drawn"
