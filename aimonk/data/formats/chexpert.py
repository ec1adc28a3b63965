"""CheXpert: a CSV file with a row per radiograph, whose labels may be uncertain (Irvin et al. 2019)."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from aimonk.data.annotations import ABSENT, PRESENT, UNKNOWN, Annotations, Value
from aimonk.data.formats.blank import blank_meaning
from aimonk.data.formats.image_names import ImageNames
from aimonk.data.formats.text.layout import INDEX_NAMES
from aimonk.data.labels import check_names
from aimonk.files.delimited import read_csv
from aimonk.files.text import join_errors, plural

PATH = "Path"
# what is known of the patient and the view
OTHERS = ("Sex", "Age", "Frontal/Lateral", "AP/PA")
TEXTS = ("1.0", "0.0", "-1.0", "blank")
CODES = {text: code for code, text in enumerate(TEXTS)} | {"1": 0, "0": 1, "-1": 2, "": 3}
UNCERTAIN = {"unknown": UNKNOWN, "present": PRESENT, "absent": ABSENT}
BLANK = CODES[""]
OTHER = len(TEXTS)
SAMPLE = 100


def read_chexpert(path: Path, images: ImageNames, blank: str | None, uncertain: str) -> Annotations:
    """Read a file with the columns `Path`, patient and view, and the observations: 1.0, 0.0, -1.0 or blank.

    Args:
        images: The folder that the paths start from, or the folder of the data set that they begin with.
        blank: `absent` or `unknown`: the meaning of an observation that the report does not mention; may be
            None where no field is empty.
        uncertain: `unknown`, `present` or `absent`, the meaning of -1.0: U-Ignore, U-Ones and U-Zeros.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A setting is invalid, or the file has errors; the message lists the first ten.
    """
    if blank is not None:
        _meaning(blank)
    if uncertain not in UNCERTAIN:
        raise ValueError(f"data.uncertain is {uncertain!r}; expected {', '.join(UNCERTAIN)}")
    rows = list(read_csv(path, "label file"))
    column, columns, attributes = _read_header(path, rows)
    prefix = _find_prefix([fields[column] for _, fields in rows[1:] if len(fields) > column], images.folder)
    names: dict[str, int] = {}
    errors, places, owners, values = [], [], [], []
    for line, fields in rows[1:]:
        try:
            own = _read_values(fields, len(rows[0][1]), columns, attributes)
            name = images.resolve(fields[column].strip().removeprefix(prefix))
        except ValueError as error:
            errors.append(f"{path} line {line}: {error}")
            continue
        places.append(line)
        values.append(own)
        owners.append(names.setdefault(name, len(names)))
    if errors:
        raise ValueError(join_errors(errors))
    codes = np.frombuffer(b"".join(values), np.uint8).reshape(-1, len(attributes))
    # valid.csv has a value in each field
    meaning = _meaning(blank) if (codes == BLANK).any() else UNKNOWN
    meanings = (PRESENT, ABSENT, UNCERTAIN[uncertain], meaning)
    legend = [Value(text, value) for text, value in zip(TEXTS, meanings, strict=True)]
    return Annotations(list(names), attributes, legend, codes, np.array(owners, np.int64), places)


def _meaning(blank: str | None) -> int:
    return blank_meaning(
        blank,
        "observations that a report does not mention",
        "if observations that are not mentioned are absent",
        "if only 1.0, 0.0 and -1.0 are statements",
    )


def _read_header(path: Path, rows: Sequence[tuple[int, list[str]]]) -> tuple[int, list[int], list[str]]:
    """Column of the path, columns of the observations, and their names."""
    if len(rows) < 2:
        raise ValueError(f"{path}: no rows below a header; expected a row per image, as in train.csv")
    line, fields = rows[0]
    # pandas adds a first column, which has no name
    index = fields[0].strip() in INDEX_NAMES
    if "" in (names := [name.strip() for name in fields[index:]]):
        number = names.index("") + 1 + index
        raise ValueError(f"{path} line {line}: column {number} has no name; remove or name it")
    header = [*fields[:index], *check_names(fields[index:], f"{path} line {line}")]
    if PATH not in header:
        got = ",".join(header)[:80]
        raise ValueError(f"{path} line {line}: the header is {got!r}; expected a column {PATH!r}")
    columns = [i for i, name in enumerate(header) if i >= index and name not in (PATH, *OTHERS)]
    if not columns:
        raise ValueError(f"{path} line {line}: the header names no observation")
    return header.index(PATH), columns, [header[i] for i in columns]


def _read_values(fields: list[str], width: int, columns: Sequence[int], attributes: list[str]) -> bytes:
    if len(fields) != width:
        raise ValueError(f"the row has {plural(len(fields), 'field')}; expected {width}, as in the header")
    own = bytes([CODES.get(fields[i].strip(), OTHER) for i in columns])
    if OTHER in own:
        wrong = own.index(OTHER)
        got = fields[columns[wrong]][:40]
        raise ValueError(f"{attributes[wrong]!r} is {got!r}; expected 1.0, 0.0, -1.0 or an empty field")
    return own


def _find_prefix(paths: Sequence[str], folder: Path | None) -> str:
    """`CheXpert-v1.0-small/` where all paths begin with it, and their images are only found without it."""
    tops = {path.partition("/")[0] for path in paths}
    if folder is None or len(tops) != 1 or not all("/" in path for path in paths):
        return ""
    prefix = f"{tops.pop()}/"
    sample = paths[:: max(1, len(paths) // SAMPLE)]
    found, stripped = (
        any(os.path.isfile(os.path.join(folder, path.removeprefix(cut))) for path in sample)
        for cut in ("", prefix)
    )
    return prefix if stripped and not found else ""
