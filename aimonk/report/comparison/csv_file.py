"""A comparison as a CSV file."""

from collections.abc import Sequence

from aimonk.files.text import format_table
from aimonk.report.comparison.content import Comparison
from aimonk.report.comparison.wording import format_epochs


def format_csv(comparison: Comparison) -> str:
    """All rows of all rankings and the folders that are in none, as a CSV file."""
    settings = list(dict.fromkeys(c for ranking in comparison.rankings for c in ranking.columns))
    header = ["folder", "ranking", "rank", "indistinguishable", *settings, "score", "low", "high", "chance"]
    header += ["difference", "difference_low", "difference_high", "p", "runs", "spread"]
    header += ["epoch", "seconds", "trained_parameters", "reason"]
    rows = []
    for number, ranking in enumerate(comparison.rankings, start=1):
        for rank, row in enumerate(ranking.rows, start=1):
            cells = [";".join(map(str, row.folders)), f"{number}", f"{rank}", f"{int(row.is_candidate)}"]
            cells += [row.settings.get(name, "") for name in settings]
            cells += _numbers(row.score, *(row.interval or (None, None)), row.chance)
            cells += _numbers(row.difference.value, *(row.difference.interval or (None, None)), row.p)
            trained = None if row.parameters is None else row.parameters[0]
            cells += [f"{len(row.folders)}", *_numbers(row.spread), format_epochs(row)]
            rows.append([*cells, *_numbers(row.seconds, trained), ""])
    for folder, reason in comparison.left_out:
        rows.append([f"{folder}", *[""] * (len(header) - 2), reason])
    return format_table(header, rows)


def _numbers(*values: float | None) -> Sequence[str]:
    return ["" if value is None else f"{value:.8g}" for value in values]
