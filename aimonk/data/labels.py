"""Label files with holes: every row names an image and gives each attribute 1, 0 or NA."""

import csv
import logging
import os
import posixpath
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from aimonk.files.text import listed, printable, tell

log = logging.getLogger(__name__)

PRESENT, ABSENT, UNKNOWN = 1, 0, -1
# an empty field, which only commas and tabs can make, is unknown as well
TOKENS = {"1": PRESENT, "0": ABSENT} | dict.fromkeys(["NA", "Na", "nA", "na", ""], UNKNOWN)
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".mpo"}
SPLITS = ("train", "val", "test")
SPLIT_COLUMN = "split"


@dataclass(frozen=True)
class LabelTable:
    """Which image has which attribute, as far as anybody knows.

    Attributes:
        names: Image paths relative to the images folder, N of them, each once.
        attributes: Attribute names, A of them.
        labels: 1 present, 0 absent, [N, A] float32; 0 where unknown.
        mask: True where the label is known, [N, A].
        splits: train, val or test, N of them, where the file has a column `split` that says so.
    """

    names: list[str]
    attributes: list[str]
    labels: np.ndarray = field(repr=False)
    mask: np.ndarray = field(repr=False)
    splits: list[str] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: np.ndarray) -> "LabelTable":
        """The same table with these rows only; rows are indices, [M]."""
        names, splits = ([of[i] for i in rows] if of else None for of in (self.names, self.splits))
        return LabelTable(names or [], self.attributes, self.labels[rows], self.mask[rows], splits)

    def counts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Present, absent and unknown entries of each attribute, [A] each."""
        known = self.mask.sum(axis=0)
        present = (self.labels * self.mask).sum(axis=0).astype(int)
        return present, known - present, len(self) - known


def read_labels(path: Path, attributes: Sequence[str] | None = None) -> LabelTable:
    """Read a label file: `image_0.jpg 1 NA 0 1`, separated by white space, tabs or commas.

    A first row without any 1, 0 or NA is a header that names the attributes. A column that it calls `split`
    says which images train, validate and test.

    Args:
        attributes: Names in place of the header's, or of Attr1, Attr2, ... where there is no header.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file has mistakes; the message tells the first ten with their lines.
    """
    rows = _rows(path)
    if not rows:
        raise ValueError(f"{path.absolute()}: no rows; expected lines such as 'image_0.jpg 1 NA 0 1'")
    split = _separator(rows)
    (line, text), mistakes = rows[0], []
    first = split(text)
    header = _is_header(first)
    # without a header, a first row with too few fields must not make mistakes of all others
    width = len(first) if header else Counter(len(split(text)) for _, text in rows).most_common(1)[0][0]
    if width < 2:
        raise ValueError(f"{path} line {line}: expected an image and its labels, got {text[:80]!r}")
    body = rows[1:] if header else rows
    if not body:
        raise ValueError(f"{path.absolute()}: a header and no rows below it")
    column = _split_column(first, split(body[0][1])) if header else None
    if column is not None:
        del first[column]
        width -= 1
    names = _attribute_names(path, line, first[1:] if header else None, width - 1, attributes)

    images: dict[str, tuple[int, int]] = {}  # name -> row in the table, line in the file
    values: list[list[int]] = []
    parts: list[str] = []
    repeated: list[str] = []
    for line, text in body:
        fields = split(text)
        part = fields.pop(column).lower() if column is not None and len(fields) > column else None
        if column is not None and part not in SPLITS:
            mistakes.append(f"{path} line {line}: expected {', '.join(SPLITS)} in column split, got {part!r}")
            continue
        row = list(map(TOKENS.get, fields[1:]))
        problem = _find_mistake(fields, row, names)
        if problem is not None:
            mistakes.append(f"{path} line {line}: {problem}")
            continue
        name = posixpath.normpath(fields[0])
        if name not in images:
            images[name] = (len(values), line)
            values.append(row)
            parts += [part] if part is not None else []
        elif values[images[name][0]] == row:
            repeated.append(f"{name!r} (lines {images[name][1]} and {line})")
        else:
            other = images[name][1]
            mistakes.append(f"{path} line {line}: {name!r} has other labels here than on line {other}")
    if mistakes:
        raise ValueError(tell(mistakes))
    if repeated:
        log.warning("%s: the same row stands twice for %d images: %s", path, len(repeated), listed(repeated))
    table = np.array(values, dtype=np.int8)
    labels = (table == PRESENT).astype(np.float32)
    return LabelTable(list(images), names, labels, table != UNKNOWN, parts or None)


def warn_about_values(table: LabelTable) -> None:
    """Warn of each attribute that is never known, or known with one value only, and say what follows."""
    for warning in value_warnings(table):
        log.warning("%s", warning)


def value_warnings(table: LabelTable) -> list[str]:
    """One sentence for each attribute that is never known, or known with one value only."""
    warnings = []
    for name, present, absent in zip(table.attributes, *table.counts()[:2], strict=True):
        if present == 0 and absent == 0:
            warnings.append(f"attribute {name!r} is NA in every row: it is not trained and has no score")
        elif absent == 0:
            warnings.append(f"attribute {name!r} is never 0: the model learns to answer 'always present'")
        elif present == 0:
            warnings.append(f"attribute {name!r} is never 1: the model learns to answer 'never present'")
    return warnings


def _rows(path: Path) -> list[tuple[int, str]]:
    """Line number and text of every line that is neither blank nor a comment."""
    if not path.is_file():
        raise FileNotFoundError(f"no label file at {path.absolute()}")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(f"{path} line {line}: not UTF-8 text; save the file as UTF-8") from None
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [(i, s) for i, s in enumerate(lines, start=1) if (t := s.strip()) and not t.startswith("#")]


def _split_commas(text: str) -> list[str]:
    if '"' not in text:
        return [part.strip() for part in text.split(",")]
    try:
        return [part.strip() for part in next(csv.reader([text], strict=True, skipinitialspace=True))]
    except csv.Error:
        return [part.strip() for part in text.split(",")]


def _split_tabs(text: str) -> list[str]:
    return [part.strip() for part in text.split("\t")]


def _separator(rows: list[tuple[int, str]]) -> Callable[[str], list[str]]:
    """Choose the way to split a line: the first one that fits all rows, or else one of the first two."""
    candidates = [f for f, mark in ((_split_commas, ","), (_split_tabs, "\t")) if mark in rows[0][1]]
    candidates.append(str.split)
    for split in candidates:
        if _fits(split, rows):
            return split
    for _, text in rows[:2]:
        for split in candidates:
            if _are_labels(split(text)[1:]):
                return split
    return candidates[0]


def _fits(split: Callable[[str], list[str]], rows: list[tuple[int, str]]) -> bool:
    first = split(rows[0][1])
    if not (_are_labels(first[1:]) or _is_header(first)):
        return False
    fields = (split(text) for _, text in rows[1:])
    return all(len(row) == len(first) and _are_labels(row[1:]) for row in fields)


def _are_labels(tokens: list[str]) -> bool:
    return bool(tokens) and TOKENS.keys() >= set(tokens)


def _is_header(fields: list[str]) -> bool:
    no_labels = all(token not in TOKENS or token == "" for token in fields[1:])
    return no_labels and any(fields[1:]) and posixpath.splitext(fields[0])[1].lower() not in IMAGE_SUFFIXES


def _split_column(header: list[str], fields: list[str]) -> int | None:
    """Number of the column that assigns images to parts; an attribute may be called the same."""
    columns = [i for i, name in enumerate(header) if i and name.lower() == SPLIT_COLUMN]
    return next((i for i in columns if i < len(fields) and fields[i].lower() in SPLITS), None)


def _attribute_names(
    path: Path, line: int, header: list[str] | None, count: int, given: Sequence[str] | None
) -> list[str]:
    names = header if header is not None else [f"Attr{i + 1}" for i in range(count)]
    source = f"{path} line {line}"
    if given:
        names, source = [str(name).strip() for name in given], "data.attributes"
        if len(given) != count:
            raise ValueError(f"{source} names {len(given)} attributes; {path} has {count} columns of labels")
    seen = set()
    for name in names:
        if not name:
            raise ValueError(f"{source}: an attribute has no name")
        if printable(name) != name:  # it would change the terminal, and the files that carry it
            raise ValueError(f"{source}: {name[:80]!r}, an attribute, has characters that cannot be shown")
        if name in seen:
            raise ValueError(f"{source}: two attributes are called {name[:80]!r}")
        seen.add(name)
    return names


def _find_mistake(fields: list[str], row: list[int | None], attributes: list[str]) -> str | None:
    """What is wrong with a row of the file, or None."""
    if len(row) != len(attributes):
        return f"expected an image and {len(attributes)} labels, got {len(fields)} fields"
    if None in row:
        column = row.index(None)
        return f"expected 1, 0 or NA for {attributes[column]!r}, got {fields[column + 1][:40]!r}"
    name = fields[0]
    top = posixpath.normpath(name.replace("\\", "/")).split("/")[0]
    if not name or "\0" in name or top == ".":
        return f"expected the name of an image, got {name[:80]!r}"
    # a drive such as C: leaves the folder as well
    if top in ("", "..") or top[1:] == ":" or os.path.splitdrive(name)[0]:
        return f"{name[:80]!r} leaves the images folder; expected a path inside it"
    return None
