"""A naive reader of tables: CSV, TSV, JSON Lines and Parquet."""

import csv
import io
import json
import posixpath
from pathlib import Path
from typing import Any

from aimonk.data.formats.tables.table import read_table

READER = read_table
LABELS = ["columns.csv", "columns.jsonl", "columns.parquet", "lists.tsv", "lists.jsonl", "classes.parquet"]
PLAIN = {
    **{"image_column": None, "columns": None, "list_column": None, "list_separator": None},
    **{"class_names": None, "blank": None, "attributes": None, "tokens": {}},
}
LISTS = PLAIN | {"list_column": "labels", "list_separator": "|"}
SETTINGS = [PLAIN, LISTS | {"blank": "absent"}, LISTS | {"blank": "unknown"}]
SPLITS = ("train", "val", "test", "training", "valid", "validation", "dev", "testing")
LABEL = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
LABEL |= dict.fromkeys(["", "na", "nan", "null", "none"])
CLASSES = ["hat", "scarf", "шапка"]  # in classes.parquet


def state(path: Path, list_column: str | None, blank: str | None, **settings: Any):
    rows = rows_of(path)
    names = list(dict.fromkeys(name for row in rows for name in row))
    image = next((name for name in names if name.lower() in ("image", "file_name")), None)
    image = image or next(name for name in names if name not in ("", "Unnamed: 0"))
    if list_column is None:
        others = [name for name in names if not is_other(name, image, rows)]
        stated = [{one_line(name): label(row.get(name)) for name in others} for row in rows]
    else:
        lists = [items(row.get(list_column), path) for row in rows]
        found = dict.fromkeys(name for own in lists for name in own or [])
        found |= dict.fromkeys(CLASSES if path.suffix == ".parquet" else [])
        other = {"absent": False, "unknown": None}[blank]
        stated = [
            {name: None if own is None else True if name in own else other for name in found} for own in lists
        ]
    return gather([f"{row[image]}" for row in rows], stated)


def gather(names: list[str], stated: list[dict[str, bool | None]]):
    """The statements on each image."""
    result: dict[str, dict[str, list[bool | None]]] = {}
    for name, own in zip(names, stated, strict=True):
        entry = result.setdefault(posixpath.normpath(name), {})
        for attribute, value in own.items():
            entry.setdefault(attribute, []).append(value)
    return result


def rows_of(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        import pyarrow.parquet

        return pyarrow.parquet.read_table(path).to_pylist()
    text = path.read_bytes().decode("utf-8-sig")
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    lines = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=mark(path, text)) if any(row)]
    header = [one_line(name) for name in lines[0]]
    return [dict(zip(header, (field.strip() for field in line), strict=True)) for line in lines[1:]]


def mark(path: Path, text: str) -> str:
    if path.suffix == ".tsv":
        return "\t"
    header = next(line for line in io.StringIO(text, newline=None) if line.strip())
    widths = {mark: len(next(csv.reader([header], delimiter=mark))) for mark in ",;\t"}
    return max(widths, key=lambda mark: widths[mark])


def one_line(text: str) -> str:
    return " ".join(part for part in text.replace("\r", "\t").replace("\n", "\t").split("\t") if part).strip()


def is_other(name: str, image: str, rows: list[dict[str, Any]]) -> bool:
    """Whether a column is no attribute."""
    if name in (image, "", "Unnamed: 0", "__index_level_0__") or name.lower() == "annotator":
        return True
    first = next((row[name] for row in rows if row.get(name) not in (None, "")), None)
    return name.lower() == "split" and isinstance(first, str) and first.strip().lower() in SPLITS


def label(value: Any) -> bool | None:
    text = f"{value}".strip().lower()
    return LABEL[text] if text in LABEL else {1.0: True, 0.0: False}[float(text)]


def items(value: Any, path: Path) -> list[str] | None:
    if value is None or value == "" or value != value:
        return None
    if isinstance(value, str):
        value = [part for part in value.split("|") if part.strip()]
    elif isinstance(value, int):
        value = [value]
    return [one_line(CLASSES[item] if isinstance(item, int) else item) for item in value]
