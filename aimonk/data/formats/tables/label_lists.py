"""Columns that list the attributes of an image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aimonk.data.annotations import MOST_ENTRIES, PRESENT, UNKNOWN, Value
from aimonk.data.formats.blank import blank_meaning
from aimonk.data.formats.tables.files import TableFile
from aimonk.data.labels import check_names
from aimonk.files.json_file import parse_json
from aimonk.files.text import one_line

LISTED, NOT_LISTED, NULL = range(3)


@dataclass(frozen=True)
class ListFormat:
    """How a column lists attributes.

    Attributes:
        separator: Between the attributes of a text; None where texts are JSON lists.
        class_names: Names of the integers 0, 1, ... in the lists; None where the file states them, or there
            are none.
        blank: What it means that an attribute is not listed: `absent` or `unknown`.
    """

    column: str
    separator: str | None
    class_names: Sequence[str] | None
    blank: str | None


def list_format(
    column: str | None, separator: str | None, class_names: Sequence[str] | None, blank: str | None
) -> ListFormat | None:
    """The format of the column, None where no column lists attributes; arguments as of ListFormat."""
    return None if column is None else ListFormat(column, separator, class_names, blank)


def read_label_lists(
    table: TableFile, lists: ListFormat, attributes: Sequence[str] | None
) -> tuple[list[Value], list[str], np.ndarray, list[tuple[int, str]]]:
    """Legend, attributes, codes of the legend [R, A]; and errors, as index of the row and message.

    Args:
        attributes: The attributes to read, of those that are listed; None for all.

    Raises:
        ValueError: `data.blank` is not given.
    """
    not_listed = blank_meaning(
        lists.blank,
        f"an attribute that column {lists.column[:80]!r} does not list",
        "if each list is complete",
        "if a list may lack attributes of its image",
    )
    legend = [
        Value("listed", PRESENT),
        Value("not listed", not_listed),
        Value("null", UNKNOWN),
    ]
    classes = lists.class_names or table.class_names.get(lists.column)
    if classes is not None:
        classes = check_names(classes, "data.class_names" if lists.class_names else f"{table.path}")
    rows: list[list[str] | None] = []
    errors = []
    for row, value in enumerate(table.column(lists.column)):
        try:
            rows.append(_read_list(value, lists.separator, classes))
        except ValueError as error:
            errors.append((row, f"{lists.column[:80]!r} {error}"))
    found = list(dict.fromkeys([*(classes or []), *(name for names in rows for name in names or [])]))
    found = [name for name in check_names(found, f"{table.path}") if not attributes or name in attributes]
    if not found and not errors:
        expected = "data.attributes" if attributes else "lists of attributes"
        raise ValueError(
            f"{table.path}: column {lists.column[:80]!r} lists no attribute; expected {expected}"
        )
    if len(table.places) * len(found) > MOST_ENTRIES:
        fix = "data.attributes=[...] selects attributes"
        raise ValueError(f"{table.path}: column {lists.column[:80]!r} lists {len(found):,} attributes; {fix}")
    codes = np.full((len(table.places), len(found)), NOT_LISTED, np.uint8)
    columns = {name: i for i, name in enumerate(found)}
    for row, names in enumerate(rows if not errors else []):
        if names is None:
            codes[row] = NULL
        else:
            codes[row, [columns[name] for name in names if name in columns]] = LISTED
    return legend, found, codes, errors


def _read_list(value: Any, separator: str | None, classes: list[str] | None) -> list[str] | None:
    """The attributes in a list; None if it is null.

    Raises:
        ValueError: The value is no list of attributes; the message continues the name of the column.
    """
    if value is None or value == "" or value != value:  # JSON of pandas may have NaN
        return None
    items = value
    if isinstance(value, str):
        items = _split(value, separator, classes)
    elif isinstance(value, int):
        items = [value]
    if not isinstance(items, list):
        raise ValueError(f"is {value!r:.40}; expected a list of attributes")
    return [_read_item(item, classes) for item in items]


def _split(text: str, separator: str | None, classes: list[str] | None) -> list[Any]:
    if separator:
        parts = [part.strip() for part in text.split(separator)]
        items = [part for part in parts if part]
        return [int(part) if classes and part.isdecimal() and part not in classes else part for part in items]
    if classes and text.isdecimal():
        return [int(text)]
    try:
        items = parse_json(text)
    except ValueError:
        items = None
    if not isinstance(items, list):
        fix = "data.list_separator='|' splits other texts"
        raise ValueError(f'is {text[:40]!r}; expected a JSON list such as ["hat", "scarf"]; {fix}')
    return items


def _read_item(item: Any, classes: list[str] | None) -> str:
    if isinstance(item, int) and not isinstance(item, bool):
        if classes is None:
            fix = "data.class_names=[...] names the integers 0, 1, ..."
            raise ValueError(f"lists the integer {item}; expected names; {fix}")
        if not 0 <= item < len(classes):
            raise ValueError(f"lists {item}; expected 0 to {len(classes) - 1}, a class")
        return classes[item]
    name = one_line(item) if isinstance(item, str) else ""
    if not name:
        raise ValueError(f"lists {item!r:.40}; expected names of attributes")
    if classes is not None and name not in classes:
        raise ValueError(f"lists {name[:40]!r}; expected one of the names of the classes")
    return name
