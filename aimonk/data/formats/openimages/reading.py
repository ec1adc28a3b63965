"""OpenImages: image-level labels, a row per image and label (Kuznetsova et al. 2020)."""

import logging
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from aimonk.data.annotations import ABSENT, MOST_ENTRIES, PRESENT, UNKNOWN, Annotations, Value
from aimonk.data.formats.image_names import ImageNames
from aimonk.data.formats.openimages.classes import name_classes
from aimonk.data.labels import check_attributes
from aimonk.files.delimited import read_csv
from aimonk.files.text import join_errors, plural

log = logging.getLogger(__name__)

MACHINE = "machine"
# people: `human` is of the first version, the others of all later ones
SOURCES = ("verification", "crowdsource-verification", "human", MACHINE)
VERIFIED, REFUTED, MACHINE_PRESENT, MACHINE_MADE, NO_ROW, INVALID = range(6)
NEEDED = ("ImageID", "LabelName", "Confidence")


def read_openimages(
    path: Path,
    images: ImageNames,
    classes: str | None,
    machine: str | float,
    attributes: Sequence[str] | None,
) -> Annotations:
    """Read rows `ImageID,Source,LabelName,Confidence`; a label of which there is no row is unknown.

    People verify labels, as present (1) or absent (0): each Source is an annotator. What a machine has
    labelled, or everything in a file without Source, counts where no person has verified the label.

    Args:
        classes: File of the names of labels, `/m/011k07,Tortoise`; None keeps the identifiers.
        machine: Confidence from which a label of a machine counts as present, 0 to 1; below, and always if it
            is `unknown`, the label is unknown.
        attributes: Labels to read; None or an empty list reads all.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A setting is invalid, or a file has errors; the message lists the first ten.
    """
    threshold = _check_machine(machine)
    rows = _read_rows(path, images, threshold)
    if not rows.codes:
        raise ValueError(f"{path}: no rows below the header; expected a row per image and label")
    names = name_classes(rows.labels, None if classes is None else Path(classes), path)
    selected = check_attributes(attributes, names, path) or names
    return _build(path, rows, [names.index(name) for name in selected], selected, threshold)


def _check_machine(machine: str | float) -> float | None:
    if machine == "unknown":
        return None
    if isinstance(machine, str) or not 0 <= machine <= 1:
        raise ValueError(f"data.machine is {machine!r}; expected unknown, or a confidence from 0 to 1")
    return float(machine)


Integers = partial(array, "q")


@dataclass
class Rows:
    """Rows of the file: indices of image, source and label, the code, and the line number of each.

    Attributes:
        names: Image -> its index.
        labels: Identifier of a label -> its index.
    """

    names: dict[str, int] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    images: array = field(default_factory=Integers)
    sources: array = field(default_factory=Integers)
    columns: array = field(default_factory=Integers)
    codes: array = field(default_factory=Integers)
    lines: array = field(default_factory=Integers)


def _read_rows(path: Path, images: ImageNames, threshold: float | None) -> Rows:
    lines = read_csv(path, "label file")
    header = [name.strip() for name in next(lines, (1, []))[1]]
    # files of boxes have the same columns, and more
    if any(header.count(name) != 1 for name in NEEDED) or header.count("Source") > 1 or "XMin" in header:
        expected = "ImageID,Source,LabelName,Confidence, as in human-imagelabels.csv"
        raise ValueError(f"{path} line 1: the header is {','.join(header)[:80]!r}; expected {expected}")
    image, label, confidence = (header.index(name) for name in NEEDED)
    source = header.index("Source") if "Source" in header else None
    if source is None:
        log.warning(
            "%s has no column Source: all labels count as made by a machine; "
            "a column Source of verification states that people have verified them",
            path,
        )
    rows, errors, width = Rows(), [], len(header)
    # most strings repeat: each is looked at once
    values: dict[tuple[str, str], tuple[int, int]] = {}
    owners: dict[str, int] = {}
    columns: dict[str, int] = {}
    for line, fields in lines:
        try:
            if len(fields) != width:
                raise ValueError(f"the row has {plural(len(fields), 'field')}; expected {width}")
            key = (MACHINE if source is None else fields[source], fields[confidence])
            if (value := values.get(key)) is None:
                value = values[key] = _read_value(*key, threshold)
            if (column := columns.get(fields[label])) is None:
                name = fields[label].strip()
                if not name:
                    raise ValueError("LabelName is empty; expected an identifier such as /m/011k07")
                column = columns[fields[label]] = rows.labels.setdefault(name, len(rows.labels))
            if (owner := owners.get(fields[image])) is None:
                name = images.resolve(fields[image].strip())
                owner = owners[fields[image]] = rows.names.setdefault(name, len(rows.names))
        except ValueError as error:
            errors.append(f"{path} line {line}: {error}")
            continue
        rows.images.append(owner)
        rows.sources.append(value[0])
        rows.columns.append(column)
        rows.codes.append(value[1])
        rows.lines.append(line)
    if errors:
        raise ValueError(join_errors(errors))
    return rows


