"""Layout of a label file: its separator, header, and columns that are no attributes."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aimonk.data.formats.text.tokens import INVALID, Tokens
from aimonk.data.labels import SPLIT_NAMES, check_names, has_image_suffix
from aimonk.files.delimited import split_commas, split_semicolons, split_tabs

SPLIT_COLUMN = "split"
ANNOTATOR_COLUMN = "annotator"
SEPARATORS = {",": split_commas, ";": split_semicolons, "\t": split_tabs}
INDEX_NAMES = ("", "Unnamed: 0", "__index_level_0__")  # of the column that pandas adds
Split = Callable[[str], list[str]]
Rows = Sequence[tuple[int, str]]


@dataclass(frozen=True)
class Layout:
    """How the rows of a label file are read.

    Attributes:
        split: From a line to its fields: the image, its labels, and the split and the annotator where the
            file has them.
        attributes: Names in the header, otherwise Attr1, Attr2, ...
        has_header: Whether the file names its attributes.
        split_column: Index of the field that assigns an image to a split; None if there is none.
        annotator_column: Index of the field that names who labelled the row; None if there is none.
        rows: Line number and text of each row below the header.
    """

    split: Split
    attributes: list[str]
    has_header: bool
    split_column: int | None
    annotator_column: int | None
    rows: Rows

    @property
    def other_columns(self) -> list[int]:
        """Indices of the fields behind the image that are no labels, ascending."""
        return sorted(c for c in (self.split_column, self.annotator_column) if c is not None)


def find_layout(path: Path, rows: Rows, tokens: Tokens) -> Layout:
    """Find the layout from the rows of a file, at least one.

    Raises:
        ValueError: The header is invalid, or there are no labels.
    """
    split = _choose_separator(rows, tokens)
    line, text = rows[0]
    header, below = split(text), rows[1:]
    if not _is_header(header, split(below[0][1]) if below else [], tokens):
        # a first row with too few fields must not make errors of all others
        width = Counter(len(split(text)) for _, text in rows).most_common(1)[0][0]
        _check_width(width, rows[0], path)
        return Layout(split, [f"Attr{i}" for i in range(1, width)], False, None, None, rows)
    _check_width(len(header), rows[0], path)
    if not below:
        raise ValueError(f"{path.absolute()}: no rows below the header")
    if len(header) > 2 and header[0] in INDEX_NAMES and _begins_with_index(below, split, tokens):
        split, header = _without_first(split), header[1:]
    if header[0].lower() == ANNOTATOR_COLUMN:
        raise ValueError(f"{path} line {line}: the first column is {header[0]!r}; expected the images")
    column = _find_split_column(header, split(below[0][1]))
    annotator = next((i for i, name in enumerate(header) if i and name.lower() == ANNOTATOR_COLUMN), None)
    names = [name for i, name in enumerate(header) if i and i not in (column, annotator)]
    if not names:
        raise ValueError(f"{path} line {line}: the header names no attribute")
    return Layout(split, check_names(names, f"{path} line {line}"), True, column, annotator, below)


def _check_width(width: int, row: tuple[int, str], path: Path) -> None:
    line, text = row
    if width < 2:
        raise ValueError(f"{path} line {line}: the row is {text[:80]!r}; expected an image and its labels")


def _choose_separator(rows: Rows, tokens: Tokens) -> Split:
    """The function that splits a line: the one that fits all rows, one of the first two, or their width."""
    candidates = [split for mark, split in SEPARATORS.items() if mark in rows[0][1]] + [str.split]
    for fits in (_fits_all, _fits_one, _fits_width):
        for split in candidates:
            if fits(split, rows, tokens):
                return split
    return candidates[0]


def _fits_all(split: Split, rows: Rows, tokens: Tokens) -> bool:
    first = split(rows[0][1])
    below = split(rows[1][1]) if len(rows) > 1 else []
    if not (_are_labels(first[1:], tokens) or (below and _is_header(first, below, tokens))):
        return False
    fields = (split(text) for _, text in rows[1:])
    return all(len(row) == len(first) and _are_labels(row[1:], tokens) for row in fields)


def _fits_one(split: Split, rows: Rows, tokens: Tokens) -> bool:
    return any(_are_labels(split(text)[1:], tokens) for _, text in rows[:2])


def _fits_width(split: Split, rows: Rows, tokens: Tokens) -> bool:
    width = len(split(rows[0][1]))
    return width > 1 and all(len(split(text)) == width for _, text in rows)


def _are_labels(fields: list[str], tokens: Tokens) -> bool:
    return bool(fields) and INVALID not in map(tokens.__getitem__, fields)


def _is_header(fields: list[str], below: list[str], tokens: Tokens) -> bool:
    """Whether the first row names the columns, given the fields of the row below, if there is one."""
    names = [field for field in fields[1:] if field]
    words = [name for name in names if tokens.is_word(name)]
    no_labels = all(name in words or tokens[name] == INVALID for name in names)
    if not names or not no_labels or has_image_suffix(fields[0]):
        return False
    if not words or not fields[0]:
        return True
    # `no` and `none` are names where the labels below are no words, or only the images below have a suffix
    return any(map(has_image_suffix, below[:2])) or (bool(below) and not any(map(tokens.is_word, below[1:])))


def _begins_with_index(rows: Rows, split: Split, tokens: Tokens) -> bool:
    """Whether all rows begin with an integer, and images rather than labels come next."""
    images = False
    for _, text in rows:
        number, *others = split(text)
        if not number.isdecimal():
            return False
        images = images or bool(others and tokens[others[0]] == INVALID)
    return images


def _without_first(split: Split) -> Split:
    return lambda line: split(line)[1:]


def _find_split_column(header: list[str], fields: list[str]) -> int | None:
    """Index of the column that assigns images to splits; an attribute may have the same name."""
    columns = [i for i, name in enumerate(header) if i and name.lower() == SPLIT_COLUMN]
    return next((i for i in columns if i < len(fields) and fields[i].lower() in SPLIT_NAMES), None)
