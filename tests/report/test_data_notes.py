from types import SimpleNamespace

import numpy as np

from aimonk.report.data_notes import data_notes


class Images(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.table.names)


def test_notes_list_parts_and_problems() -> None:
    table = SimpleNamespace(names=["a", "b", "c"])
    images = Images(table=table, missing=[], unreadable={"d": "truncated"}, unlisted=["e", "f"])
    parts = {"train": np.arange(2), "val": np.array([2]), "test": np.arange(0)}
    assert data_notes(images, None, parts) == [
        ("images", "3: 2 train, 1 val"),
        ("rows without an image", "none"),
        ("unreadable images", "1: d (truncated)"),
        ("images without a row", "2: e, f"),
        ("duplicates", "not searched for"),
    ]
    assert data_notes(images, np.array([0, 1, 2]), parts)[-1] == ("duplicates", "none")
    groups = data_notes(images, np.array([0, 1, 0]), parts)[-1]
    assert groups == ("duplicates", "1 group, each on one side of the split: a = c")
