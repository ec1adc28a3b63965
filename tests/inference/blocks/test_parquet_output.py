import io
import json

import numpy as np
import pytest

from aimonk.inference.blocks import parquet_output
from aimonk.inference.blocks.parquet_output import PartWriter, column_names, count_rows
from aimonk.inference.images import Answer

parquet = pytest.importorskip("pyarrow.parquet")


def write(answers: list[Answer], with_features: bool) -> io.BytesIO:
    file = io.BytesIO()
    attributes, about = ["hat", "reason"], {"checkpoint": "é"}
    with PartWriter(file, attributes, [0.5, 0.3], with_features, about, "a.tar") as writer:
        for answer in answers:
            writer.add([answer])
    assert writer.images == len(answers)
    return file


@pytest.mark.parametrize("group", [1, 2, 100])
def test_rows_are_the_answers_in_order(group: int, monkeypatch) -> None:
    monkeypatch.setattr(parquet_output, "GROUP", group)
    features = np.arange(3, dtype=np.float32)
    answers = [
        Answer("a.jpg", np.array([0.5, 0.1]), features, None),
        Answer("b\udcff.jpg", None, None, "unknown image format"),
        Answer("c.jpg", np.array([0.2, 0.29999999999]), features + 1, None),
    ]
    file = write(answers, with_features=True)
    table = parquet.read_table(file)
    assert table.to_pydict() == {
        "image": ["a.jpg", "b\\udcff.jpg", "c.jpg"],
        "shard": ["a.tar"] * 3,
        "hat": [0.5, None, np.float32(0.2)],
        "reason (probability)": [np.float32(0.1), None, np.float32(0.3)],
        # float32(0.3) is above 0.3: decisions are those of the written values
        "present": [["hat"], None, ["reason"]],
        "reason": [None, "unknown image format", None],
        "features": [[0, 1, 2], None, [1, 2, 3]],
    }
    assert json.loads(table.schema.metadata[b"aimonk"]) == {"checkpoint": "é"}
    assert count_rows(file) == (3, 1)


def test_empty_and_unreadable_blocks_have_the_same_columns() -> None:
    empty, broken = write([], False), write([Answer("a.jpg", None, None, "x")] * 2, False)
    assert (count_rows(empty), count_rows(broken)) == ((0, 0), (2, 2))
    assert parquet.read_table(empty).schema == parquet.read_table(broken).schema


def test_damaged_part_is_reported() -> None:
    content = write([Answer("a.jpg", None, None, "x")], False).getvalue()
    for damaged in (b"", content[:-20], content[10:]):
        with pytest.raises(ValueError, match=r"^damaged Parquet file \("):
            count_rows(io.BytesIO(damaged))


def test_attributes_never_share_a_column() -> None:
    names = column_names(["a", "image", "image (probability)", "present"])
    assert names == ["a", "image (probability)", "image (probability) (probability)", "present (probability)"]
