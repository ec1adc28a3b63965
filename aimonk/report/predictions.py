"""What a model says of images, as text, CSV, JSON, a table for people, or a picture."""

import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from aimonk.files.atomic import write_text
from aimonk.files.text import format_table, guard, printable

log = logging.getLogger(__name__)


@dataclass
class Answer:
    """What the model says of one image.

    Attributes:
        present: Attributes whose probability reaches their threshold.
        probs: Of every attribute.
    """

    image: str
    present: list[str]
    probs: dict[str, float]


def show(
    answers: list[Answer], attributes: list[str], checkpoint: str, style: str, output: str | None
) -> None:
    """Write the answers to the terminal or a file, in the style asked for."""
    if style == "auto" and output is not None and output.lower().endswith(".png"):
        from aimonk.report.plots.prediction import (
            draw,  # matplotlib takes as long to load as many images to answer
        )

        if answers:
            draw(Path(output), answers)
        return
    if style == "auto" and output is not None:
        style = {".csv": "csv", ".json": "json"}.get(Path(output).suffix.lower(), "text")
    if style == "auto" and sys.stdout.isatty():
        return print_table(answers, attributes)
    text = {"csv": to_csv, "json": to_json}.get(style, to_text)(answers, attributes, checkpoint)
    if output is None:
        sys.stdout.write("\n".join(map(printable, text.split("\n"))) if sys.stdout.isatty() else text)
    else:
        write_text(Path(output), text)
        log.info("%d images in %s", len(answers), output)


def to_text(answers: list[Answer], attributes: list[str], checkpoint: str) -> str:
    """A line per image: what is present, then every probability."""
    lines = []
    for answer in answers:
        probs = ", ".join(f"{name} {p:.3f}" for name, p in answer.probs.items())
        lines.append(printable(f"{answer.image}: {', '.join(answer.present) or 'nothing'} ({probs})") + "\n")
    return "".join(lines)


def to_json(answers: list[Answer], attributes: list[str], checkpoint: str) -> str:
    """The checkpoint, and of each image what is present and every probability."""
    images = [{"image": a.image, "present": a.present, "probabilities": a.probs} for a in answers]
    return json.dumps({"checkpoint": checkpoint, "images": images}, indent=2, ensure_ascii=False) + "\n"


def to_csv(answers: list[Answer], attributes: list[str], checkpoint: str) -> str:
    """A row per image: its name, what is present, every probability."""
    rows = ([a.image, guard(";".join(a.present)), *(f"{p:.6f}" for p in a.probs.values())] for a in answers)
    return format_table(["image", "present", *attributes], rows)


def print_table(answers: list[Answer], attributes: list[str]) -> None:
    """A table for people: one image downwards, several across."""

    def plain(content: str, style: str = "") -> Text:
        # as a Text, brackets are no markup
        return Text(printable(content), style=style)

    console = Console()
    if len(answers) == 1:
        console.print(plain(answers[0].image))
        table = Table("attribute", "probability", "present")
        for name, p in answers[0].probs.items():
            present = name in answers[0].present
            table.add_row(plain(name, "bold" if present else "dim"), f"{p:.3f}", "yes" if present else "no")
    else:
        table = Table()
        for name in ("image", "present", *attributes):
            table.add_column(plain(name), overflow="fold")
        for answer in answers:
            probs = [f"{p:.3f}" for p in answer.probs.values()]
            table.add_row(plain(answer.image), plain(", ".join(answer.present) or "-", "bold"), *probs)
    console.print(table)
