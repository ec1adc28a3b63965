"""Label files: text with a row per image, which labels every attribute 1, 0 or NA."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np

from aimonk.data.formats.image_names import ImageNames
from aimonk.data.formats.label_layout import SPLIT_COLUMN, Layout, find_layout
from aimonk.data.formats.tokens import INVALID, PRESENT, UNKNOWN, Tokens
from aimonk.data.formats.wrong_labels import WrongLabels
from aimonk.data.labels import SPLIT_NAMES, SPLITS, LabelTable, check_names, check_selection
from aimonk.files.delimited import read_lines
from aimonk.files.text import join_errors, listed, plural

log = logging.getLogger(__name__)


def read_labels(
    path: Path,
    attributes: Sequence[str] | None = None,
    images: Path | None = None,
    tokens: Tokens | None = None,
) -> LabelTable:
    """Read a label file: `image_0.jpg 1 NA 0 1`, separated by white space, tabs, commas or semicolons.

    A first row without labels is a header of attribute names. Its column `split`, if any, assigns images to
    train, val or test. An unnamed first column of integers, the index of a pandas table, is ignored.

    Args:
        attributes: Selects and orders the columns of a header, or names the columns of a file without one,
            instead of Attr1, Attr2, ...
        images: The images folder, to which absolute paths become relative, and whose files complete names
            without a suffix; None leaves out both.
        tokens: The meaning of the values; None for the built-in tokens.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file has errors; the message lists the first ten with their line numbers.
    """
    rows = read_lines(path, "label file")
    if not rows:
        raise ValueError(f"{path.absolute()}: no rows; expected lines such as 'image_0.jpg 1 NA 0 1'")
    tokens = Tokens() if tokens is None else tokens
    layout = find_layout(path, rows, tokens)
    names = layout.attributes
    given = check_names(attributes or [], "data.attributes")
    if given and not layout.has_header:
        if len(given) != len(names):
            expected = f"{len(names)}, the number of label columns of {path}"
            raise ValueError(f"data.attributes has {plural(len(given), 'name')}; expected {expected}")
        names = given
    check_selection(given, names, path)
    entries = _read_rows(path, layout, names, ImageNames(images), tokens)
    values = np.frombuffer(b"".join(row.values for row in entries.values()), np.uint8)
    values = values.reshape(len(entries), len(names))
    splits = [row.split for row in entries.values()] if layout.split_column is not None else None
    present = (values == PRESENT).astype(np.float32)
    table = LabelTable(list(entries), names, present, values != UNKNOWN, splits)
    return table.select(given) if given else table


@dataclass(slots=True)
class Row:
    """A row of a label file: line number, a value of each attribute, and split."""

    line: int
    values: bytes
    split: str | None


def _read_rows(
    path: Path, layout: Layout, attributes: list[str], images: ImageNames, tokens: Tokens
) -> dict[str, Row]:
    """The first row of each image; warns of images in several rows with identical labels."""
    entries: dict[str, Row] = {}
    errors: list[tuple[int, str]] = []
    wrong = WrongLabels()
    repeated: list[str] = []
    for line, text in layout.rows:
        fields = layout.split(text)
        try:
            split = _take_split(fields, layout.split_column)
            if len(fields) != len(attributes) + 1:
                expected = plural(len(attributes), "label")
                raise ValueError(
                    f"the row has {plural(len(fields), 'field')}; expected an image and {expected}"
                )
            name = images.resolve(fields[0])
        except ValueError as error:
            errors.append((line, str(error)))
            continue
        values = bytes(map(tokens.__getitem__, fields[1:]))
        if INVALID in values:
            wrong.add(line, attributes, fields[1:], values)
            continue
        row = entries.setdefault(name, Row(line, values, split))
        if row.values != values:
            errors.append((line, f"the labels of {name!r} differ from those on line {row.line}"))
        elif row.line != line:
            repeated.append(f"{name!r} (lines {row.line} and {line})")
    if errors := sorted(errors + wrong.errors(), key=itemgetter(0)):
        raise ValueError(join_errors([f"{path} line {line}: {error}" for line, error in errors]))
    if repeated:
        count = plural(len(repeated), "image")
        log.warning("%s: %s listed twice with identical labels: %s", path, count, listed(repeated))
    return entries


def _take_split(fields: list[str], column: int | None) -> str | None:
    """Remove the split from the fields of a row, if the file assigns any."""
    if column is None:
        return None
    text = fields.pop(column) if len(fields) > column else None
    split = text and SPLIT_NAMES.get(text.lower())
    if not split:
        raise ValueError(f"{SPLIT_COLUMN!r} is {text!r}; expected {', '.join(SPLITS)}")
    return split
