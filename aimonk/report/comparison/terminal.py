"""A comparison as a table for a terminal."""

import io

from rich.console import Console
from rich.table import Table
from rich.text import Text

from aimonk.files.text import listed, plural
from aimonk.report.comparison.content import TITLES, Comparison, Ranking
from aimonk.report.comparison.wording import (
    describe_optimism,
    format_difference,
    format_epochs,
    format_p,
    format_runs,
    format_score,
    verdict,
)
from aimonk.report.tables import shorten

MOST_ROWS = 40  # of a table on the terminal
MOST_COLUMNS = 5  # settings on the terminal
LONGEST_VALUE = 18
WIDTH = 160


def format_comparison(comparison: Comparison) -> str:
    """All rankings and the folders that are in none, for a terminal."""
    blocks = [format_ranking(ranking, number) for number, ranking in enumerate(comparison.rankings, start=1)]
    if comparison.left_out:
        shown = [f"  {folder}: {reason}" for folder, reason in comparison.left_out[:MOST_ROWS]]
        more = len(comparison.left_out) - len(shown)
        blocks.append("\n".join(["not ranked:", *shown, *([f"  and {more} more"] if more > 0 else [])]))
    return "\n\n".join(blocks)


def format_ranking(ranking: Ranking, number: int) -> str:
    """A table with a row for each setting; `=` marks those that cannot be distinguished from the best."""
    columns = ranking.columns[:MOST_COLUMNS]
    table = Table(title_justify="left", box=None, pad_edge=False)
    heads = ["", *columns, f"{TITLES[ranking.metric]} [95 %] | chance", "difference from the best", "p"]
    heads += ["runs", "epoch", "seconds", "folder"]
    for head in heads:
        table.add_column(Text(head), justify="right" if head in ("p", "seconds") else "left", no_wrap=True)
    for row in ranking.rows[:MOST_ROWS]:
        cells = ["=" if row.is_candidate else ""]
        cells += [shorten(row.settings[column], LONGEST_VALUE) for column in columns]
        cells += [format_score(row), format_difference(row.difference), format_p(row.p), format_runs(row)]
        cells += [format_epochs(row), "-" if row.seconds is None else f"{row.seconds:.1f}"]
        table.add_row(*map(Text, [*cells, shorten(row.folders[0].name, 40)]))
    text = io.StringIO()
    Console(file=text, width=WIDTH, force_terminal=False).print(table)
    lines = [f"{number}. {ranking.basis}" + (f" ({ranking.apart})" if ranking.apart else "")]
    lines += [line.rstrip() for line in text.getvalue().rstrip().split("\n")]
    hidden = [plural(len(ranking.rows) - MOST_ROWS, "row")] if len(ranking.rows) > MOST_ROWS else []
    if len(ranking.columns) > MOST_COLUMNS:
        hidden.append(f"the settings {listed(ranking.columns[MOST_COLUMNS:])}")
    if hidden:
        lines.append(f"and {' and '.join(hidden)} in the CSV file")
    lines.append(f"verdict: {verdict(ranking)}")
    if len(ranking.rows) > 1:
        lines.append("= cannot be distinguished from the best; p is corrected for the number of settings")
    optimism = describe_optimism(ranking)
    lines += [*([optimism] if optimism else []), ranking.advice, *ranking.notes]
    if ranking.effects:
        lines += ["Mean change by an option, against the other options:"]
        lines += [f"  {e.setting}={e.option}: {format_difference(e.change)}" for e in ranking.effects]
    return "\n".join(lines)
