"""Tables that a run leaves in its folder, as text."""

from collections.abc import Sequence

import numpy as np

from aimonk.data.labels import LabelTable
from aimonk.evaluation.evaluate import Evaluation
from aimonk.files.text import format_table


def format_losses(losses: Sequence[float]) -> str:
    """Training loss of every iteration, from 1."""
    return format_table(
        ["iteration_number", "training_loss"],
        ([str(i), repr(loss)] for i, loss in enumerate(losses, start=1)),
    )


def format_splits(names: Sequence[str], parts: dict[str, np.ndarray]) -> str:
    """Which part each image is in, without those in none; a file that `data.splits` reads."""
    part_of = {row: part for part, rows in parts.items() for row in rows.tolist()}
    return format_table(["image", "split"], ([names[row], part_of[row]] for row in sorted(part_of)))


def format_predictions(
    table: LabelTable, parts: dict[str, np.ndarray], evaluations: dict[str, Evaluation]
) -> str:
    """Probabilities of every held-out image."""
    rows = (
        [table.names[row], *(f"{p:.6f}" for p in probs)]
        for name in evaluations
        for row, probs in zip(parts[name], evaluations[name].probs, strict=True)
    )
    return format_table(["image", *table.attributes], rows)
