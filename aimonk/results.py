"""Tables that a run leaves in its folder, as text."""

import csv
import io
from collections.abc import Iterable, Sequence

import numpy as np

from aimonk.data.labels import LabelTable
from aimonk.evaluation import Judgement
from aimonk.text import guard


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A CSV file; texts are guarded against spreadsheets."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([guard(name) for name in header])
    writer.writerows([guard(row[0]), *row[1:]] for row in rows)
    return text.getvalue()


def format_losses(losses: Sequence[float]) -> str:
    """Training loss of every iteration, from 1."""
    return format_table(
        ["iteration_number", "training_loss"],
        ([str(i), repr(loss)] for i, loss in enumerate(losses, start=1)),
    )


def format_splits(names: Sequence[str], parts: dict[str, np.ndarray]) -> str:
    """Which part each image is in; a file that `data.splits` reads."""
    part_of = {row: part for part, rows in parts.items() for row in rows.tolist()}
    return format_table(["image", "split"], ([name, part_of[i]] for i, name in enumerate(names)))


def format_predictions(table: LabelTable, parts: dict[str, np.ndarray], judged: dict[str, Judgement]) -> str:
    """Probabilities of every held-out image."""
    rows = (
        [table.names[row], *(f"{p:.6f}" for p in probs)]
        for name in judged
        for row, probs in zip(parts[name], judged[name].probs, strict=True)
    )
    return format_table(["image", *table.attributes], rows)
