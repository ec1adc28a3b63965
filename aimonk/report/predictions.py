"""Predictions for images as text, CSV, JSON, or a table for a terminal."""

import json
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aimonk.files.text import format_table, guard, printable

THRESHOLD = " threshold"  # suffix of the columns of a CSV table behind those of the probabilities
SHORTEST_LIST = 20  # columns of a terminal for the attributes present, at least


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


@dataclass
class Predictions:
    """Predictions of a model.

    Attributes:
        thresholds: Lowest probability at which an attribute is present, by attribute.
        beats_chance: Whether the model's run found evidence of a score above chance, by attribute; None where
            this was not tested.
    """

    images: list[Prediction]
    checkpoint: str
    thresholds: dict[str, float]
    beats_chance: dict[str, bool | None]

    @property
    def doubtful(self) -> list[str]:
        """Attributes without evidence of a score above chance."""
        return [name for name, beaten in self.beats_chance.items() if beaten is False]


def to_text(predictions: Predictions) -> str:
    """A line per image: the attributes present, then every probability and its threshold."""
    lines = []
    for image in predictions.images:
        present = ", ".join(image.present) or "nothing"
        probs = ", ".join(
            f"{name} {p:.3f} {'>=' if name in image.present else '<'} {predictions.thresholds[name]:.3f}"
            for name, p in image.probs.items()
        )
        lines.append(printable(f"{image.image}: {present} ({probs})") + "\n")
    return "".join(lines)


def to_json(predictions: Predictions) -> str:
    """The model, its thresholds and verdicts, and each image's attributes present and probabilities."""
    content = _describe_model(predictions) | {"images": [_describe_image(p) for p in predictions.images]}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def to_jsonl(predictions: Predictions) -> str:
    """As `to_json`, a line per image, each with the model."""
    model = _describe_model(predictions)
    lines = (json.dumps(_describe_image(p) | model, ensure_ascii=False) for p in predictions.images)
    return "".join(f"{line}\n" for line in lines)


def _describe_model(predictions: Predictions) -> dict:
    return {
        "checkpoint": predictions.checkpoint,
        "thresholds": predictions.thresholds,
        "beats_chance": predictions.beats_chance,
    }


def _describe_image(prediction: Prediction) -> dict:
    return {
        "image": prediction.image,
        "present": prediction.present,
        "probabilities": prediction.probs,
    }


def to_csv(predictions: Predictions) -> str:
    """A row per image: name, attributes present, every probability, every threshold."""
    names, thresholds = list(predictions.thresholds), predictions.thresholds.values()
    ends = [f"{threshold:.6f}" for threshold in thresholds]
    rows = (
        [p.image, guard(";".join(p.present)), *(f"{prob:.6f}" for prob in p.probs.values()), *ends]
        for p in predictions.images
    )
    return format_table(["image", "present", *names, *(name + THRESHOLD for name in names)], rows)


def print_table(predictions: Predictions) -> None:
    """Print a table with a row per image, or for one image with a row per attribute."""
    console = Console()
    if len(predictions.images) == 1:
        (prediction,) = predictions.images
        console.print(_plain(prediction.image))
        table = Table("attribute", "probability", "threshold", "present")
        for name, p in prediction.probs.items():
            present, threshold = name in prediction.present, predictions.thresholds[name]
            label = _plain(name, "bold" if present else "dim")
            table.add_row(label, f"{p:.3f}", f"{threshold:.3f}", "yes" if present else "no")
        console.print(table)
    else:
        console.print(_table_of_images(predictions, console.width))


def _table_of_images(predictions: Predictions, width: int) -> Table:
    """A row per image: all probabilities where they fit, otherwise those of the attributes present."""
    names, table = list(predictions.thresholds), Table()
    longest = max((cell_len(p.image) for p in predictions.images), default=0)
    room = width // 3 if longest > width // 3 else longest
    table.add_column("image", no_wrap=True, min_width=room)
    if room + SHORTEST_LIST + sum(max(8, cell_len(name)) + 3 for name in names) + 7 <= width:
        table.add_column("present", overflow="fold")
        for name in names:
            head = Text.assemble(_plain(name), f"\n>= {predictions.thresholds[name]:.3f}")
            table.add_column(head, no_wrap=True)
        for p in predictions.images:
            present = _plain(", ".join(p.present) or "-", "bold")
            table.add_row(
                _plain(shorten_left(p.image, room)), present, *(f"{x:.3f}" for x in p.probs.values())
            )
        return table
    table.add_column("present, with probability; format=csv has all attributes", no_wrap=True)
    for p in predictions.images:
        present = sorted(p.present, key=lambda name: -p.probs[name])
        figures = ", ".join(f"{name} {p.probs[name]:.2f}" for name in present)
        table.add_row(_plain(shorten_left(p.image, room)), _plain(figures or "-", "bold"))
    return table


def shorten_left(path: str, width: int) -> str:
    """The printable path, cut from the left to a width in cells of a terminal."""
    path = printable(path)
    while cell_len(path) > width:
        path = f"…{path[2:] if path.startswith('…') else path[1:]}"
    return path


def _plain(content: str, style: str = "") -> Text:
    """Text in which rich reads no markup."""
    return Text(printable(content), style=style)
