"""Label files: text with a row per image, which labels every attribute 1, 0 or NA."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

import numpy as np

from aimonk.data.annotations import Annotations
from aimonk.data.formats.image_names import ImageNames
from aimonk.data.formats.text.layout import ANNOTATOR_COLUMN, SPLIT_COLUMN, Layout, find_layout
from aimonk.data.formats.text.tokens import INVALID, Tokens
from aimonk.data.formats.text.wrong_labels import WrongLabels
from aimonk.data.labels import SPLIT_NAMES, SPLITS, LabelTable, check_names, select_attributes
from aimonk.data.repeated import combine
from aimonk.files.delimited import read_lines
from aimonk.files.text import join_errors, plural


def read_labels(
    path: Path,
    attributes: Sequence[str] | None = None,
    images: Path | None = None,
    tokens: Tokens | None = None,
) -> LabelTable:
    """The label table of a label file without images in several rows; arguments and errors as `read_rows`."""
    annotations = read_rows(path, ImageNames(images), attributes, Tokens() if tokens is None else tokens)
    table = combine(annotations, "error", path)
    return select_attributes(table, attributes, path)


def read_label_file(
    path: Path, images: ImageNames, attributes: Sequence[str] | None, tokens: Mapping[str, Sequence]
) -> Annotations:
    """The annotations in a label file; further arguments and errors as `read_rows`.

    Args:
        tokens: Arguments of Tokens.
    """
    return read_rows(path, images, attributes, Tokens(**tokens))


def read_rows(
    path: Path, images: ImageNames, attributes: Sequence[str] | None, tokens: Tokens
) -> Annotations:
    """Read a label file: `image_0.jpg 1 NA 0 1`, separated by white space, tabs, commas or semicolons.

    A first row without labels is a header of attribute names. Its column `split`, if any, assigns images to
    train, val or test; its column `annotator` names who labelled the row. An unnamed first column of
    integers, the index of a pandas table, is ignored.

    Args:
        images: Makes absolute paths relative, and completes names without a suffix.
        attributes: Names the columns of a file without a header, instead of Attr1, Attr2, ...
        tokens: The meaning of the values.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file has errors; the message lists the first ten with their line numbers.
    """
    lines = read_lines(path, "label file")
    if not lines:
        raise ValueError(f"{path.absolute()}: no rows; expected lines such as 'image_0.jpg 1 NA 0 1'")
    layout = find_layout(path, lines, tokens)
    names = layout.attributes
    given = check_names(attributes or [], "data.attributes")
    if given and not layout.has_header:
        if len(given) != len(names):
            expected = f"{len(names)}, the number of label columns of {path}"
            raise ValueError(f"data.attributes has {plural(len(given), 'name')}; expected {expected}")
        names = given
    rows = _read_rows(path, layout, names, images, tokens)
    codes = np.frombuffer(b"".join(rows.values), np.uint8).reshape(-1, len(names))
    return Annotations(
        list(rows.names),
        names,
        tokens.legend(),
        codes,
        np.array(rows.images, np.int64),
        rows.lines,
        annotators=rows.annotators if layout.annotator_column is not None else None,
        splits=list(rows.splits.values()) if layout.split_column is not None else None,
    )


@dataclass
class Rows:
    """Rows of a label file: line numbers, images, a value of each attribute, annotators; and splits by image.

    Attributes:
        names: Image -> its index.
        splits: Index of an image -> its split, and the line that states it.
    """

    names: dict[str, int] = field(default_factory=dict)
    lines: list[int] = field(default_factory=list)
    images: list[int] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)
    annotators: list[str] = field(default_factory=list)
    splits: dict[int, str] = field(default_factory=dict)


def _read_rows(path: Path, layout: Layout, attributes: list[str], images: ImageNames, tokens: Tokens) -> Rows:
    rows, wrong = Rows(), WrongLabels()
    errors: list[tuple[int, str]] = []
    width = len(attributes) + 1
    for line, text in layout.rows:
        fields = layout.split(text)
        try:
            annotator, split = _take_columns(fields, layout)
            if len(fields) != width:
                expected = plural(len(attributes), "label")
                raise ValueError(
                    f"the row has {plural(len(fields), 'field')}; expected an image and {expected}"
                )
            name = images.resolve(fields[0])
            image = rows.names.setdefault(name, len(rows.names))
            if split is not None and rows.splits.setdefault(image, split) != split:
                before = rows.splits[image]
                raise ValueError(f"{SPLIT_COLUMN!r} of {name!r} is {split}; expected {before}, as before")
        except ValueError as error:
            errors.append((line, str(error)))
            continue
        values = bytes(map(tokens.__getitem__, fields[1:]))
        if INVALID in values:
            wrong.add(line, attributes, fields[1:], values)
            continue
        rows.lines.append(line)
        rows.images.append(image)
        rows.values.append(values)
        rows.annotators.append(annotator)
    if errors := sorted(errors + wrong.errors(), key=itemgetter(0)):
        raise ValueError(join_errors([f"{path} line {line}: {error}" for line, error in errors]))
    return rows


def _take_columns(fields: list[str], layout: Layout) -> tuple[str, str | None]:
    """Remove the annotator and the split from the fields of a row, where the file has these columns."""
    annotator, split = "", None
    found = {layout.annotator_column: ANNOTATOR_COLUMN, layout.split_column: SPLIT_COLUMN}
    for column in sorted((c for c in found if c is not None), reverse=True):
        text = fields.pop(column) if len(fields) > column else None
        if found[column] == ANNOTATOR_COLUMN:
            annotator = text or ""
        else:
            split = text and SPLIT_NAMES.get(text.lower())
            if not split:
                raise ValueError(f"{SPLIT_COLUMN!r} is {text!r}; expected {', '.join(SPLITS)}")
    return annotator, split
