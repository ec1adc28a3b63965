"""The page of a comparison of runs: sortable tables, loss curves, scores of each attribute."""

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np

from aimonk.files.run_folder import REPORT_FILE
from aimonk.files.text import plural
from aimonk.report.comparison.content import TITLES, Comparison, Ranking, Row
from aimonk.report.comparison.wording import (
    describe_optimism,
    format_difference,
    format_epochs,
    format_p,
    format_runs,
    verdict,
)
from aimonk.report.html.page import render
from aimonk.report.plots.loss import smooth
from aimonk.report.tables import precise

MOST_CURVES = 8  # as many as the palette has colours
MOST_POINTS = 200  # of a curve
MOST_MAPPED = 60  # rows and attributes of a map of scores
CURVE_SIZE = (640, 300)
SPARE = 0.04  # of an axis beyond its outermost values


def format_page(comparison: Comparison, folder: Path, extra: Sequence[dict] = ()) -> str:
    """The page.

    Args:
        folder: Where the page will be, for the links to the reports of runs.
        extra: Further sections, each a `heading`, a `caption`, `heads`, `rows` of strings, and `lines` for
            `draw_lines` over what the `axis` counts.
    """
    return render(
        "comparison.html.j2",
        script="sort.js",
        title=f"Comparison of {comparison.title}",
        rankings=[describe_ranking(ranking, folder) for ranking in comparison.rankings],
        left_out=[(f"{path}", reason) for path, reason in comparison.left_out],
        extra=[section | {"lines": draw_lines(section.get("lines", ()))} for section in extra],
    )


def describe_ranking(ranking: Ranking, folder: Path) -> dict:
    """The content of a ranking's sections."""
    low, high = score_range(ranking.rows)
    return {
        "verdict": verdict(ranking),
        "basis": ranking.basis,
        "apart": ranking.apart,
        "lines": [line for line in (describe_optimism(ranking), ranking.advice, *ranking.notes) if line],
        "title": TITLES[ranking.metric],
        "columns": ranking.columns,
        "low": precise(low),
        "high": precise(high),
        "rows": [describe_row(row, folder, low, high) for row in ranking.rows],
        "several": len(ranking.rows) > 1,
        "curves": draw_curves(ranking.rows[:MOST_CURVES]),
        "map": map_scores(ranking.rows),
        "effects": [(e.setting, e.option, format_difference(e.change)) for e in ranking.effects],
    }


def score_range(rows: Sequence[Row]) -> tuple[float, float]:
    """Ends of the axis on which all scores and intervals are drawn."""
    values = [value for row in rows for value in (row.score, *(row.interval or ()))]
    low, high = min(values), max(values)
    spare = SPARE * (high - low) or SPARE
    return max(0.0, low - spare), min(1.0, high + spare)


def describe_row(row: Row, folder: Path, low: float, high: float) -> dict:
    """The cells of a row; places are shares of the axis from `low` to `high`."""

    def place(value: float) -> float:
        return (value - low) / (high - low)

    report = row.folders[0] / REPORT_FILE
    chance = None if row.chance is None or not low < row.chance < high else place(row.chance)
    return {
        "settings": list(row.settings.values()),
        "is_candidate": row.is_candidate,
        "score": row.score,
        "shown": precise(row.score),
        "place": place(row.score),
        "ends": None if row.interval is None else [place(end) for end in row.interval],
        "interval": ""
        if row.interval is None
        else f"[{precise(row.interval[0])}, {precise(row.interval[1])}]",
        "chance": precise(row.chance),
        "chance_place": chance,
        "difference": row.difference.value,
        "change": format_difference(row.difference),
        "p": row.p,
        "shown_p": format_p(row.p),
        "runs": format_runs(row),
        "epoch": format_epochs(row),
        "seconds": row.seconds,
        "trained": None if row.parameters is None else row.parameters[0],
        "folder": f"{row.folders[0]}",
        "link": quote(os.path.relpath(report, folder), errors="replace") if report.is_file() else None,
    }


def draw_curves(rows: Sequence[Row]) -> dict | None:
    """Smoothed training losses; None where there are none."""
    return draw_lines([(row.name, smooth(np.array(row.losses))) for row in rows if len(row.losses) > 1], 0.0)


def draw_lines(lines: Sequence[tuple[str, np.ndarray]], bottom: float | None = None) -> dict | None:
    """Names and values as lines of an SVG over their number, from 1; None without finite ones.

    Args:
        bottom: Of the axis, unless a value is lower; None: the lowest value.
    """
    drawn = [(name, values) for name, values in lines if len(values) > 1 and np.isfinite(values).all()]
    if not drawn:
        return None
    longest, top = max(len(values) for _, values in drawn), max(values.max() for _, values in drawn)
    lowest = min(values.min() for _, values in drawn)
    bottom = lowest if bottom is None else min(bottom, lowest)
    (width, height), shown = CURVE_SIZE, []
    for name, values in drawn:
        kept = np.unique(np.linspace(0, len(values) - 1, MOST_POINTS).round().astype(int))
        x = width * kept / max(1, longest - 1)
        y = height * (1 - (values[kept] - bottom) / ((top - bottom) or 1))
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        shown.append({"name": name, "points": points})
    return {"lines": shown, "longest": longest, "top": precise(top), "bottom": precise(bottom)}


def map_scores(rows: Sequence[Row]) -> dict:
    """Scores of each attribute, and how dark their cells are: 0 for the lowest, 100 for the highest."""
    names = list(rows[0].attributes)[:MOST_MAPPED]
    shown = rows[:MOST_MAPPED]
    values = [row.attributes[name] for row in shown for name in names]
    defined = [value for value in values if value is not None] or [0.0]
    low, width = min(defined), (max(defined) - min(defined)) or 1
    cells = [
        [
            (precise(value), None if value is None else round(100 * (value - low) / width))
            for value in (row.attributes[name] for name in names)
        ]
        for row in shown
    ]
    left_out = []
    if len(rows) > len(shown):
        left_out.append(plural(len(rows) - len(shown), "row"))
    if len(rows[0].attributes) > len(names):
        left_out.append(plural(len(rows[0].attributes) - len(names), "attribute"))
    rows_shown = [(row.name, own) for row, own in zip(shown, cells, strict=True)]
    return {"names": names, "rows": rows_shown, "more": " and ".join(left_out)}
