"""CelebA: `list_attr_celeba.txt` and `list_eval_partition.txt` (Liu et al. 2015)."""

from pathlib import Path

import numpy as np

from aimonk.data.annotations import ABSENT, PRESENT, Annotations, Value
from aimonk.data.formats.image_names import ImageNames
from aimonk.data.labels import SPLITS, check_names
from aimonk.files.delimited import read_text
from aimonk.files.text import join_errors, plural

LEGEND = [Value("-1", ABSENT), Value("1", PRESENT)]
OTHER = 2


class Codes(dict[str, int]):
    """Index into LEGEND, or OTHER; a dictionary, since a file has millions of fields."""

    def __missing__(self, field: str) -> int:
        return OTHER


CODES = Codes({"-1": 0, "1": 1})


def read_celeba(path: Path, images: ImageNames, partition: str | None) -> Annotations:
    """Read the attributes of CelebA: the number of images, a line of names, then `000001.jpg -1 1 ...`.

    Args:
        partition: File of lines `000001.jpg 0`, where 0 is train, 1 val and 2 test.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The files have errors; the message lists the first ten with their line numbers.
    """
    lines = read_text(path, "label file").split("\n")
    count, attributes = _read_head(path, [line.split() for line in lines[:2]])
    names: dict[str, int] = {}
    errors, values, places, owners = [], [], [], []
    total = 0
    for line, text in enumerate(lines[2:], start=3):
        fields = text.split()
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
    if total != count:
        raise ValueError(
            f"{path} line 1: the number of images is {count}, but {plural(total, 'row')} follow; "
            "the file is incomplete, or the number is wrong"
        )
    codes = np.frombuffer(b"".join(values), np.uint8).reshape(-1, len(attributes))
    splits = None if partition is None else _read_partition(Path(partition), images, names)
    owned = np.array(owners, np.int64)
    return Annotations(list(names), attributes, LEGEND, codes, owned, places, splits=splits)


def _read_head(path: Path, lines: list[list[str]]) -> tuple[int, list[str]]:
    """The number of images and the names of the attributes, in the first two lines."""
    first = lines[0]
    if len(first) != 1 or not (first[0].isascii() and first[0].isdecimal()):
        got = " ".join(first)[:80]
        raise ValueError(
            f"{path} line 1: the line is {got!r}; expected the number of images, as in list_attr_celeba.txt"
        )
    names = lines[1] if len(lines) > 1 else []
    if not names or all(name in CODES for name in names[1:]):
        got = " ".join(names)[:80]
        raise ValueError(f"{path} line 2: the line is {got!r}; expected the names of the attributes")
    return int(first[0]), check_names(names, f"{path} line 2")


def _read_partition(path: Path, images: ImageNames, names: dict[str, int]) -> list[str]:
    """The split of each image."""
    of_image: dict[str, str] = {}
    errors = []
    for line, text in enumerate(read_text(path, "partition file").split("\n"), start=1):
        fields = text.split()
        if not fields:
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
