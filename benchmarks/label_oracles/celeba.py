"""A naive reader of CelebA's files."""

import posixpath
from pathlib import Path

from aimonk.data.formats.celeba import read_celeba

READER = read_celeba
LABELS = ["list_attr_celeba.txt", "odd.txt"]
SETTINGS = [{"partition": None}, {"partition": "{folder}/list_eval_partition.txt"}]


def state(path: Path, partition: str | None):
    _, names, *rows = [line.split() for line in path.read_text("utf-8-sig").split("\n")]
    found: dict[str, dict[str, list[bool | None]]] = {}
    for row in rows:
        if row:
            own = found.setdefault(posixpath.normpath(row[0]), {})
            for name, value in zip(names, row[1:], strict=True):
                own.setdefault(name, []).append({"1": True, "-1": False}[value])
    return found


def splits(path: Path, partition: str | None) -> dict[str, str]:
    """The split of each image; empty where there are none."""
    if partition is None:
        return {}
    rows = [line.split() for line in Path(partition).read_text("utf-8-sig").split("\n") if line.strip()]
    return {posixpath.normpath(name): ("train", "val", "test")[int(number)] for name, number in rows}
