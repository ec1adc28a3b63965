import pytest

from aimonk.report.plots.decisions import plot_decisions
from aimonk.report.plots.panels import MOST_PANELS, hardest


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
