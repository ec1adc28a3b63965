"""Tables with a row per image: a column per attribute, or a column that lists the attributes of the image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from aimonk.data.annotations import Annotations
from aimonk.data.formats.image_names import ImageNames
from aimonk.data.formats.tables.files import TableFile, open_table
from aimonk.data.formats.tables.label_lists import ListFormat, list_format, read_label_lists
from aimonk.data.formats.text.layout import ANNOTATOR_COLUMN, INDEX_NAMES, SPLIT_COLUMN
from aimonk.data.formats.text.tokens import INVALID, Tokens
from aimonk.data.formats.text.wrong_labels import WrongLabels
from aimonk.data.labels import SPLIT_NAMES, SPLITS, check_names
from aimonk.files.text import join_errors, one_line, suggest

IMAGE_NAMES = ("image", "file_name")


def read_table(
    path: Path,
    images: ImageNames,
    image_column: str | None,
    columns: Mapping[str, str] | None,
    list_column: str | None,
    list_separator: str | None,
    class_names: Sequence[str] | None,
    blank: str | None,
    attributes: Sequence[str] | None,
    tokens: Mapping[str, Sequence],
) -> Annotations:
    """Read a table; a null is unknown, as is a list that is null.

    A column `split` assigns images to train, val or test; a column `annotator` names who labelled the row.

    Args:
        image_column: None for the column `image` or `file_name`, otherwise the first one.
        columns: Attribute -> its column; None for all columns.
        list_column: Column that lists the attributes that are present; there are then no other attributes.
        list_separator: As of ListFormat.
        class_names: As of ListFormat.
        blank: What it means that an attribute is not listed.
        attributes: The attributes to read; None for all.
        tokens: Arguments of Tokens.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Errors in the file or the settings; the message lists the first ten with their lines.
    """
    table = open_table(path)
    lists = list_format(list_column, list_separator, class_names, blank)
    return read_columns(table, images, image_column, columns, lists, attributes, Tokens(**tokens))


@dataclass(frozen=True)
class Layout:
    """Columns of a table: the image, those of the attributes, and the split and the annotator if any."""

    image: str
    attributes: dict[str, str]
    split: str | None
    annotator: str | None


def read_columns(
    table: TableFile,
    images: ImageNames,
    image_column: str | None,
    columns: Mapping[str, str] | None,
    lists: ListFormat | None,
    attributes: Sequence[str] | None,
    tokens: Tokens,
) -> Annotations:
    """The annotations of an opened table; further arguments and errors as `read_table`."""
    layout = _find_layout(table, image_column, columns, lists, attributes)
    names, rows, splits, errors = _read_images(table, layout, images)
    if lists is None:
        legend, found = tokens.legend(), list(layout.attributes)
        codes, wrong = _read_labels(table, layout.attributes, tokens)
    else:
        legend, found, codes, wrong = read_label_lists(table, lists, attributes)
    if errors := sorted(errors + wrong, key=itemgetter(0)):
        unit, places = table.unit, table.places
        raise ValueError(join_errors([f"{table.path} {unit} {places[row]}: {text}" for row, text in errors]))
    annotators = None
    if layout.annotator is not None:
        values = table.column(layout.annotator)
        annotators = ["" if value is None else f"{value}".strip() for value in values]
    owners = np.array(rows, np.int64)
    return Annotations(names, found, legend, codes, owners, table.places, table.unit, annotators, splits)


def _find_layout(
    table: TableFile,
    image_column: str | None,
    columns: Mapping[str, str] | None,
    lists: ListFormat | None,
    attributes: Sequence[str] | None,
) -> Layout:
    """Find the columns.

    Raises:
        ValueError: A setting names no column, or there are no attributes.
    """
    names = table.names
    image = image_column
    if image is None:
        others = [name for name in names if name not in INDEX_NAMES] or names
        image = next((name for name in others if name.lower() in IMAGE_NAMES), others[0])
    _require(table, image, "data.image_column")
    split = next((n for n in names if n.lower() == SPLIT_COLUMN and n != image and _is_split(table, n)), None)
    annotator = next((n for n in names if n.lower() == ANNOTATOR_COLUMN and n != image), None)
    if lists is not None:
        if columns is not None:
            raise ValueError("data.columns and data.list_column are both given; expected one of them")
        _require(table, lists.column, "data.list_column")
        return Layout(image, {}, split, annotator)
    if columns is None:
        others = [n for n in names if n not in (image, split, annotator, *INDEX_NAMES)]
        chosen = dict(zip(check_names(list(map(one_line, others)), f"{table.path}"), others, strict=True))
    else:
        chosen = _check_columns(table, columns)
    if not chosen:
        raise ValueError(f"{table.path}: no column of labels; expected columns besides {image[:80]!r}")
    given = [name.strip() for name in attributes or []]
    for name in given:
        if name not in chosen:
            raise ValueError(
                f"data.attributes has {name[:80]!r}, no column of {table.path}; {_hint(name, chosen)}"
            )
    return Layout(image, {n: c for n, c in chosen.items() if not given or n in given}, split, annotator)


def _check_columns(table: TableFile, columns: Any) -> dict[str, str]:
    if not isinstance(columns, Mapping) or not all(isinstance(c, str) for c in columns.values()):
        raise ValueError(
            f"data.columns is {columns!r}; expected a column for each attribute, as in {{hat: Has_Hat}}"
        )
    for column in columns.values():
        _require(table, column, "data.columns")
    names = check_names(list(columns), "data.columns")
    return dict(zip(names, columns.values(), strict=True))


def _require(table: TableFile, name: str, key: str) -> None:
    if name not in table.names:
        raise ValueError(f"{key} has {name[:80]!r}, no column of {table.path}; {_hint(name, table.names)}")


def _hint(name: str, names: Sequence[str] | Mapping) -> str:
    return suggest(name, list(names), "expected one of")


def _is_split(table: TableFile, column: str) -> bool:
    """Whether the first value names a split; an attribute may be called `split` as well."""
    first = next((value for value in table.column(column) if value not in (None, "")), None)
    return isinstance(first, str) and first.strip().lower() in SPLIT_NAMES


Errors = list[tuple[int, str]]  # index of the row, and a message


def _read_images(
    table: TableFile, layout: Layout, images: ImageNames
) -> tuple[list[str], list[int], list[str] | None, Errors]:
    """Unique names, the index into them of each row, and the split of each name."""
    found: dict[str, int] = {}
    splits: dict[int, str] = {}
    rows, errors = [], []
    split_values = table.column(layout.split) if layout.split else [None] * len(table.places)
    for row, (value, split) in enumerate(zip(table.column(layout.image), split_values, strict=True)):
        try:
            if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
                raise ValueError(f"{layout.image[:80]!r} is {_show(value)}; expected the name of an image")
            name = images.resolve(f"{value}")
            rows.append(found.setdefault(name, len(found)))
            if layout.split is not None:
                part = SPLIT_NAMES.get(f"{split}".strip().lower())
                if part is None:
                    raise ValueError(f"{SPLIT_COLUMN!r} is {_show(split)}; expected {', '.join(SPLITS)}")
                if splits.setdefault(rows[-1], part) != part:
                    before = splits[rows[-1]]
                    raise ValueError(
                        f"{SPLIT_COLUMN!r} of {name[:80]!r} is {part}; expected {before}, as before"
                    )
        except ValueError as error:
            errors.append((row, f"{error}"))
    return list(found), rows, list(splits.values()) if layout.split is not None else None, errors


def _read_labels(table: TableFile, columns: Mapping[str, str], tokens: Tokens) -> tuple[np.ndarray, Errors]:
    """Codes of the legend of the tokens, [R, A]; and wrong labels."""
    codes = np.empty((len(table.places), len(columns)), np.uint8)
    fields = []
    for a, column in enumerate(columns.values()):
        values = table.column(column)
        first = next((row for row, value in enumerate(values) if isinstance(value, list)), None)
        if first is not None:
            fix = f"data.list_column={column[:80]} reads lists of attributes"
            return codes, [(first, f"{column[:80]!r} is a list; expected 1, 0 or NA; {fix}")]
        texts = [value if isinstance(value, str) else _spell(value) for value in values]
        codes[:, a] = np.fromiter(map(tokens.__getitem__, texts), np.uint8, len(texts))
        fields.append(texts)
    wrong, names = WrongLabels(), list(columns)
    for row in np.flatnonzero((codes == INVALID).any(axis=1)).tolist():
        wrong.add(row, names, [texts[row] for texts in fields], bytes(codes[row]))
    fix = "; data.attributes=[...] selects the columns of labels"
    return codes, [(row, error + fix) for row, error in wrong.errors()]


def _spell(value: Any) -> str:
    """The token of a value of JSON or Parquet."""
    return "null" if value is None else f"{value}"


def _show(value: Any) -> str:
    return "null" if value is None else repr(value)[:40]
