"""Names of the labels of OpenImages: class-descriptions files."""

import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from aimonk.data.labels import check_names
from aimonk.files.delimited import read_csv
from aimonk.files.text import join_errors, listed, plural

log = logging.getLogger(__name__)


def name_classes(labels: Iterable[str], classes: Path | None, path: Path) -> list[str]:
    """The unique name of each label; its identifier where there is none.

    Labels with the same name have their identifier behind it: `Turkey (/m/01xyz)`.

    Args:
        labels: Identifiers, such as `/m/011k07`.
        classes: File of lines `/m/011k07,Tortoise`, with or without a header; None keeps the identifiers.
        path: File of the labels, named in errors.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file has errors; the message lists the first ten.
    """
    labels = list(labels)
    if classes is None:
        return check_names(labels, f"{path}: LabelName")
    names = _read_classes(classes)
    absent = [label for label in labels if label not in names]
    if absent:
        log.warning("%s: no name of %s: %s", classes, plural(len(absent), "label"), listed(absent))
    found = [names.get(label, label) for label in labels]
    times = Counter(found)
    unique = [
        f"{name} ({label})" if times[name] > 1 else name for label, name in zip(labels, found, strict=True)
    ]
    return check_names(unique, f"{path} with {classes}")


def _read_classes(path: Path) -> dict[str, str]:
    names: dict[str, str] = {}
    errors = []
    for line, fields in read_csv(path, "file of classes"):
        label, name = (field.strip() for field in fields) if len(fields) == 2 else ("", "")
        if not label or not name:
            got = ",".join(fields)[:80]
            errors.append(f"{path} line {line}: the row is {got!r}; expected a label and its name")
        elif line == 1 and (label, name) == ("LabelName", "DisplayName"):
            continue
        elif names.setdefault(label, name) != name:
            errors.append(f"{path} line {line}: {label[:80]!r} is {name[:80]!r}; expected one name")
    if errors:
        raise ValueError(join_errors(errors))
    return names
