"""Scores as a table for a terminal or a log, each with its chance level and its 95 % interval."""

import io

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aimonk.files.text import printable

SHOWN = {"ap": "AP", "auroc": "AUROC", "f1": "F1"}
SHOWN_OVERALL = {"ap": "mean_ap", "auroc": "mean_auroc", "f1": "f1_macro"}
LONGEST_NAME = 32
UNREACHED = "No threshold reaches the requested precision; the nearest one is used"
CHOSEN_HERE = "Thresholds or calibration were chosen on these images"


def shorten(name: str, longest: int = LONGEST_NAME) -> str:
    """A printable name, cut to a length."""
    name = printable(name)
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def format_figure(scores: dict, key: str) -> str:
    """Such as `.91 [.88, .94] | .53`: score, interval, chance level.

    Args:
        scores: Of one attribute, or over all of them.
    """
    value, interval, chance = scores[key], scores["interval"][key], scores["chance"][key]
    if value is None:
        return "-"
    spread = "" if interval is None else f" [{short(interval[0])}, {short(interval[1])}]"
    return short(value) + spread + ("" if chance is None else f" | {short(chance)}")


def short(value: float | None) -> str:
    """Two decimals without a leading zero; `-` for None."""
    if value is None:
        return "-"
    text = f"{value:.2f}"
    return text.removeprefix("0") if 0 <= value < 1 and text != "1.00" else text


def precise(value: float | None) -> str:
    """Three decimals; `-` for None."""
    return "-" if value is None else f"{value:.3f}"


def format_share(value: float | None) -> str:
    """A percentage; `-` for None."""
    return "-" if value is None else f"{value:.0%}"


def undefined_reason(entry: dict) -> str:
    """Why an attribute has no ranking scores."""
    return "one class only" if entry["known"] else "no known labels"


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
        cells = [format_figure(entry, key) for key in SHOWN]
        label = shorten(name) + ("" if entry["beats_chance"] else " !")
        widest = max(widest, cell_len(label))
        share = format_share(entry["prevalence"])
        table.add_row(Text(label), str(entry["known"]), share, *cells, f"{entry['threshold']:.2f}")
    overall = [format_figure(scores, key) for key in SHOWN_OVERALL.values()]
    table.add_row("mean", "", "", *overall, "", style="bold")
    text = io.StringIO()
    Console(file=text, width=widest + 120, force_terminal=False).print(table)
    lines = [line.rstrip() for line in text.getvalue().rstrip().split("\n")]
    return "\n".join([*lines, *remarks(scores)])


def remarks(scores: dict) -> list[str]:
    """Caveats of the table."""
    lines, count = [], len(scores["attributes"])
    defined = scores["mean_ap_count"]
    if defined < count:
        lines.append(
            f"The mean AP covers {defined} of {count} attributes; the others lack positive or negative labels"
        )
    if scores.get("unreached"):
        lines.append(f"{UNREACHED}: {', '.join(shorten(name) for name in scores['unreached'])}")
    optimistic = scores.get("optimistic", {}).get("f1_macro")
    if optimistic is not None and scores["f1_macro"] is not None:
        lines.append(
            f"{CHOSEN_HERE}: macro F1 {precise(scores['f1_macro'])} cross-validated, {precise(optimistic)} "
            "(optimistic) without cross-validation"
        )
    if any(not entry["beats_chance"] for entry in scores["attributes"].values()):
        lines.append("! no evidence of a score above chance, corrected for the number of attributes")
    return lines
