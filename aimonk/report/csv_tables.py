"""The CSV files of a run."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from aimonk.auditing.suspects import Entry
from aimonk.data.labels import LabelTable
from aimonk.evaluation.evaluate import Evaluation
from aimonk.files.delimited import read_text
from aimonk.files.text import format_table, join_errors, unguard
from aimonk.report.predictions import THRESHOLD


def format_losses(losses: Sequence[float]) -> str:
    """Training loss of each iteration, numbered from 1."""
    return format_table(
        ["iteration_number", "training_loss"],
        ([str(i), repr(loss)] for i, loss in enumerate(losses, start=1)),
    )


def read_losses(path: Path) -> list[float]:
    """The losses that `format_losses` wrote.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is damaged.
    """
    lines = read_text(path, "table of losses").splitlines()[1:]
    return [float(line.split(",")[1]) for line in lines]


def format_splits(names: Sequence[str], parts: dict[str, np.ndarray]) -> str:
    """Split of each image that is in one, as `data.splits` reads it."""
    part_of = {row: part for part, rows in parts.items() for row in rows.tolist()}
    return format_table(["image", "split"], ([names[row], part_of[row]] for row in sorted(part_of)))


def format_predictions(
    table: LabelTable, parts: dict[str, np.ndarray], evaluations: dict[str, Evaluation]
) -> str:
    """Probabilities for each held-out image."""
    rows = (
        [table.names[row], *(f"{p:.6f}" for p in probs)]
        for name in evaluations
        for row, probs in zip(parts[name], evaluations[name].probs, strict=True)
    )
    return format_table(["image", *table.attributes], rows)


def format_suspects(table: LabelTable, entries: Sequence[Entry]) -> str:
    """Labels that are probably wrong, with the out-of-fold probability of a 1.

    Args:
        entries: By row and column of `table`.
    """
    rows = (
        [table.names[e.row], table.attributes[e.attribute], str(e.label), f"{e.probability:.6f}"]
        for e in entries
    )
    return format_table(["image", "attribute", "label", "probability"], rows)


def read_predictions(path: Path) -> tuple[list[str], list[str], np.ndarray, np.ndarray | None]:
    """Attributes, image names, probabilities [n, A], thresholds [A] of a table of a run or of `mode=infer`.

    The column `present` of the latter is left out if its entries are not probabilities. Only the latter has
    thresholds; they are None where they differ between rows.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: Errors in the file, the first ten with their lines.
    """
    try:
        rows = list(csv.reader(read_text(path, "predictions").splitlines()))
    except csv.Error as error:
        raise ValueError(f"{path} is not a CSV table ({error})") from None
    if len(rows) < 2 or len(rows[0]) < 2:
        raise ValueError(f"{path}: expected a header and rows such as 'image_0.jpg,0.91,0.07'")
    if rows[0][1] == "present" and not all(row[1:2] and _is_probability(row[1]) for row in rows[1:]):
        rows = [row[:1] + row[2:] for row in rows]
    half, thresholds = (len(rows[0]) - 1) // 2, None
    if half and rows[0][1 + half :] == [name + THRESHOLD for name in rows[0][1 : 1 + half]]:
        ends = {tuple(row[1 + half :]) for row in rows[1:]}
        rows = [row[: 1 + half] if len(row) == len(rows[0]) else row for row in rows]
        if len(ends) == 1 and all(map(_is_probability, end := ends.pop())):
            thresholds = np.array(end, dtype=float)
    attributes, names, probs, errors = [unguard(name) for name in rows[0][1:]], [], [], []
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != len(attributes) + 1 or not all(map(_is_probability, row[1:])):
            errors.append(f"{path} line {line}: expected an image and {len(attributes)} probabilities")
        else:
            names.append(unguard(row[0]))
            probs.append([float(value) for value in row[1:]])
    if errors:
        raise ValueError(join_errors(errors))
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: duplicate image names")
    return attributes, names, np.array(probs), thresholds


def _is_probability(field: str) -> bool:
    try:
        return 0 <= float(field) <= 1
    except ValueError:
        return False
