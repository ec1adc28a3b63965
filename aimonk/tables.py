"""Scores as a table for a terminal or a log: each beside its chance level and its 95 % interval."""

import io

from rich.console import Console
from rich.table import Table
from rich.text import Text

SHOWN = {"ap": "AP", "auroc": "AUROC", "f1": "F1"}
SHOWN_OVERALL = {"ap": "mean_ap", "auroc": "mean_auroc", "f1": "f1_macro"}


def format_figure(value: float | None, interval: list[float] | None, chance: float | None) -> str:
    """Such as `.91 [.88, .94] .53`: score, interval, chance level."""
    if value is None:
        return "-"
    spread = "" if interval is None else f" [{_short(interval[0])}, {_short(interval[1])}]"
    return f"{_short(value)}{spread}" + ("" if chance is None else f" | {_short(chance)}")


def _short(value: float) -> str:
    text = f"{value:.2f}"
    return text.removeprefix("0") if 0 <= value < 1 and text != "1.00" else text


def format_scores(scores: dict, title: str) -> str:
    """A table with a row for each attribute; `*` marks those that beat chance."""
    table = Table(title=title, title_justify="left", caption_justify="left", box=None, pad_edge=False)
    table.add_column("attribute")
    table.add_column("known", justify="right")
    table.add_column("present", justify="right")
    for name in SHOWN.values():
        table.add_column(f"{name} [95 %] | chance")
    table.add_column("threshold", justify="right")
    for name, entry in scores["attributes"].items():
        cells = [
            format_figure(entry[key], entry["interval"][key], entry["chance"][key]) for key in SHOWN
        ]
        share = "-" if entry["prevalence"] is None else f"{entry['prevalence']:.0%}"
        mark = " *" if entry["beats_chance"] else ""
        table.add_row(Text(name + mark), str(entry["known"]), share, *cells, f"{entry['threshold']:.2f}")
    overall = [
        format_figure(scores[key], scores["interval"][key], scores["chance"][key])
        for key in SHOWN_OVERALL.values()
    ]
    table.add_row("mean", "", "", *overall, "", style="bold")
    text = io.StringIO()
    Console(file=text, width=130, force_terminal=False).print(table)
    lines = [line.rstrip() for line in text.getvalue().rstrip().split("\n")]
    if "optimistic" in scores and scores["optimistic"]["f1_macro"] is not None:
        lines.append(
            f"thresholds were chosen on these images: macro F1 {scores['f1_macro']:.3f} where each fold is decided by the"
            f" others, {scores['optimistic']['f1_macro']:.3f} (optimistic) on the images they were chosen on"
        )
    lines.append("* better than chance: the whole interval of the AUROC lies above .5")
    return "\n".join(lines)
