"""A naive reader of OpenImages' CSV files."""

import csv
import posixpath
from collections import Counter
from pathlib import Path

from aimonk.data.formats.openimages.reading import read_openimages

READER = read_openimages
LABELS = ["labels.csv", "contradicting.csv", "machine.csv"]
SETTINGS = [
    {"classes": classes, "machine": machine, "attributes": None}
    for classes in (None, "{folder}/class-descriptions.csv", "{folder}/oidv7-class-descriptions.csv")
    for machine in ("unknown", 0.75, 0.0)
]


def state(path: Path, classes: str | None, machine: str | float, attributes: None):
    people: dict[tuple[str, str], dict[str, bool]] = {}
    made: dict[tuple[str, str], bool | None] = {}
    names, labels = [], []
    for row in rows_of(path):
        row = {key.strip(): value.strip() for key, value in row.items()}
        key = name, label = posixpath.normpath(row["ImageID"]), row["LabelName"]
        names.append(name)
        labels.append(label)
        confidence = float(row["Confidence"])
        if row.get("Source", "machine") == "machine":
            made[key] = True if machine != "unknown" and confidence >= machine else None
        else:
            people.setdefault(key, {})[row["Source"]] = {1.0: True, 0.0: False}[confidence]
    title = titles(dict.fromkeys(labels), classes)
    return {
        name: {
            title[label]: list(people[name, label].values())
            if (name, label) in people
            else [made.get((name, label))]
            for label in title
        }
        for name in names
    }


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline=None) as file:
        return list(csv.DictReader(line for line in file if line.strip()))


def titles(labels: dict[str, None], classes: str | None) -> dict[str, str]:
    """The name of each label."""
    known: dict[str, str] = {}
    if classes is not None:
        with open(classes, encoding="utf-8-sig", newline=None) as file:
            known = {row[0].strip(): row[1].strip() for row in csv.reader(file) if row}
    plain = {label: known.get(label, label) for label in labels}
    times = Counter(plain.values())
    return {label: f"{name} ({label})" if times[name] > 1 else name for label, name in plain.items()}
