"""The page of a comparison: what it shows, and what it may run."""

import base64
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from aimonk.evaluation.comparison import Difference
from aimonk.report.comparison.content import Comparison, Effect, Ranking, Row
from aimonk.report.html.comparison import draw_curves, format_page, map_scores

from .conftest import HOSTILE, PageParser

ROW = Row(
    settings={"loss": "masked", "optimizer.lr": "0.001"},
    score=0.9,
    interval=(0.85, 0.94),
    chance=0.3,
    spread=0.01,
    difference=Difference(0, None),
    p=1.0,
    parameters=(5124, 3_400_000),
    epochs=[5, 4],
    seconds=12.34,
    folders=[Path("outputs/0_masked"), Path("outputs/1_masked")],
    attributes={"hat": 1.0, "scarf": 0.8, "gloves": None},
    losses=[1.0, 0.5, 0.4],
)
WORSE = replace(
    ROW,
    settings={"loss": HOSTILE, "optimizer.lr": ""},
    score=0.7,
    interval=None,
    difference=Difference(-0.2, (-0.3, -0.1)),
    p=0.01,
    parameters=None,
    epochs=[None],
    seconds=None,
    folders=[Path(f"outputs/{HOSTILE}")],
    attributes={"hat": 0.6, "scarf": None, "gloves": None},
    losses=[],
)
RANKING = Ranking(
    basis="3 runs, 300 validation images",
    apart="",
    part="val",
    metric="mean_ap",
    images=300,
    rows=[ROW, WORSE],
    optimism=0.01,
    simplest=None,
    advice="Its score on other images: python run.py",
    effects=[Effect("loss", "masked", Difference(0.2, (0.1, 0.3)))],
    notes=[],
)


def parse(ranking: Ranking = RANKING, **content) -> tuple[str, PageParser]:
    page = format_page(Comparison("outputs", [ranking], [(Path("x"), HOSTILE)]), Path("."), **content)
    return page, PageParser(page)


def test_page_shows_rows_scores_and_reasons() -> None:
    page, parsed = parse()
    text = " ".join(" ".join(parsed.read).split())
    assert "Best: loss=masked optimizer.lr=0.001, better than 1 other setting." in text
    assert "expect about 0.8900 rather than 0.9000 on other images." in text
    for shown in ("0.900", "[0.850, 0.940]", "chance 0.300", "2 ± 0.0100", "5,4", "12.3", "5,124"):
        assert shown in text
    for shown in ("-0.2000 [-0.3000, -0.1000]", ".010", "solved", "+0.2000 [+0.1000, +0.3000]"):
        assert shown in text
    assert page.count('class="bad"') >= 1


def test_hostile_names_are_text() -> None:
    page, parsed = parse()
    assert "<script>alert" not in page
    assert [tag for tag, _ in parsed.tags].count("script") == 1
    assert not any(tag == "img" or any(name.startswith("on") for name in a) for tag, a in parsed.tags)


def test_only_the_script_that_sorts_may_run() -> None:
    page, parsed = parse()
    (policy,) = [a["content"] for tag, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy"]
    code = page[page.index("<script>") + len("<script>") : page.index("</script>")]
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy


def test_cells_carry_the_values_that_are_sorted() -> None:
    _, parsed = parse()
    values = [a["data-value"] for tag, a in parsed.tags if tag == "td" and "data-value" in a]
    assert values == ["1", "0.9", "0", "1.0", "12.34", "5124", "2", "0.7", "-0.2", "0.01", "", ""]


def test_map_is_darkest_at_the_highest_score() -> None:
    cells = map_scores([ROW, WORSE])["rows"]
    assert [share for _, share in cells[0][1]] == [100, 50, None]
    assert [share for _, share in cells[1][1]] == [0, None, None]
    assert map_scores([ROW] * 100)["more"] == "40 rows"


def test_curves_stay_in_their_frame() -> None:
    curves = draw_curves([ROW, WORSE, replace(ROW, losses=[0.2] * 5000)])
    assert [line["name"] for line in curves["lines"]] == [ROW.name, ROW.name]
    points = [tuple(map(float, p.split(","))) for line in curves["lines"] for p in line["points"].split()]
    assert all(0 <= x <= 640 and 0 <= y <= 300 for x, y in points) and len(points) <= 3 + 200
    assert draw_curves([WORSE]) is None
    assert draw_curves([replace(ROW, losses=[1.0, float("nan")])]) is None


def test_further_sections_are_tables() -> None:
    section = {"heading": "Importance", "caption": "of settings", "heads": ["a"], "rows": [[HOSTILE]]}
    page, parsed = parse(extra=[section])
    assert "Importance" in " ".join(parsed.read) and "<script>alert" not in page


@pytest.mark.parametrize("rankings", [[], [replace(RANKING, rows=[ROW], optimism=None, effects=[])]])
def test_page_without_a_difference_has_no_p_value(rankings: list[Ranking]) -> None:
    page = format_page(Comparison("outputs", rankings, []), Path("."))
    assert "model confidence set" not in page
    assert ("No run can be ranked" in page) == (not rankings)