def _read_value(source: str, confidence: str, threshold: float | None) -> tuple[int, int]:
    """Index of the source, and the code of a confidence."""
    source = source.strip()
    if source not in SOURCES:
        raise ValueError(f"Source is {source[:40]!r}; expected {', '.join(SOURCES)}")
    try:
        number = float(confidence) if confidence.isascii() and "_" not in confidence else -1.0
    except ValueError:
        number = -1.0
    index = SOURCES.index(source)
    if source != MACHINE and number in (0, 1):
        return index, VERIFIED if number else REFUTED
    if source == MACHINE and 0 <= number <= 1:
        return index, MACHINE_MADE if threshold is None or number < threshold else MACHINE_PRESENT
    expected = "0 to 1" if source == MACHINE else f"1 or 0, as of Source {source}"
    raise ValueError(f"Confidence is {confidence[:40]!r}; expected {expected}")


def _build(
    path: Path, rows: Rows, selected: list[int], attributes: list[str], threshold: float | None
) -> Annotations:
    images, sources, columns, codes, lines = (
        np.frombuffer(values, np.int64)
        for values in (rows.images, rows.sources, rows.columns, rows.codes, rows.lines)
    )
    own, first, annotation = np.unique(
        images * len(SOURCES) + sources, return_index=True, return_inverse=True
    )
    if len(own) * len(attributes) > MOST_ENTRIES:
        size = f"{plural(len(own), 'annotation')} of {plural(len(attributes), 'label')}"
        raise ValueError(f"{path} has {size}, too many for a table; data.attributes=[...] selects labels")
    _refuse_different(path, rows, annotation, columns, codes, lines)
    column_of = np.full(len(rows.labels), -1)
    column_of[selected] = np.arange(len(selected))
    kept = column_of[columns] >= 0
    table = np.full((len(own), len(attributes)), NO_ROW, np.uint8)
    table[annotation[kept], column_of[columns[kept]]] = codes[kept]
    _drop_machine(table, own)
    made = "machine-made" if threshold is None else f"machine below {threshold:g}"
    legend = [
        *(Value("1", PRESENT), Value("0", ABSENT)),
        *(Value(f"machine from {threshold or 0:g}", PRESENT), Value(made, UNKNOWN), Value("no row", UNKNOWN)),
    ]
    return Annotations(
        list(rows.names),
        attributes,
        legend,
        table,
        own // len(SOURCES),
        lines[first],
        annotators=[SOURCES[i] for i in (own % len(SOURCES)).tolist()],
        unstated=NO_ROW,
    )


def _refuse_different(
    path: Path, rows: Rows, annotation: np.ndarray, columns: np.ndarray, codes: np.ndarray, lines: np.ndarray
) -> None:
    """Raise where a source labels an image differently in two rows."""
    entry = annotation * len(rows.labels) + columns
    order = np.argsort(entry, kind="stable")
    wrong = np.flatnonzero((np.diff(entry[order]) == 0) & (np.diff(codes[order]) != 0))
    if len(wrong):
        names, labels = list(rows.names), list(rows.labels)
        message = "{} line {}: {!r} of {!r} differs from line {} of the same Source; remove one of the rows"
        errors = [
            message.format(path, lines[b], labels[columns[b]][:80], names[rows.images[b]][:80], lines[a])
            for a, b in zip(order[wrong].tolist(), order[wrong + 1].tolist(), strict=True)
        ]
        raise ValueError(join_errors(errors))


def _drop_machine(table: np.ndarray, own: np.ndarray) -> None:
    """Remove labels of the machine that a person has verified, in place."""
    machine = SOURCES.index(MACHINE)
    of_machine = np.flatnonzero(own % len(SOURCES) == machine)
    for step in range(1, len(SOURCES)):  # `own` is sorted, so that the annotations of an image are adjacent
        rows = of_machine[of_machine >= step]
        rows = rows[own[rows - step] // len(SOURCES) == own[rows] // len(SOURCES)]
        table[rows] = np.where(table[rows - step] != NO_ROW, NO_ROW, table[rows])
