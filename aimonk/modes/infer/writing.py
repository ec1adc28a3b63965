"""Predictions for a few images: a file, or the terminal."""

import logging
import sys
from pathlib import Path

from aimonk.files.atomic import write_text
from aimonk.files.text import plural, printable
from aimonk.report.predictions import Predictions, print_table, to_csv, to_json, to_jsonl, to_text

FORMATS = ("auto", "text", "csv", "json", "jsonl")

log = logging.getLogger(__name__)


def write_predictions(predictions: Predictions, format: str, output: str | None) -> None:
    """Write the predictions to a file, or to the terminal where `output` is None.

    `auto` takes the format from the output's suffix; on a terminal it prints a table.
    """
    suffix = "" if output is None else Path(output).suffix.lower()
    if format == "auto" and suffix == ".png":
        # loading matplotlib takes as long as predicting for many images
        from aimonk.report.plots.prediction import plot_predictions

        if predictions.images:
            plot_predictions(Path(output), predictions.images)
        return
    if format == "auto" and output is None and sys.stdout.isatty():
        return print_table(predictions)
    if format == "auto":
        format = suffix.removeprefix(".")
    if format == "csv":
        content = to_csv(predictions)
    elif format == "json":
        content = to_json(predictions)
    elif format == "jsonl":
        content = to_jsonl(predictions)
    else:
        content = to_text(predictions)
    if output is None:
        sys.stdout.write("\n".join(map(printable, content.split("\n"))) if sys.stdout.isatty() else content)
    else:
        write_text(Path(output), content)
        log.info("predictions for %s: %s", plural(len(predictions.images), "image"), output)
