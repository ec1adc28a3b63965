"""Predictions for images as text, CSV, JSON, or a table for a terminal."""

import json
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from aimonk.files.text import format_table, guard, printable


@dataclass
class Prediction:
    """The attributes predicted for one image.

    Attributes:
        present: Attributes whose probability reaches their threshold.
        probs: Probability of every attribute.
    """

    image: str
    present: list[str]
    probs: dict[str, float]


def to_text(predictions: list[Prediction]) -> str:
    """A line per image: the attributes present, then every probability."""
    lines = []
    for prediction in predictions:
        present = ", ".join(prediction.present) or "nothing"
        probs = ", ".join(f"{name} {p:.3f}" for name, p in prediction.probs.items())
        lines.append(printable(f"{prediction.image}: {present} ({probs})") + "\n")
    return "".join(lines)


def to_json(predictions: list[Prediction], checkpoint: str) -> str:
    """The checkpoint, and for each image the attributes present and every probability."""
    images = [{"image": p.image, "present": p.present, "probabilities": p.probs} for p in predictions]
    return json.dumps({"checkpoint": checkpoint, "images": images}, indent=2, ensure_ascii=False) + "\n"


def to_csv(predictions: list[Prediction], attributes: list[str]) -> str:
    """A row per image: name, attributes present, every probability."""
    rows = (
        [p.image, guard(";".join(p.present)), *(f"{prob:.6f}" for prob in p.probs.values())]
        for p in predictions
    )
    return format_table(["image", "present", *attributes], rows)


def print_table(predictions: list[Prediction], attributes: list[str]) -> None:
    """Print a table with a row per image, or for one image with a row per attribute."""

    def plain(content: str, style: str = "") -> Text:
        # rich reads no markup in a Text
        return Text(printable(content), style=style)

    console = Console()
    if len(predictions) == 1:
        (prediction,) = predictions
        console.print(plain(prediction.image))
        table = Table("attribute", "probability", "present")
        for name, p in prediction.probs.items():
            present = name in prediction.present
            table.add_row(plain(name, "bold" if present else "dim"), f"{p:.3f}", "yes" if present else "no")
    else:
        table = Table()
        for name in ("image", "present", *attributes):
            table.add_column(plain(name), overflow="fold")
        for prediction in predictions:
            probs = [f"{p:.3f}" for p in prediction.probs.values()]
            present = plain(", ".join(prediction.present) or "-", "bold")
            table.add_row(plain(prediction.image), present, *probs)
    console.print(table)
