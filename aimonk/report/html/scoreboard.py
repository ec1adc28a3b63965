"""Scores as tables of a web page: each a dot with its 95 % interval as a whisker, and a mark for chance."""

from collections.abc import Iterable

from aimonk.evaluation.bootstrap import above
from aimonk.report.html.page import details, isolated
from aimonk.report.tables import SHOWN, SHOWN_OVERALL, format_figure, short

LENGTH, HEIGHT, EDGE = 132, 14, 5  # pixels of a whisker's drawing
ALL = {
    "precision": "precision",
    "recall": "recall",
    "specificity": "specificity",
    "balanced_accuracy": "balanced accuracy",
    "brier": "Brier score",
    "ece": "calibration error",
}
COUNTS = {"tp": "true +", "fp": "false +", "fn": "false −", "tn": "true −"}


def score_table(scores: dict) -> str:
    """AP, AUROC and F1 of every attribute; those that do not beat chance are marked."""
    heads = "".join(f'<th style="text-align:left">{name}</th>' for name in SHOWN.values())
    rows = [mean_row(scores)]
    for name, entry in scores["attributes"].items():
        mark = "" if entry["beats_chance"] else f'<span class="tag">{why_not(entry)}</span>'
        cells = "".join(cell(entry[key], entry["interval"][key], entry["chance"][key], key) for key in SHOWN)
        share = "-" if entry["prevalence"] is None else f"{entry['prevalence']:.0%}"
        kind = "good" if entry["beats_chance"] else "bad"
        rows.append(
            f'<tr class="{kind}"><td>{isolated(name)} {mark}</td>'
            f"<td>{entry['known']:,}</td><td>{share}</td>{cells}<td>{short(entry['threshold'])}</td></tr>"
        )
    return (
        f'{LEGEND}<div class="scroll"><table><thead><tr><th>attribute</th><th>known</th><th>present</th>'
        f"{heads}<th>threshold</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def mean_row(scores: dict) -> str:
    """The means over attributes, and how many these are."""
    total, cells = len(scores["attributes"]), []
    for key, overall in SHOWN_OVERALL.items():
        count = scores[f"{overall}_count"]
        note = "" if count == total else f"<br>over {count} of {total} attributes"
        cells.append(cell(scores[overall], scores["interval"][overall], scores["chance"][overall], key, note))
    return f'<tr class="mean"><td>mean</td><td></td><td></td>{"".join(cells)}<td></td></tr>'


def why_not(entry: dict) -> str:
    """Why an attribute does not count as better than chance."""
    if entry["auroc"] is None:
        return "one value only" if entry["known"] else "nothing known"
    return "not above chance"


def cell(
    value: float | None, interval: list[float] | None, chance: float | None, key: str, note: str = ""
) -> str:
    """A cell with a score's whisker, and below it the numbers."""
    if value is None:
        return '<td class="score">-</td>'
    spread = "" if interval is None else f" [{short(interval[0])}, {short(interval[1])}]"
    level = "" if chance is None else f" chance {short(chance)}"
    told = f"{spread}{level}{note}"
    drawing = whisker(value, interval, chance, key)
    return f'<td class="score">{drawing}<small><b>{short(value)}</b>{told}</small></td>'


def whisker(value: float, interval: list[float] | None, chance: float | None, key: str) -> str:
    """A drawing of a score on the way from 0 to 1; filled where its whole interval lies above chance."""
    kind = "good" if chance is not None and above(interval, chance) else "bad"
    middle = HEIGHT / 2
    lines = [f'<line class="axis" x1="{EDGE}" x2="{LENGTH - EDGE}" y1="{middle}" y2="{middle}"/>']
    if interval is not None:
        low, high = place(interval[0]), place(interval[1])
        lines.append(
            f'<line class="{kind}" x1="{low}" x2="{high}" y1="{middle}" y2="{middle}" stroke-width="3" '
            'stroke-linecap="round" stroke-opacity=".5"/>'
        )
    if chance is not None:
        x = place(chance)
        lines.append(f'<line class="chance" x1="{x}" x2="{x}" y1="1" y2="{HEIGHT - 1}"/>')
    lines.append(f'<circle class="{kind}" cx="{place(value)}" cy="{middle}" r="3.5" stroke-width="1.5"/>')
    label = f"{SHOWN.get(key, key)} {format_figure(value, interval, chance)}"
    return f'<svg width="{LENGTH}" height="{HEIGHT}" role="img" aria-label="{label}">{"".join(lines)}</svg>'


def place(value: float) -> str:
    """Where a score between 0 and 1 stands, in pixels from the left."""
    return f"{EDGE + value * (LENGTH - 2 * EDGE):.1f}"


def sample(kind: str) -> str:
    """A whisker for the legend."""
    return (
        f'<svg width="26" height="{HEIGHT}" aria-hidden="true">'
        f'<line class="{kind}" x1="2" x2="24" y1="7" y2="7" '
        'stroke-width="3" stroke-linecap="round" stroke-opacity=".5"/>'
        f'<circle class="{kind}" cx="13" cy="7" r="3.5" stroke-width="1.5"/></svg>'
    )


LEGEND = (
    f'<div class="legend"><span>{sample("good")}score and 95 % interval, above chance</span>'
    f"<span>{sample('bad')}the interval reaches chance</span>"
    f'<span><svg width="3" height="{HEIGHT}" aria-hidden="true">'
    '<line class="chance" x1="1" x2="1" y1="1" y2="13"/></svg>'
    "what a guess that ignores the image scores</span><span>each line runs from 0 to 1</span></div>"
)


def full_table(scores: dict) -> str:
    """Every other figure, folded away."""
    heads = "".join(f"<th>{name}</th>" for name in [*ALL.values(), *COUNTS.values()])
    rows = []
    for name, entry in scores["attributes"].items():
        cells = [format_figure(entry[key], entry["interval"][key], entry["chance"][key]) for key in ALL]
        cells += [f"{entry[key]:,}" for key in COUNTS]
        rows.append(f"<tr><td>{isolated(name)}</td>{''.join(f'<td>{value}</td>' for value in cells)}</tr>")
    micro = format_figure(scores["f1_micro"], scores["interval"]["f1_micro"], scores["chance"]["f1_micro"])
    subset = [scores[part]["subset_accuracy"] for part in ("interval", "chance")]
    table = (
        f"<p>Micro F1 {micro}; subset accuracy {format_figure(scores['subset_accuracy'], *subset)} over "
        f"{scores['subset_accuracy_count']:,} fully known rows.</p>"
        f'<div class="scroll"><table><thead><tr><th>attribute</th>{heads}</tr></thead><tbody>{"".join(rows)}'
        "</tbody></table></div>"
    )
    return details("All figures: score [95 % interval] | chance", table)


def optimistic_table(scores: dict) -> str:
    """The honest figures beside those on the very images that thresholds and calibration were chosen on."""
    names = {
        "f1_macro": "macro F1",
        "f1_micro": "micro F1",
        "mean_brier": "Brier score, lower is better",
        "mean_ece": "calibration error, lower is better",
    }
    pairs = {key: (precise(scores[key]), precise(value)) for key, value in scores["optimistic"].items()}
    rows = [
        f"<tr><td>{names[key]}</td><td><b>{honest}</b></td><td>{optimistic}</td></tr>"
        for key, (honest, optimistic) in pairs.items()
        if honest != optimistic
    ]
    told = (
        "<p>Thresholds or calibration were chosen on these images. The scores above come from folds, each "
        "decided as the others choose. The figures on the very images of the choice"
    )
    if not rows:
        return f"{told} are the same.</p>"
    return (
        f"{told} do not hold for new ones:</p>"
        '<div class="scroll"><table><thead><tr><th></th><th>by the other folds</th><th>optimistic</th></tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def folds_table(report: dict) -> str:
    """Scores of the folds' models, and their spread."""
    keys = {"mean_ap": "mean AP", "mean_auroc": "mean AUROC", "f1_macro": "macro F1"}
    rows = [
        f"<tr><td>{i}</td>{''.join(f'<td>{precise(fold[key])}</td>' for key in keys)}</tr>"
        for i, fold in enumerate(report["folds"], start=1)
    ]
    spread = "".join(f"<td>{precise(report[f'{key}_spread'])}</td>" for key in keys)
    heads = "".join(f"<th>{name}</th>" for name in keys.values())
    return (
        f'<div class="scroll"><table><thead><tr><th>fold</th>{heads}</tr></thead><tbody>{"".join(rows)}'
        f'<tr class="mean"><td>standard deviation</td>{spread}</tr></tbody></table></div>'
    )


def balance_table(entries: Iterable[tuple[str, int, int, int]]) -> str:
    """How often each attribute is present, absent and unknown.

    Args:
        entries: Attributes, each with these three counts.
    """
    rows = []
    for name, *counts in entries:
        kinds = zip(("present", "absent", "unknown"), counts, strict=True)
        bars = "".join(f'<i class="{kind}" style="flex:{count}"></i>' for kind, count in kinds if count)
        cells = "".join(f"<td>{count:,}</td>" for count in counts)
        rows.append(f'<tr><td>{isolated(name)}</td>{cells}<td><div class="bar">{bars}</div></td></tr>')
    return (
        '<div class="scroll"><table><thead><tr><th>attribute</th><th>present</th><th>absent</th><th>NA</th>'
        f"<th></th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def precise(value: float | None) -> str:
    """Three decimals; `-` for None."""
    return "-" if value is None else f"{value:.3f}"
