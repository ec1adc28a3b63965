"""A naive reader of the metadata files of imagefolder."""

import posixpath
from pathlib import Path
from typing import Any

from label_oracles.table import gather, is_other, label, one_line, rows_of

from aimonk.data.formats.tables.imagefolder import read_imagefolder

READER = read_imagefolder
LABELS = ["", "test", "train"]
SETTINGS = [
    dict.fromkeys(["columns", "list_column", "list_separator", "class_names", "blank", "attributes"])
    | {"tokens": {}}
]


def state(path: Path, **settings: Any):
    names, rows = [], []
    for file in sorted(path.rglob("metadata.*")):
        own = rows_of(file)
        names += [
            posixpath.join(file.parent.relative_to(path).as_posix(), f"{row['file_name']}") for row in own
        ]
        rows += own
    columns = dict.fromkeys(name for row in rows for name in row)
    columns = [name for name in columns if not is_other(name, "file_name", rows)]
    return gather(names, [{one_line(name): label(row.get(name)) for name in columns} for row in rows])
