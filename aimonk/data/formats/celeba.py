"""CelebA: `list_attr_celeba.txt` and `list_eval_partition.txt` (Liu et al. 2015)."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from aimonk.data.annotations import ABSENT, PRESENT, Annotations, Value
from aimonk.data.formats.image_names import ImageNames
from aimonk.data.labels import SPLITS, check_names
from aimonk.files.delimited import read_text
from aimonk.files.text import join_errors, plural

LEGEND = [Value("-1", ABSENT), Value("1", PRESENT)]
OTHER = 2
IMAGE = "image_id"  # the name of the first column in CSV files
LONGEST = 10  # digits of a number of images


class Codes(dict[str, int]):
    """Index into LEGEND, or OTHER; a dictionary, since a file has millions of fields."""

    def __missing__(self, field: str) -> int:
        return OTHER


CODES = Codes({"-1": 0, "1": 1})


def read_celeba(path: Path, images: ImageNames, partition: str | None) -> Annotations:
    """Read the attributes of CelebA: the number of images, a line of names, then `000001.jpg -1 1 ...`.

    Copies as CSV files have no number, and a header `image_id,5_o_Clock_Shadow,...`.

    Args:
        partition: File of lines `000001.jpg 0`, where 0 is train, 1 val and 2 test; or CSV with a header.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The files have errors; the message lists the first ten with their line numbers.
    """
    lines = read_text(path, "label file").split("\n")
    split = _separator(lines)
    count, attributes, head = _read_head(path, [split(line) for line in lines[:2]])
    names: dict[str, int] = {}
    errors, values, places, owners = [], [], [], []
    total = 0
    for line, text in enumerate(lines[head:], start=head + 1):
        fields = split(text)
        if not fields:
            continue
        total += 1
        own = bytes(map(CODES.__getitem__, fields[1:]))
        if len(own) != len(attributes):
            expected = f"an image and {plural(len(attributes), 'label')}"
            errors.append((line, f"the row has {plural(len(fields), 'field')}; expected {expected}"))
            continue
        if OTHER in own:
            column = own.index(OTHER)
            errors.append((line, f"{attributes[column]!r} is {fields[column + 1][:40]!r}; expected 1 or -1"))
            continue
        try:
            owners.append(names.setdefault(images.resolve(fields[0]), len(names)))
        except ValueError as error:
            errors.append((line, f"{error}"))
            continue
        values.append(own)
        places.append(line)
    if errors:
        raise ValueError(join_errors([f"{path} line {line}: {error}" for line, error in errors]))
    if not total:
        raise ValueError(f"{path}: no rows; expected lines such as '000001.jpg -1 1'")
    if count is not None and total != count:
        raise ValueError(
            f"{path} line 1: the number of images is {count}, but {plural(total, 'row')} follow; "
            "the file is incomplete, or the number is wrong"
        )
    codes = np.frombuffer(b"".join(values), np.uint8).reshape(-1, len(attributes))
    splits = None if partition is None else _read_partition(Path(partition), images, names)
    owned = np.array(owners, np.int64)
    return Annotations(list(names), attributes, LEGEND, codes, owned, places, splits=splits)


def _separator(lines: list[str]) -> Callable[[str], list[str]]:
    """The function that splits a line: at commas where the first line has any, otherwise at white space."""
    return _split_commas if "," in lines[0] else str.split


def _split_commas(line: str) -> list[str]:
    return [field.strip() for field in line.split(",")] if line.strip() else []


def _read_head(path: Path, lines: list[list[str]]) -> tuple[int | None, list[str], int]:
    """The number of images, None in a CSV file; the names of the attributes; and the number of lines."""
    first = lines[0]
    if first[:1] == [IMAGE]:
        return None, _check_attributes(path, 1, first[1:]), 1
    if len(first) != 1 or not (first[0].isascii() and first[0].isdecimal() and len(first[0]) < LONGEST):
        got = " ".join(first)[:80]
        raise ValueError(
            f"{path} line 1: the line is {got!r}; expected the number of images, as in list_attr_celeba.txt, "
            f"or a header {IMAGE},..., as in list_attr_celeba.csv"
        )
    names = lines[1] if len(lines) > 1 else []
    return int(first[0]), _check_attributes(path, 2, names[names[:1] == [IMAGE] :]), 2


def _check_attributes(path: Path, line: int, names: list[str]) -> list[str]:
    if not names or all(name in CODES for name in names[1:]):
        got = " ".join(names)[:80]
        raise ValueError(f"{path} line {line}: the line is {got!r}; expected the names of the attributes")
    return check_names(names, f"{path} line {line}")


def _read_partition(path: Path, images: ImageNames, names: dict[str, int]) -> list[str]:
    """The split of each image."""
    of_image: dict[str, str] = {}
    errors = []
    lines = read_text(path, "partition file").split("\n")
    split_line = _separator(lines)
    for line, text in enumerate(lines, start=1):
        fields = split_line(text)
        if not fields or (line == 1 and fields == [IMAGE, "partition"]):
            continue
        if len(fields) != 2 or fields[1] not in ("0", "1", "2"):
            errors.append(f"{path} line {line}: the row is {text[:80]!r}; expected an image and 0, 1 or 2")
            continue
        try:
            name = images.resolve(fields[0])
        except ValueError as error:
            errors.append(f"{path} line {line}: {error}")
            continue
        split = SPLITS[int(fields[1])]
        if of_image.setdefault(name, split) != split:
            errors.append(f"{path} line {line}: {name!r} is in {split}; expected {of_image[name]}, as before")
    if errors:
        raise ValueError(join_errors(errors))
    absent = [name for name in names if name not in of_image]
    if absent:
        raise ValueError(f"{path}: no row for {plural(len(absent), 'image')}, such as {absent[0]!r}")
    return [of_image[name] for name in names]
