import numpy as np
import pytest

from aimonk.data.labels import LabelTable, check_names, has_image_suffix, value_warnings


def test_rows_and_attributes_are_selected() -> None:
    labels = np.array([[1, 0], [0, 1], [0, 0]], np.float32)
    table = LabelTable(["a", "b", "c"], ["hat", "cap"], labels, labels == 1, ["train", "val", "test"])
    part = table.take(np.array([2, 0])).select(["cap", "hat"])
    assert (part.names, part.attributes, part.splits) == (["c", "a"], ["cap", "hat"], ["test", "train"])
    assert part.labels.tolist() == [[0, 0], [0, 1]] and part.mask.tolist() == [[False, False], [False, True]]


def test_attributes_with_one_value_are_warned_of() -> None:
    labels = np.array([[0, 1, 0, 1], [0, 1, 0, 0]], np.float32)
    mask = np.array([[False, True, True, True], [False, True, False, True]])
    table = LabelTable(["a.jpg", "b.jpg"], ["none", "always", "never", "both"], labels, mask)
    assert value_warnings(table) == [
        "attribute 'none' is NA in every row: it is not trained and has no score",
        "attribute 'always' is never 0: the model learns to predict always 1, unless missing=weak or another "
        "policy counts NA as 0",
        "attribute 'never' is never 1: the model learns to predict always 0",
    ]


def test_suffixes_of_images() -> None:
    names = ["a.JPG", "x/a.b.png", "photo_1", "a.jpg/b", "a.txt", "v1.5"]
    assert [has_image_suffix(name) for name in names] == [True, True, False, False, False, False]


def test_names_of_attributes_are_stripped_and_unique() -> None:
    assert check_names([" hat ", 5], "x") == ["hat", "5"]
    with pytest.raises(ValueError, match=r"^x: attribute 'hat' is listed twice; expected unique names$"):
        check_names(["hat", "hat "], "x")
