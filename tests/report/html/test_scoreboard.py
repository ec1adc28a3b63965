import re

import pytest

from aimonk.report.html.page import environment
from aimonk.report.html.scoreboard import describe_cell, optimistic_rows


def render_cell(value: float | None, interval: list[float] | None, chance: float | None) -> str:
    scores = {"ap": value, "interval": {"ap": interval}, "chance": {"ap": chance}}
    macros = environment().get_template("scores.html.j2").module
    return str(macros.score_cell(describe_cell(scores, "ap", "AP")))


def test_whisker_is_at_the_score() -> None:
    drawing = render_cell(0.5, [0.25, 0.75], 0.1)
    (centre,) = re.findall(r'cx="([\d.]+)"', drawing)
    ends = [float(x) for x in re.search(r'class="good" x1="([\d.]+)" x2="([\d.]+)"', drawing).groups()]
    mark = float(re.search(r'class="chance" x1="([\d.]+)"', drawing).group(1))
    assert ends[0] < float(centre) < ends[1] and mark < ends[0]
    assert float(centre) == pytest.approx(sum(ends) / 2)
    assert (float(centre) - mark) == pytest.approx((ends[1] - ends[0]) * 0.8, abs=0.2)
    assert "AP .50 [.25, .75] | .10" in drawing and "<b>.50</b> [.25, .75] chance .10<" in drawing


def test_interval_that_includes_chance_is_marked() -> None:
    assert 'class="bad"' in render_cell(0.5, [0.05, 0.75], 0.1)
    assert 'class="bad"' in render_cell(0.5, None, None)
    assert 'class="good"' not in render_cell(0.5, [0.05, 0.75], 0.1)


def test_undefined_score_is_a_dash() -> None:
    assert render_cell(None, None, None).strip() == '<td class="score">-</td>'


def test_equal_scores_are_not_optimistic() -> None:
    assert optimistic_rows({"f1_macro": 0.5, "optimistic": {"f1_macro": 0.5}}) == []
    assert optimistic_rows({"f1_macro": 0.5, "optimistic": {"f1_macro": 0.6}}) == [
        ("macro F1", "0.500", "0.600")
    ]
    assert optimistic_rows({"f1_macro": None, "optimistic": {"f1_macro": None}}) is None
    assert optimistic_rows({"f1_macro": 0.5}) is None


def test_range_is_below_the_score() -> None:
    scores = {"ap": 0.5, "interval": {"ap": None}, "chance": {"ap": 0.1}}
    assert describe_cell(scores | {"range": {"ap": [0.25, 1.0]}}, "ap", "AP")["note"] == "range .25 to 1.00"
    cell = describe_cell(scores | {"range": {"ap": [0.25, 1.0]}}, "ap", "AP", "over 3 of 4 attributes")
    assert cell["note"] == "over 3 of 4 attributes; range .25 to 1.00"
    assert describe_cell(scores | {"range": {"ap": None}}, "ap", "AP")["note"] == ""
