"""Sentences and figures of a comparison, the same on a terminal and on a page."""

from aimonk.evaluation.comparison import Difference
from aimonk.files.text import plural
from aimonk.report.comparison.content import Ranking, Row
from aimonk.report.tables import precise


def verdict(ranking: Ranking) -> str:
    """Which rows may be the best one, and which of them is the simplest."""
    rows, candidates, best = ranking.rows, ranking.candidates, ranking.rows[0]
    if len(rows) == 1:
        return f"one setting: {best.name}"
    if len(candidates) == 1:
        return f"best: {best.name}, better than {plural(len(rows) - 1, 'other setting')}"
    if len(candidates) == len(rows):
        sentence = f"the {len(rows)} settings cannot be distinguished"
    else:
        sentence = f"{len(candidates)} of {len(rows)} settings cannot be distinguished from the best"
    return sentence + ("" if ranking.simplest is None else f"; the simplest of them: {ranking.simplest.name}")


def describe_optimism(ranking: Ranking) -> str:
    """What the choice of the best row adds to its score; empty for one row."""
    if ranking.optimism is None:
        return ""
    score = ranking.rows[0].score
    return (
        f"The best of {len(ranking.rows)} is optimistic on the images that chose it: expect about "
        f"{score - ranking.optimism:.4f} rather than {score:.4f} on other images."
    )


def format_difference(change: Difference, digits: int = 4) -> str:
    """Such as `-0.0120 [-0.0200, -0.0040]`."""
    if change.interval is None:
        return f"{change.value:+.{digits}f}"
    low, high = change.interval
    return f"{change.value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def format_score(row: Row) -> str:
    """Such as `.987 [.970, .995] | .53`, with the spread over seeds or folds."""
    text = precise(row.score)
    if row.interval is not None:
        text += f" [{precise(row.interval[0])}, {precise(row.interval[1])}]"
    return text + ("" if row.chance is None else f" | {precise(row.chance)}")


def format_runs(row: Row) -> str:
    """Number of runs and the spread."""
    return f"{len(row.folders)}" + ("" if row.spread is None else f" ± {row.spread:.4f}")


def format_epochs(row: Row) -> str:
    """Selected epochs; `solved` for a solved head."""
    return ",".join(dict.fromkeys("solved" if epoch is None else f"{epoch}" for epoch in row.epochs))


def format_p(p: float) -> str:
    """A p-value with two significant digits."""
    return "<.001" if p < 0.001 else f"{p:.3f}".removeprefix("0") if p < 1 else "1"
