"""Files that hold a table: comma- or tab-separated text, JSON Lines and Parquet, read column by column."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aimonk.files.delimited import decode, read_bytes
from aimonk.files.json_file import parse_json
from aimonk.files.text import join_errors, one_line, plural

MARKS = (",", ";", "\t")


@dataclass(frozen=True)
class TableFile:
    """The columns of a file.

    Attributes:
        names: Unique names of the columns.
        column: From a name to its values, one per row; None where a row has none.
        places: What each row is called in messages: a line or row number.
        unit: What `places` count: `line` or `row`.
        class_names: Column of integers -> names of the classes 0, 1, ..., where the file states them.
    """

    path: Path
    names: list[str]
    column: Callable[[str], list[Any]] = field(repr=False)
    places: Sequence[int | str] = field(repr=False)
    unit: str = "line"
    class_names: dict[str, list[str]] = field(default_factory=dict)


def open_table(path: Path) -> TableFile:
    """Open a file by its suffix; rows are read at once, the columns of Parquet when they are asked for.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file has another suffix or errors, which are listed with their line numbers.
    """
    opener = OPENERS.get(path.suffix.lower())
    if opener is None:
        raise ValueError(f"{path} is no table; expected a file that ends in {', '.join(OPENERS)}")
    table = opener(path)
    for name in table.names:
        if table.names.count(name) > 1:
            raise ValueError(f"{path}: two columns are named {name[:80]!r}; expected unique names")
    if not table.places:
        raise ValueError(f"{path}: no rows; expected a row for each image")
    return table


def read_rows(path: Path, kind: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header, and line number and fields of each row, of a text file with commas, semicolons or tabs.

    Fields are quoted as in CSV, and may then span lines.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file has errors; the message lists the first ten with their line numbers.
    """
    text = decode(path, read_bytes(path, kind))
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise ValueError(f"{path} line {line}: the line has a null character; save the file as UTF-8 text")
    first = next((line for line in io.StringIO(text, newline=None) if line.strip()), "")
    mark = "\t" if path.suffix.lower() in (".tsv", ".tab") else max(MARKS, key=lambda m: _width(first, m))
    rows: list[tuple[int, list[str]]] = []
    reader, before = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True), 0
    try:
        for fields in reader:
            if any(fields):
                rows.append((before + 1, fields))
            before = reader.line_num
    except csv.Error as error:
        fix = "expected quotation marks around a field, and doubled within it"
        raise ValueError(f"{path} line {before + 1}: {error}; {fix}") from None
    if not rows:
        raise ValueError(f"{path.absolute()}: no rows; expected a header and a row for each image")
    (_, header), *rows = rows
    header = [one_line(name) for name in header]
    errors = [
        f"{path} line {line}: the row has {plural(len(fields), 'field')}; expected {len(header)} as above"
        for line, fields in rows
        if len(fields) != len(header)
    ]
    if errors:
        raise ValueError(join_errors(errors))
    return header, rows


def _width(line: str, mark: str) -> int:
    try:
        return len(next(csv.reader([line], delimiter=mark), []))
    except csv.Error:  # such as a field above the limit of csv
        return 0


def _open_text(path: Path) -> TableFile:
    header, rows = read_rows(path, "label file")
    places = [line for line, _ in rows]

    def column(name: str) -> list[Any]:
        i = header.index(name)
        return [fields[i].strip() for _, fields in rows]

    return TableFile(path, header, column, places)


def _open_json_lines(path: Path) -> TableFile:
    objects, errors = [], []
    for line, text in enumerate(decode(path, read_bytes(path, "label file")).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            value = parse_json(text)
        except ValueError as error:
            cause = error.msg if isinstance(error, json.JSONDecodeError) else f"{error}"
            errors.append(f"{path} line {line}: not JSON ({cause[:200]}); expected an object on each line")
            continue
        if isinstance(value, dict):
            objects.append((line, value))
        else:
            errors.append(f"{path} line {line}: the line is {text.strip()[:40]!r}; expected a JSON object")
    if errors:
        raise ValueError(join_errors(errors))
    names = list(dict.fromkeys(name for _, row in objects for name in row))
    places = [line for line, _ in objects]
    return TableFile(path, names, lambda name: [row.get(name) for _, row in objects], places)


def _open_parquet(path: Path) -> TableFile:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise ValueError(f"{path} needs pyarrow; pip install -e '.[parquet]' installs it") from None
    if not path.is_file():
        raise FileNotFoundError(f"no label file at {path.absolute()}")

    def guard(read: Callable[[], Any]) -> Any:
        try:
            return read()
        # damaged files raise errors of many kinds
        except (ArrowException, OSError, ValueError, KeyError, OverflowError, MemoryError) as error:
            cause = f"{error}".split("\n")[0][:120] or type(error).__name__
            fix = "the file is incomplete or damaged"
            raise ValueError(f"{path}: not readable as Parquet ({cause}); {fix}") from None

    def column(name: str) -> list[Any]:
        with ParquetFile(path) as file:
            return file.read(columns=[name]).column(name).to_pylist()

    def read_head() -> tuple[list[str], int, dict[str, list[str]]]:
        with ParquetFile(path) as file:
            schema = file.schema_arrow
            return list(schema.names), file.metadata.num_rows, _class_names(schema.metadata or {})

    names, count, classes = guard(read_head)

    def checked(name: str) -> list[Any]:
        values = guard(lambda: column(name))
        if len(values) != count:
            raise ValueError(f"{path}: column {name[:80]!r} has {len(values)} rows; expected {count}")
        return values

    return TableFile(path, names, checked, range(1, count + 1), "row", classes)


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Names of the classes in the metadata that the package datasets writes."""
    try:
        features = parse_json(metadata[b"huggingface"].decode())["info"]["features"]
        found = {}
        for column, feature in features.items():
            # a list is {"feature": ..., "_type": "List"}, or in older versions a list of one feature
            inner = feature[0] if isinstance(feature, list) else feature.get("feature", feature)
            if isinstance(inner, dict) and inner.get("_type") == "ClassLabel":
                found[column] = [name for name in inner["names"] if isinstance(name, str)]
        return found
    except (KeyError, ValueError, TypeError, AttributeError, IndexError):
        return {}


OPENERS = {
    ".csv": _open_text,
    ".tsv": _open_text,
    ".txt": _open_text,
    ".jsonl": _open_json_lines,
    ".parquet": _open_parquet,
}
