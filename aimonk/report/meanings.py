"""What each value of a label file means, as a table."""

from collections.abc import Iterator

from aimonk.data.annotations import ABSENT, PRESENT, UNKNOWN, Annotations
from aimonk.data.labels import LabelTable
from aimonk.files.text import plural
from aimonk.report.tables import shorten

COLUMNS = {"present": PRESENT, "absent": ABSENT, "unknown": UNKNOWN}


def describe_legend(annotations: Annotations) -> str:
    """Such as `1 is present, -1 and blank are unknown`, of the values that occur."""
    counts, parts = annotations.counts().sum(axis=1), []
    for name, meaning in COLUMNS.items():
        found = zip(annotations.legend, counts, strict=True)
        texts = [value.text for value, count in found if value.meaning == meaning and count]
        if texts:
            listed = " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)
            parts.append(f"{listed} {'is' if len(texts) == 1 else 'are'} {name}")
    return ", ".join(parts)


def format_meanings(annotations: Annotations, table: LabelTable) -> str:
    """A row per attribute: numbers of present, absent and unknown labels, and the values behind them.

    The values are counted in all annotations of an image, which may be more than its one label.
    """
    counts = annotations.counts()
    rows = [["attribute", *COLUMNS]]
    for a, (name, *numbers) in enumerate(zip(table.attributes, *table.counts(), strict=True)):
        column = annotations.attributes.index(name)
        own = [
            (value, count)
            for value, count in zip(annotations.legend, counts[:, column].tolist(), strict=True)
        ]
        cells = [
            " ".join(
                [
                    f"{number:,}",
                    *_sources([(v.text, n) for v, n in own if v.meaning == meaning and n], number),
                ]
            )
            for number, meaning in zip(numbers, COLUMNS.values(), strict=True)
        ]
        rows.append([shorten(table.attributes[a]), *cells])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    images = plural(len(table), "image")
    if len(annotations.images) > len(annotations.names):
        images += f", {plural(len(annotations.images), 'annotation')}"
    return "\n".join([*lines, images])


def _sources(found: list[tuple[str, int]], number: int) -> Iterator[str]:
    """The values behind a number of labels, with their counts where these differ from it."""
    if found:
        single = len(found) == 1 and found[0][1] == number
        yield "(" + ", ".join(text if single else f"{text}: {count:,}" for text, count in found) + ")"
