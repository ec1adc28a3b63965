"""Scores as a table for a terminal or a log: each beside its chance level and its 95 % interval."""

import io

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aimonk.files.text import printable

SHOWN = {"ap": "AP", "auroc": "AUROC", "f1": "F1"}
SHOWN_OVERALL = {"ap": "mean_ap", "auroc": "mean_auroc", "f1": "f1_macro"}
LONGEST_NAME = 32


def shorten(name: str, longest: int = LONGEST_NAME) -> str:
    """A printable name, cut to a length."""
    name = printable(name)
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def format_figure(value: float | None, interval: list[float] | None, chance: float | None) -> str:
    """Such as `.91 [.88, .94] | .53`: score, interval, chance level."""
    if value is None:
        return "-"
    return format_spread(value, interval) + ("" if chance is None else f" | {short(chance)}")


def format_spread(value: float | None, interval: list[float] | None) -> str:
    """Such as `.91 [.88, .94]`: score and interval."""
    if value is None:
        return "-"
    return short(value) + ("" if interval is None else f" [{short(interval[0])}, {short(interval[1])}]")


def short(value: float | None) -> str:
    """Two decimals without a leading zero; `-` for None."""
    if value is None:
        return "-"
    text = f"{value:.2f}"
    return text.removeprefix("0") if 0 <= value < 1 and text != "1.00" else text


def format_scores(scores: dict, title: str) -> str:
    """A table with a row for each attribute; `!` marks those that do not beat chance."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("attribute", no_wrap=True)
    table.add_column("known", justify="right")
    table.add_column("present", justify="right")
    for name in SHOWN.values():
        table.add_column(f"{name} [95 %] | chance", no_wrap=True)
    table.add_column("threshold", justify="right")
    widest = 4
    for name, entry in scores["attributes"].items():
        cells = [format_figure(entry[key], entry["interval"][key], entry["chance"][key]) for key in SHOWN]
        share = "-" if entry["prevalence"] is None else f"{entry['prevalence']:.0%}"
        label = shorten(name) + ("" if entry["beats_chance"] else " !")
        widest = max(widest, cell_len(label))
        table.add_row(Text(label), str(entry["known"]), share, *cells, f"{entry['threshold']:.2f}")
    overall = [
        format_figure(scores[key], scores["interval"][key], scores["chance"][key])
        for key in SHOWN_OVERALL.values()
    ]
    table.add_row("mean", "", "", *overall, "", style="bold")
    text = io.StringIO()
    Console(file=text, width=widest + 120, force_terminal=False).print(table)
    lines = [line.rstrip() for line in text.getvalue().rstrip().split("\n")]
    return "\n".join([*lines, *remarks(scores)])


def remarks(scores: dict) -> list[str]:
    """What has to be known to read the table."""
    told, count = [], len(scores["attributes"])
    defined = scores["mean_ap_count"]
    if defined < count:
        told.append(
            f"the mean AP covers {defined} of {count} attributes, the others have one known value at most"
        )
    if scores.get("unreached"):
        names = ", ".join(shorten(name) for name in scores["unreached"])
        told.append(f"no threshold reaches the precision asked for, the nearest is taken: {names}")
    optimistic = scores.get("optimistic", {}).get("f1_macro")
    if optimistic is not None and scores["f1_macro"] is not None:
        told.append(
            f"thresholds were chosen on these images: macro F1 {scores['f1_macro']:.3f} where each fold is "
            f"decided by the others, {optimistic:.3f} (optimistic) on the images they were chosen on"
        )
    if any(not entry["beats_chance"] for entry in scores["attributes"].values()):
        told.append("! no better than chance: the 95 % interval of the AUROC does not lie above .5")
    return told
