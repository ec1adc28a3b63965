"""Contents of the CSV files of a run."""

from collections.abc import Sequence

import numpy as np

from aimonk.data.labels import LabelTable
from aimonk.evaluation.evaluate import Evaluation
from aimonk.files.text import format_table


def format_losses(losses: Sequence[float]) -> str:
    """Training loss of each iteration, numbered from 1."""
    return format_table(
        ["iteration_number", "training_loss"],
        ([str(i), repr(loss)] for i, loss in enumerate(losses, start=1)),
    )


def format_splits(names: Sequence[str], parts: dict[str, np.ndarray]) -> str:
    """Split of each image, as `data.splits` reads it."""
    part_of = {row: part for part, rows in parts.items() for row in rows.tolist()}
    return format_table(["image", "split"], ([name, part_of[i]] for i, name in enumerate(names)))


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
