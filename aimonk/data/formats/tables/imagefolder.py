"""Folders of images with `metadata.csv`, `metadata.jsonl` or `metadata.parquet` beside them."""

import os
import posixpath
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from aimonk.data.annotations import Annotations
from aimonk.data.formats.image_names import ImageNames
from aimonk.data.formats.tables.files import TableFile, open_table
from aimonk.data.formats.tables.label_lists import list_format
from aimonk.data.formats.tables.table import read_columns
from aimonk.data.formats.text.tokens import Tokens
from aimonk.files.text import listed

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
IMAGE_COLUMN = "file_name"


def read_imagefolder(
    path: Path,
    images: ImageNames,
    columns: Mapping[str, str] | None,
    list_column: str | None,
    list_separator: str | None,
    class_names: Sequence[str] | None,
    blank: str | None,
    attributes: Sequence[str] | None,
    tokens: Mapping[str, Sequence],
) -> Annotations:
    """Read the metadata of a folder and its subfolders, whose column `file_name` is relative to their folder.

    Args:
        path: The folder, or a single file.

    Further arguments and errors as `read_table`.
    """
    lists = list_format(list_column, list_separator, class_names, blank)
    if path.is_file():
        # a file of a subfolder of the images names them relative to the subfolder
        is_inside = images.folder is not None and path.resolve().is_relative_to(images.folder.resolve())
        table = _join(images.folder.resolve(), [path.resolve()]) if is_inside else open_table(path)
    else:
        table = _join(path, _find_metadata(path))
    if IMAGE_COLUMN not in table.names:
        raise ValueError(
            f"{table.path}: no column {IMAGE_COLUMN!r}; expected one, with paths beside the file"
        )
    return read_columns(table, images, IMAGE_COLUMN, columns, lists, attributes, Tokens(**tokens))


def _find_metadata(folder: Path) -> list[Path]:
    """The metadata files, at most one per folder.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: A folder has several, or no folder has one.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no images folder at {folder.absolute()}")
    found = []
    for root, _, files in os.walk(folder):
        own = [name for name in METADATA if name in files]
        if len(own) > 1:
            raise ValueError(f"{root} has {listed(own)}; expected one of them")
        found += [Path(root, name) for name in own]
    if not found:
        raise ValueError(f"{folder.absolute()}: no {', '.join(METADATA)}; expected one beside the images")
    return sorted(found)


def _join(folder: Path, paths: list[Path]) -> TableFile:
    """One table of several files, with the columns of all."""
    tables = [open_table(path) for path in paths]
    for table in tables:
        if IMAGE_COLUMN not in table.names:
            raise ValueError(
                f"{table.path}: no column {IMAGE_COLUMN!r}; expected one, with paths beside the file"
            )
    if len(tables) == 1 and tables[0].path.parent == folder:
        return tables[0]
    names = list(dict.fromkeys(name for table in tables for name in table.names))
    places = [
        f"{t.path.relative_to(folder).as_posix()} {t.unit} {place}" for t in tables for place in t.places
    ]
    classes: dict[str, list[str]] = {}
    for table in tables:
        for name, own in table.class_names.items():
            if classes.setdefault(name, own) != own:
                raise ValueError(
                    f"{table.path}: the classes of {name[:80]!r} differ from those of another file"
                )
    return TableFile(folder, names, partial(_column, folder, tables), places, "file", classes)


def _column(folder: Path, tables: list[TableFile], name: str) -> list[Any]:
    """A column of all tables; paths of images relative to the folder."""
    values = []
    for table in tables:
        own = table.column(name) if name in table.names else [None] * len(table.places)
        if name == IMAGE_COLUMN:
            beside = table.path.parent.relative_to(folder).as_posix()
            own = [posixpath.join(beside, f"{v}") if _is_name(v) else v for v in own]
        values.append(own)
    return list(chain.from_iterable(values))


def _is_name(value: Any) -> bool:
    # numbers may be names without suffix
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""
