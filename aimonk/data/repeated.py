"""Images with several annotations: combined to one row of the label table."""

import logging
from pathlib import Path

import numpy as np

from aimonk.data.annotations import ABSENT, PRESENT, UNKNOWN, Annotations
from aimonk.data.labels import LabelTable
from aimonk.files.text import join_errors, listed, plural

log = logging.getLogger(__name__)

FIX = "data.repeated=merge, majority or soft combines them"
MEANINGS = (ABSENT, PRESENT, UNKNOWN)
POLICIES = ("error", "merge", "majority", "soft")


def combine(annotations: Annotations, repeated: str, source: Path) -> LabelTable:
    """The label table of the annotations.

    Args:
        repeated: `error` refuses images with different annotations. The other policies keep what all known
            labels of an entry agree on; where they differ, `merge` makes it unknown, `majority` takes the
            more frequent label (unknown at a tie), and `soft` does so too and keeps the share of positives
            as the target of training.
        source: Named in errors.

    Raises:
        ValueError: The policy is unknown; or it is `error`, and annotations of an image differ.
    """
    if repeated not in POLICIES:
        raise ValueError(f"data.repeated is {repeated!r}; expected {', '.join(POLICIES)}")
    if len(annotations.images) == len(annotations.names):
        meanings = annotations.meanings()
        rows = np.argsort(annotations.images, kind="stable")
        present, absent = meanings[rows] == PRESENT, meanings[rows] == ABSENT
        return _table(annotations, present, absent)
    if repeated == "error":
        _refuse_different(annotations, source)
    present, absent = (annotations.count(meaning) for meaning in (PRESENT, ABSENT))
    differ = (present > 0) & (absent > 0)
    if repeated != "error":
        _report(annotations, present + absent, differ, source, repeated)
    if repeated == "merge":
        return _table(annotations, (present > 0) & ~differ, (absent > 0) & ~differ)
    known = present + absent
    shares = None
    if repeated == "soft" and differ.any():
        shares = np.where(known > 0, present / np.maximum(known, 1), np.nan).astype(np.float32)
    return _table(annotations, present > absent, absent > present, shares)


def _table(
    annotations: Annotations, present: np.ndarray, absent: np.ndarray, shares: np.ndarray | None = None
) -> LabelTable:
    several = len(annotations.images) > len(annotations.names)
    return LabelTable(
        annotations.names,
        annotations.attributes,
        present.astype(np.float32),
        present | absent,
        annotations.splits,
        shares,
        annotations if several else None,
    )


def _refuse_different(annotations: Annotations, source: Path) -> None:
    """Warn of images that are annotated twice with identical labels.

    Raises:
        ValueError: Annotations of an image differ.
    """
    if annotations.unstated is not None:
        _refuse_contradictions(annotations, source)
        return
    first: dict[int, int] = {}
    meanings, unit, places = annotations.meanings(), annotations.unit, annotations.places
    errors, same = [], []
    for row, image in enumerate(annotations.images.tolist()):
        before = first.setdefault(image, row)
        name, where = annotations.names[image], f"{unit} {places[before]}"
        if before == row:
            continue
        if (meanings[row] == meanings[before]).all():
            same.append(f"{name!r} ({unit}s {places[before]} and {places[row]})")
        else:
            message = f"the labels of {name!r} differ from those on {where}; {FIX}"
            errors.append(f"{source} {unit} {places[row]}: {message}")
    if errors:
        raise ValueError(join_errors(errors))
    count = plural(len(same), "image")
    log.warning("%s: %s listed twice with identical labels: %s", source, count, listed(same))


def _refuse_contradictions(annotations: Annotations, source: Path) -> None:
    """As `_refuse_different`, where annotations of an image that state other entries complete each other.

    Raises:
        ValueError: Two annotations of an image state different values of an entry.
    """
    different = sum((annotations.count(meaning) > 0).astype(np.uint8) for meaning in MEANINGS) > 1
    columns = {image: different[image].argmax() for image in different.any(axis=1).nonzero()[0].tolist()}
    first: dict[int, int] = {}
    errors = []
    for row in np.isin(annotations.images, list(columns)).nonzero()[0].tolist():
        image = int(annotations.images[row])
        column, name = int(columns[image]), annotations.names[image]
        code = int(annotations.codes[row, column])
        if code == annotations.unstated:
            continue
        meaning = annotations.legend[code].meaning
        before = first.setdefault(image, row)
        if annotations.legend[annotations.codes[before, column]].meaning != meaning:
            where = f"{annotations.unit} {annotations.places[before]}"
            label = annotations.attributes[column]
            message = f"{label!r} of {name!r} differs from another annotation, {where}; {FIX}"
            errors.append(f"{source} {annotations.unit} {annotations.places[row]}: {message}")
    if errors:
        raise ValueError(join_errors(errors))


def _report(
    annotations: Annotations,
    known: np.ndarray,
    differ: np.ndarray,
    source: Path,
    repeated: str,
) -> None:
    """Log how many images were annotated several times, and on what their annotations differ."""
    times = np.bincount(annotations.images, minlength=len(annotations.names))
    several, twice = int((times > 1).sum()), int((known > 1).sum())
    outcome = {"merge": "unknown", "majority": "the majority's", "soft": "shares"}[repeated]
    log.info(
        "%s: %s annotated several times; %s known from several annotations, %d of them different: %s",
        source,
        plural(several, "image"),
        plural(twice, "label"),
        int(differ.sum()),
        outcome,
    )
