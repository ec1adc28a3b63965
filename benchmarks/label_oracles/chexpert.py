"""A naive reader of CheXpert's CSV files."""

import csv
import posixpath
from pathlib import Path

from aimonk.data.formats.chexpert import read_chexpert

READER = read_chexpert
LABELS = ["train.csv", "odd.csv"]
SETTINGS = [
    {"blank": blank, "uncertain": uncertain}
    for blank in ("absent", "unknown")
    for uncertain in ("unknown", "present", "absent")
]
MEANING = {"present": True, "absent": False, "unknown": None}


def state(path: Path, blank: str, uncertain: str) -> dict[str, dict[str, list[bool | None]]]:
    found: dict[str, dict[str, list[bool | None]]] = {}
    with path.open(encoding="utf-8-sig", newline=None) as file:
        for row in csv.DictReader(line for line in file if line.strip()):
            row = {key.strip(): value.strip() for key, value in row.items()}
            name = posixpath.normpath(row.pop("Path"))
            values = {"": MEANING[blank], "-1": MEANING[uncertain], "-1.0": MEANING[uncertain]}
            values |= {"1": True, "1.0": True, "0": False, "0.0": False}
            for key, value in row.items():
                if key not in ("Sex", "Age", "Frontal/Lateral", "AP/PA"):
                    found.setdefault(name, {}).setdefault(key, []).append(values[value])
    return found
