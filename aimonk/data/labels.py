"""Label tables and label files: each row names an image and labels every attribute 1, 0 or NA."""

import difflib
import logging
import os
import posixpath
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from aimonk.files.delimited import read_lines, split_commas, split_tabs
from aimonk.files.text import join_errors, listed, plural, printable

log = logging.getLogger(__name__)

PRESENT, ABSENT, UNKNOWN = 1, 0, -1
# an empty field (between commas or tabs) is unknown as well
TOKENS = {"1": PRESENT, "0": ABSENT} | dict.fromkeys(["NA", "Na", "nA", "na", ""], UNKNOWN)
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".mpo"}
SPLITS = ("train", "val", "test")
SPLIT_COLUMN = "split"


@dataclass(frozen=True)
class LabelTable:
    """Incomplete labels of N images and A attributes.

    Attributes:
        names: Unique image paths relative to the images folder, N.
        attributes: Unique attribute names, A.
        labels: 1 present, 0 absent, [N, A] float32; 0 where unknown.
        mask: True where the label is known, [N, A].
        splits: train, val or test, N; None where the file has no column `split`.
    """

    names: list[str]
    attributes: list[str]
    labels: np.ndarray = field(repr=False)
    mask: np.ndarray = field(repr=False)
    splits: list[str] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: np.ndarray) -> "LabelTable":
        """The table of the given rows, indices [M]."""
        names, splits = ([of[i] for i in rows] if of else None for of in (self.names, self.splits))
        return LabelTable(names or [], self.attributes, self.labels[rows], self.mask[rows], splits)

    def select(self, attributes: Sequence[str]) -> "LabelTable":
        """The table of the given attributes, in their order."""
        columns = [self.attributes.index(name) for name in attributes]
        labels, mask = self.labels[:, columns], self.mask[:, columns]
        return LabelTable(self.names, list(attributes), labels, mask, self.splits)

    def counts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Number of present, absent and unknown entries of each attribute, [A] each."""
        known = self.mask.sum(axis=0)
        present = (self.labels * self.mask).sum(axis=0).astype(int)
        return present, known - present, len(self) - known


def value_warnings(table: LabelTable) -> list[str]:
    """A warning for each attribute that is never known, or has a single known value."""
    warnings = []
    for name, present, absent in zip(table.attributes, *table.counts()[:2], strict=True):
        if present == 0 and absent == 0:
            warnings.append(f"attribute {name!r} is NA in every row: it is not trained and has no score")
        elif absent == 0:
            warnings.append(f"attribute {name!r} is never 0: the model learns to predict always 1")
        elif present == 0:
            warnings.append(f"attribute {name!r} is never 1: the model learns to predict always 0")
    return warnings


def read_labels(path: Path, attributes: Sequence[str] | None = None) -> LabelTable:
    """Read a label file: `image_0.jpg 1 NA 0 1`, separated by white space, tabs or commas.

    A first row without any 1, 0 or NA is a header of attribute names. Its column `split`, if any, assigns
    images to train, val or test.

    Args:
        attributes: Selects and orders the columns of a header, or names the columns of a file without one,
            instead of Attr1, Attr2, ...

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file has errors; the message lists the first ten with their line numbers.
    """
    rows = read_lines(path, "label file")
    if not rows:
        raise ValueError(f"{path.absolute()}: no rows; expected lines such as 'image_0.jpg 1 NA 0 1'")
    split = _choose_separator(rows)
    names, column, rows, has_header = _read_header(path, rows, split)
    given = _check_names(attributes or [], "data.attributes")
    if given and not has_header:
        if len(given) != len(names):
            expected = f"{len(names)}, the number of label columns of {path}"
            raise ValueError(f"data.attributes has {plural(len(given), 'name')}; expected {expected}")
        names = given
    _check_selection(given, names, path)
    entries: dict[str, tuple[int, list[int], str | None]] = {}  # image name -> line, values, split
    errors: list[str] = []
    repeated: list[str] = []
    for line, text in rows:
        try:
            name, values, part = _parse_row(split(text), names, column)
        except ValueError as error:
            errors.append(f"{path} line {line}: {error}")
            continue
        first, known, _ = entries.setdefault(name, (line, values, part))
        if values != known:
            errors.append(f"{path} line {line}: the labels of {name!r} differ from those on line {first}")
        elif line != first:
            repeated.append(f"{name!r} (lines {first} and {line})")
    if errors:
        raise ValueError(join_errors(errors))
    if repeated:
        count = plural(len(repeated), "image")
        log.warning("%s: %s listed twice with identical labels: %s", path, count, listed(repeated))
    table = np.array([values for _, values, _ in entries.values()], dtype=np.int8)
    splits = [part for _, _, part in entries.values()] if column is not None else None
    labels = LabelTable(list(entries), names, (table == PRESENT).astype(np.float32), table != UNKNOWN, splits)
    return labels.select(given) if given else labels


def _read_header(
    path: Path, rows: list[tuple[int, str]], split: Callable[[str], list[str]]
) -> tuple[list[str], int | None, list[tuple[int, str]], bool]:
    """Attribute names, index of the split column or None, the rows below, and whether there is a header."""
    line, text = rows[0]
    first = split(text)
    has_header = _is_header(first)
    # without a header, a first row with too few fields must not make errors of all others
    width = len(first) if has_header else Counter(len(split(text)) for _, text in rows).most_common(1)[0][0]
    if width < 2:
        raise ValueError(f"{path} line {line}: the row is {text[:80]!r}; expected an image and its labels")
    if not has_header:
        return [f"Attr{i}" for i in range(1, width)], None, rows, False
    if len(rows) < 2:
        raise ValueError(f"{path.absolute()}: no rows below the header")
    column = _find_split_column(first, split(rows[1][1]))
    if column is not None:
        del first[column]
    return _check_names(first[1:], f"{path} line {line}"), column, rows[1:], True


def _parse_row(
    fields: list[str], attributes: list[str], split_column: int | None
) -> tuple[str, list[int], str | None]:
    """Image name, label values, and split of a row, if the file assigns any.

    Raises:
        ValueError: The row is invalid; the message names neither file nor line.
    """
    part = None
    if split_column is not None:
        part = fields.pop(split_column).lower() if len(fields) > split_column else None
        if part not in SPLITS:
            raise ValueError(f"{SPLIT_COLUMN!r} is {part!r}; expected {', '.join(SPLITS)}")
    values = list(map(TOKENS.get, fields[1:]))
    if len(values) != len(attributes):
        expected = plural(len(attributes), "label")
        raise ValueError(f"the row has {plural(len(fields), 'field')}; expected an image and {expected}")
    if None in values:
        column = values.index(None)
        raise ValueError(f"{attributes[column]!r} is {fields[column + 1][:40]!r}; expected 1, 0 or NA")
    return _normalise_name(fields[0]), values, part


def _normalise_name(name: str) -> str:
    top = posixpath.normpath(name.replace("\\", "/")).split("/")[0]
    if not name or "\0" in name or top == ".":
        raise ValueError(f"the image name is {name[:80]!r}; expected a path in the images folder")
    # a drive such as C: is outside the folder as well
    if top in ("", "..") or top[1:] == ":" or os.path.splitdrive(name)[0]:
        raise ValueError(f"{name[:80]!r} is outside the images folder; expected a relative path inside it")
    return posixpath.normpath(name)


def _choose_separator(rows: list[tuple[int, str]]) -> Callable[[str], list[str]]:
    """The function that splits a line: the first one that fits all rows, or else one of the first two."""
    candidates = [f for f, mark in ((split_commas, ","), (split_tabs, "\t")) if mark in rows[0][1]]
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


def _find_split_column(header: list[str], fields: list[str]) -> int | None:
    """Index of the column that assigns images to splits; an attribute may have the same name."""
    columns = [i for i, name in enumerate(header) if i and name.lower() == SPLIT_COLUMN]
    return next((i for i in columns if i < len(fields) and fields[i].lower() in SPLITS), None)


def _check_names(names: Sequence[str], source: str) -> list[str]:
    """The stripped names, which have to be printable and unique."""
    names = [str(name).strip() for name in names]
    for i, name in enumerate(names):
        if not name:
            raise ValueError(f"{source}: the name of attribute {i + 1} is empty")
        if printable(name) != name:
            raise ValueError(f"{source}: attribute {name[:80]!r} contains unprintable characters")
        if name in names[:i]:
            raise ValueError(f"{source}: attribute {name[:80]!r} is listed twice; expected unique names")
    return names


def _check_selection(given: list[str], names: list[str], path: Path) -> None:
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected {listed(names)}"
            raise ValueError(f"data.attributes has {name[:80]!r}, no column of {path}; {hint}")
