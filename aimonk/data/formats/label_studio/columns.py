"""Exports of Label Studio with a column per control: JSON-MIN and CSV."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aimonk.data.formats.label_studio.export import (
    CHOICES,
    EXPECTED,
    Answer,
    Task,
    find_image_key,
    read_address,
    read_annotator,
    read_choices,
    read_time,
    show,
)
from aimonk.data.formats.tables.files import read_rows
from aimonk.data.formats.words import Words
from aimonk.files.json_file import parse_json
from aimonk.files.text import join_errors, listed

log = logging.getLogger(__name__)

# columns that Label Studio adds to the data of a task and its controls
OWN = ("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement", "split")
Row = Mapping[str, Any]
IGNORED, UNCLEAR, CONTROL = range(3)


def read_csv_rows(path: Path) -> list[Row]:
    """The rows of a CSV or TSV export, in which lists and objects are JSON; errors as `read_rows`."""
    header, rows = read_rows(path, "label file")
    for name in header:
        if header.count(name) > 1:
            raise ValueError(f"{path}: two columns are named {name[:80]!r}; expected unique names")
    return [dict(zip(header, map(_read_cell, fields), strict=True)) for _, fields in rows]


def _read_cell(text: str) -> Any:
    text = text.strip()
    if text.startswith(("{", "[")):
        try:
            return parse_json(text)
        except ValueError:
            return text
    return text or None


def read_flat_tasks(
    path: Path, rows: Sequence[Row], image_key: str | None, controls: Sequence[str] | None, words: Words
) -> list[Task]:
    """The tasks of rows that are an annotation each; arguments and errors as `read_tasks`.

    Args:
        words: Meaning of choices, by which columns of controls are recognised.
    """
    if not rows:
        raise ValueError(f"{path}: no rows; expected {EXPECTED}")
    errors, found = [], {}
    names = list(dict.fromkeys(name for row in rows for name in row))
    try:
        key = image_key or find_image_key(rows[0])
        columns = _find_controls(path, rows, [n for n in names if n not in (*OWN, key)], controls, words)
    except ValueError as error:
        raise ValueError(f"{error}" if f"{path}" in f"{error}" else f"{path}: {error}") from None
    for position, row in enumerate(rows, start=1):
        number, place = row.get("id"), position
        try:
            if number is not None:
                place = _read_id(number)
            address = read_address(row, key)
            # a position may be the id of another task
            group = (number is not None, place, address)
            task = found.setdefault(group, Task(place, address, row.get("split")))
            if task.split != row.get("split"):
                raise ValueError(f"split is {show(row.get('split'))}; expected {show(task.split)}, as before")
            if "annotation_id" in row and row["annotation_id"] is None:
                continue  # a task without annotation
            choices = {name: _read_cell_choices(row.get(name), name) for name in columns}
            time = read_time(row.get("updated_at") or row.get("created_at"))
            answer = Answer(
                {n: c for n, c in choices.items() if c}, read_annotator(row.get("annotator")), time
            )
            task.answers.append(answer)
        except ValueError as error:
            errors.append(f"{path} task {place}: {error}")
    if errors:
        raise ValueError(join_errors(errors))
    return list(found.values())


def _read_id(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 19:
        return int(value)
    if type(value) is not int:
        raise ValueError(f"id is {show(value)}; expected an integer")
    return value


def _find_controls(
    path: Path, rows: Sequence[Row], names: Sequence[str], controls: Sequence[str] | None, words: Words
) -> list[str]:
    """The columns of controls with choices.

    Raises:
        ValueError: A column may be a control or data of the tasks, or `controls` names no column.
    """
    if controls is not None:
        absent = [name for name in controls if name not in names]
        if absent:
            raise ValueError(
                f"data.controls has {absent[0][:80]!r}, no column of {path}; expected {listed(names)}"
            )
        return list(controls)
    kinds = {
        name: _classify([row[name] for row in rows if row.get(name) is not None], words) for name in names
    }
    unclear = [name for name, kind in kinds.items() if kind == UNCLEAR]
    if unclear:
        raise ValueError(
            f"{path}: the columns {listed(unclear)} may be controls or data of the tasks; "
            "data.controls=[...] names the controls"
        )
    ignored = [name for name, kind in kinds.items() if kind == IGNORED]
    if ignored:
        log.warning("%s: ignored, since only choices for the image are labels: %s", path, listed(ignored))
    return [name for name, kind in kinds.items() if kind == CONTROL]


def _classify(values: Sequence[Any], words: Words) -> int:
    """Whether the values of a column are choices: certainly, where one is an object of choices."""
    if any(isinstance(item, dict) and CHOICES in item for value in values for item in _items(value)):
        return CONTROL
    texts = [item for value in values for item in _items(value) if isinstance(item, str)]
    if not texts:
        return IGNORED
    return CONTROL if texts == list(values) and words.are_values(texts) else UNCLEAR


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _read_cell_choices(value: Any, name: str) -> list[str]:
    """The choices in a cell: a string, an object, or a list of these.

    Raises:
        ValueError: The cell has something else.
    """
    found = []
    for item in _items(value):
        if item is None:
            continue
        if isinstance(item, dict) and CHOICES not in item:
            raise ValueError(f"{name[:80]!r} is {show(item)}; expected choices")
        found += read_choices(item[CHOICES] if isinstance(item, dict) else item, name)
    return found
