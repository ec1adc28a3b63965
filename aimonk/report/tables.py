"""Scores as a table for a terminal or a log, each with its chance level and its 95 % interval."""

import io
from collections.abc import Callable

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aimonk.evaluation.evaluate import not_above_chance, verdict
from aimonk.files.text import listed, printable

SHOWN = {"ap": "AP", "auroc": "AUROC", "f1": "F1"}
SHOWN_OVERALL = {"ap": "mean_ap", "auroc": "mean_auroc", "f1": "f1_macro"}
HEADS = ("AP [95 %]|chance", "AUROC [95 %]", "F1 [95 %]|chance")
WIDTH = 80  # columns of a table of scores
SHORTEST_NAME = 9  # characters left of a name in it
LONGEST_NAME = 32
LISTED_NAME = 14  # of three names and the number of the others in a remark
NO_EPOCH = "the model was trained for less than an epoch, or for one iteration"
UNREACHED = "No threshold reaches the requested precision; the nearest one is used"
NOT_RANDOM = "NA is not random"
CHOSEN_HERE = "Thresholds or calibration were chosen on these images"


def shorten(name: str, longest: int = LONGEST_NAME) -> str:
    """A printable name, cut in the middle to a length in cells of a terminal."""
    name = printable(name)
    if cell_len(name) <= longest:
        return name
    front, back = (longest - 1) - (longest - 1) // 2, (longest - 1) // 2
    head, tail = name[:front], name[len(name) - back :]
    while cell_len(head) > front:
        head = head[:-1]
    while cell_len(tail) > back:
        tail = tail[1:]
    return f"{head}…{tail}"


def format_figure(scores: dict, key: str) -> str:
    """Such as `.91 [.88, .94] | .53`: score, interval, chance level.

    Args:
        scores: Of one attribute, or over all of them.
    """
    return _join_figure(scores, key, short, ", ", " | ")


def _join_figure(scores: dict, key: str, write: Callable[[float], str], comma: str, bar: str | None) -> str:
    """Score, interval and, unless `bar` is None, chance level, each where it is defined."""
    value, interval, chance = scores[key], scores["interval"][key], scores["chance"][key]
    if value is None:
        return "-"
    spread = "" if interval is None else f" [{write(interval[0])}{comma}{write(interval[1])}]"
    return write(value) + spread + ("" if chance is None or bar is None else f"{bar}{write(chance)}")


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


def has_verdict(report: dict) -> bool:
    """Whether a run trained long enough for a verdict: not for one iteration, and not less than an epoch.

    A head that was solved has penalties, and any number of iterations.
    """
    if "penalties" in report:
        return True
    return report.get("iterations", 2) > 1 and bool(report.get("epochs", True))


def describe_verdict(scores: dict) -> str:
    """The verdict, and the first attributes that are not better than chance if others are."""
    others = not_above_chance(scores)
    some = 0 < len(others) < len(scores["attributes"])
    return verdict(scores) + (f"; not {listed([shorten(name) for name in others])}" if some else "")


def undefined_reason(entry: dict) -> str:
    """Why an attribute has no ranking scores."""
    return "one class only" if entry["known"] else "no known labels"


def format_scores(scores: dict, title: str) -> str:
    """A table of 80 columns with a row for each attribute; `!` marks those that do not beat chance.

    The thresholds of the probability have a column, "at p ≥", unless all are .5.
    """
    entries = scores["attributes"]
    has_thresholds = any(entry["threshold"] != 0.5 for entry in entries.values())
    rows = [
        [f"{compact_count(e['positives'])}/{compact_count(e['known'])}", *(compact(e, k) for k in SHOWN)]
        + [_brief(e["threshold"])] * has_thresholds
        for e in entries.values()
    ]
    means = ["", *(compact(scores, key) for key in SHOWN_OVERALL.values())] + [""] * has_thresholds
    heads = ["present\n/known", *HEADS] + ["at\np ≥"] * has_thresholds
    columns = zip(heads, means, *rows, strict=True)
    widest = [max(len(line) for cell in column for line in cell.split("\n")) for column in columns]
    # a row has the attribute, a mark, and gaps of two columns
    room = max(SHORTEST_NAME, WIDTH - sum(widest) - 2 * len(widest) - 2)
    marks = ["" if entry["beats_chance"] else " !" for entry in entries.values()]
    labels = [shorten(name, room) + mark for name, mark in zip(entries, marks, strict=True)]
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("attribute", no_wrap=True)
    for head in heads:
        table.add_column(head, justify="right" if "\n" in head else "left", no_wrap=True)
    for label, row in zip(labels, rows, strict=True):
        table.add_row(Text(label), *map(Text, row))
    table.add_row("mean", *map(Text, means), style="bold")
    text = io.StringIO()
    Console(file=text, width=WIDTH + 40, force_terminal=False).print(table)
    lines = [line.rstrip() for line in text.getvalue().rstrip().split("\n")]
    return "\n".join([*lines, *remarks(scores)])


def compact(scores: dict, key: str) -> str:
    """As `format_figure`, such as `.91 [.88,.94]|.53`; without the chance level of the AUROC, .5."""
    return _join_figure(scores, key, _brief, ",", None if "auroc" in key else "|")


def _brief(value: float) -> str:
    """Three characters: `.95` or `1.0`."""
    return short(value)[:3]


def compact_count(count: int) -> str:
    """At most four digits: `9999`, `12k`."""
    return f"{count}" if count < 10_000 else f"{count / 1000:.0f}k"


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
    if scores.get("uncalibrated"):
        lines.append(f"Calibration, cross-validated: {describe_calibration(scores)}")
    if "range" in scores:
        names = [shorten(name, LISTED_NAME) for name in dependent_attributes(scores)]
        ends = scores["range"]["mean_ap"]
        lines.append(f"{NOT_RANDOM}: {listed(names, 3)}")
        if ends is not None:
            lines.append(
                f"mean AP {precise(ends[0])} to {precise(ends[1])} if NA is read as absent or as predicted"
            )
    low = [name for name, entry in scores["attributes"].items() if _is_rarely_predicted(entry)]
    if low:
        lines.append(
            "F1 is low although the images are well ordered: threshold=f1 chooses thresholds "
            f"({listed([shorten(name) for name in low], 3)})"
        )
    optimistic = scores.get("optimistic", {}).get("f1_macro")
    if optimistic is not None and scores["f1_macro"] is not None:
        lines.append(
            f"{CHOSEN_HERE}: macro F1 {precise(scores['f1_macro'])} cross-validated, {precise(optimistic)} "
            "(optimistic) without cross-validation"
        )
    if any(not entry["beats_chance"] for entry in scores["attributes"].values()):
        lines.append("! no evidence of a score above chance, corrected for the number of attributes")
    return lines


def dependent_attributes(scores: dict) -> list[str]:
    """Attributes whose labels are not missing at random."""
    return [name for name, entry in scores["attributes"].items() if "range" in entry]


def _is_rarely_predicted(entry: dict) -> bool:
    """Whether an attribute is ranked better than chance, but hardly ever predicted present."""
    return entry["beats_chance"] and entry["f1"] is not None and entry["f1"] < entry["chance"]["f1"] / 2


def describe_calibration(scores: dict) -> str:
    """Calibration error and Brier score without and with calibration."""
    names = {"mean_ece": "calibration error", "mean_brier": "Brier score"}
    changes = (
        f"{title} {precise(scores['uncalibrated'][name])} -> {precise(scores[name])}"
        for name, title in names.items()
    )
    return ", ".join(changes)
