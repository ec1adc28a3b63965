"""Label files with commas, as `mode=import` writes them."""

import csv
import io
import os
import tempfile
from pathlib import Path

import numpy as np

from aimonk.data.formats.text.label_file import read_labels
from aimonk.data.formats.text.layout import SPLIT_COLUMN
from aimonk.data.labels import LabelTable


def format_comma_file(table: LabelTable, images: Path) -> str:
    """A header, then the image, 1, 0 or NA of each attribute, and the split where images have one.

    Args:
        images: The images folder, which the content does not depend on.

    Raises:
        ValueError: A name cannot be written so that it is read back.
    """
    file = io.StringIO()
    # QUOTE_MINIMAL would leave a name that begins with #, a comment, unquoted
    writer, quoted = (
        csv.writer(file, lineterminator="\n", quoting=quoting)
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)
    )
    tokens = np.where(table.mask, np.where(table.labels > 0.5, "1", "0"), "NA").tolist()
    splits = table.splits
    writer.writerow(["image", *table.attributes, *([SPLIT_COLUMN] if splits else [])])
    for i, (name, row) in enumerate(zip(table.names, tokens, strict=True)):
        own = quoted if name.startswith("#") else writer
        own.writerow([name, *row, *([splits[i]] if splits else [])])
    _check(file.getvalue(), table)
    return file.getvalue()


def _check(content: str, table: LabelTable) -> None:
    """Read the content back.

    Raises:
        ValueError: It does not have the labels of the table.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.csv"
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
        try:
            found = read_labels(path)
        except ValueError as error:
            cause = f"{error}".replace(f"{folder}{os.sep}", "")
            raise ValueError(f"the labels cannot be written as a label file: {cause}") from None
    for key, own, back in (
        ("attributes", table.attributes, found.attributes),
        ("names of the images", table.names, found.names),
        ("splits", table.splits, found.splits),
    ):
        if own != back:
            wrong = next((a for a, b in zip(own or [], back or [], strict=False) if a != b), None)
            example = "" if wrong is None else f", such as {wrong[:80]!r}"
            raise ValueError(f"the {key} would be read back differently{example}; rename them")
    if not (np.array_equal(found.labels, table.labels) and np.array_equal(found.mask, table.mask)):
        raise ValueError("the labels would be read back differently")
