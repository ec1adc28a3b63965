import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aimonk.data.annotations import ABSENT, PRESENT, UNKNOWN, Annotations, Value
from aimonk.data.formats.image_names import ImageNames
from aimonk.data.formats.text.label_file import read_rows
from aimonk.data.formats.text.tokens import Tokens
from aimonk.data.labels import LabelTable
from aimonk.data.repeated import combine

ROWS = """image,annotator,hat,scarf,gloves,boots
a.jpg,anna,1,1,NA,0
a.jpg,ben,1,0,NA,NA
a.jpg,carl,NA,1,NA,NA
b.jpg,anna,0,0,0,0
"""


def read(folder: Path, repeated: str, rows: str = ROWS) -> LabelTable:
    path = folder / "labels.csv"
    path.write_text(rows)
    return combine(read_rows(path, ImageNames(None), None, Tokens()), repeated, path)


def entries(table: LabelTable) -> list[str]:
    return ["".join(row) for row in np.where(table.mask, np.where(table.labels == 1, "1", "0"), "-")]


@pytest.mark.parametrize(
    ("repeated", "expected"), [("merge", "1--0"), ("majority", "11-0"), ("soft", "11-0")]
)
def test_annotations_of_an_image_are_combined(tmp_path: Path, repeated: str, expected: str) -> None:
    table = read(tmp_path, repeated)
    assert table.names == ["a.jpg", "b.jpg"] and table.attributes == ["hat", "scarf", "gloves", "boots"]
    assert entries(table) == [expected, "0000"]
    assert table.annotations.annotators == ["anna", "ben", "carl", "anna"]


def test_ties_are_unknown_and_half_positive(tmp_path: Path) -> None:
    rows = "image hat\na.jpg 1\na.jpg 0\nb.jpg 1\n"
    assert entries(read(tmp_path, "majority", rows)) == ["-", "1"]
    table = read(tmp_path, "soft", rows)
    assert entries(table) == ["-", "1"]
    targets, known = table.targets()
    assert targets.ravel().tolist() == [0.5, 1] and known.all()


def test_shares_are_targets_of_training(tmp_path: Path) -> None:
    table = read(tmp_path, "soft")
    targets, known = table.targets()
    assert targets[0].tolist() == pytest.approx([1, 2 / 3, 0, 0])
    assert known.tolist() == [[True, True, False, True], [True] * 4]
    one = table.take(np.array([0])).select(["scarf"])
    assert one.targets()[0].tolist() == [[pytest.approx(2 / 3)]]


def test_different_annotations_are_an_error_by_default(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"line 3: the labels of 'a.jpg' differ from those on line 2; data"):
        read(tmp_path, "error")
    with pytest.raises(ValueError, match=r"data\.repeated is 'mean'; expected error, merge, majority, soft"):
        read(tmp_path, "mean")


def test_equal_annotations_are_accepted_with_a_warning(tmp_path, caplog: pytest.LogCaptureFixture) -> None:
    table = read(tmp_path, "error", "a.jpg 1\nb.jpg 0\na.jpg 1\n")
    assert entries(table) == ["1", "0"]
    assert "1 image listed twice with identical labels: 'a.jpg' (lines 1 and 3)" in caplog.text


def test_counts_of_combined_labels_are_logged(tmp_path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    read(tmp_path, "majority")
    assert "1 image annotated several times; 2 labels known from several annotations, 1 of" in caplog.text


def test_splits_of_one_image_must_agree(tmp_path: Path) -> None:
    rows = "image hat split\na.jpg 1 train\na.jpg 1 val\n"
    with pytest.raises(ValueError, match=r"line 3: 'split' of 'a\.jpg' is val; expected train, as before"):
        read(tmp_path, "merge", rows)


def test_split_and_annotator_in_any_column(tmp_path: Path) -> None:
    table = read(tmp_path, "merge", "image,split,hat,annotator,scarf\na.jpg,train,1,x,0\nb.jpg,val,0,,NA\n")
    assert (table.attributes, table.splits, entries(table)) == (
        ["hat", "scarf"],
        ["train", "val"],
        ["10", "0-"],
    )


def test_annotations_that_state_other_entries_complete_each_other() -> None:
    legend = [Value("0", ABSENT), Value("1", PRESENT), Value("unsure", UNKNOWN), Value("nothing", UNKNOWN)]
    codes = np.array([[1, 3, 3], [3, 0, 3], [2, 3, 3], [1, 3, 3]], np.uint8)
    found = Annotations(["a", "b"], ["x", "y", "z"], legend, codes, np.array([0, 0, 1, 1]), [5, 6, 7, 8])
    with pytest.raises(ValueError) as caught:
        combine(replace(found, unstated=3), "error", Path("file"))
    fix = "data.repeated=merge, majority or soft combines them"
    assert f"{caught.value}" == f"file line 8: 'x' of 'b' differs from another annotation, line 7; {fix}"
    kept = replace(found, codes=np.where(codes == 2, 3, codes), unstated=3)
    assert entries(combine(kept, "error", Path("file"))) == ["10-", "1--"]
