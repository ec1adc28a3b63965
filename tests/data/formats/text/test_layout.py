import logging
from pathlib import Path

import numpy as np
import pytest

from aimonk.data.formats.text.label_file import read_labels
from aimonk.data.formats.text.tokens import Tokens
from aimonk.data.labels import LabelTable


@pytest.fixture
def read(tmp_path: Path):
    """A function that writes a label file and reads it."""

    def read(content: str, **arguments) -> LabelTable:
        path = tmp_path / "labels.csv"
        path.write_text(content)
        return read_labels(path, **arguments)

    return read


def test_split_column_assigns_images(read) -> None:
    table = read("image,split,hat\na.jpg,train,1\nb.jpg,VAL,NA\nc.jpg,test,0\n")
    assert table.attributes == ["hat"] and table.splits == ["train", "val", "test"]
    assert table.labels[:, 0].tolist() == [1, 0, 0] and table.mask[:, 0].tolist() == [True, False, True]
    assert table.take(np.array([2, 0])).splits == ["test", "train"]
    with pytest.raises(
        ValueError, match=r"line 3: 'split' is 'both'; expected train, val, test\n.*line 4: 'split' is None"
    ):
        read("image,hat,split\na.jpg,1,train\nb.jpg,0,both\nc.jpg,0\n")


def test_other_names_of_splits(read) -> None:
    names = ["Training", "valid", "Validation", "dev", "testing"]
    table = read("image,split,hat\n" + "".join(f"{i}.jpg,{name},1\n" for i, name in enumerate(names)))
    assert table.splits == ["train", "val", "val", "val", "test"]


def test_attribute_may_be_named_split(read) -> None:
    table = read("image,split\na.jpg,1\nb.jpg,0\n")
    assert table.attributes == ["split"] and table.splits is None


@pytest.mark.parametrize(
    ("content", "attributes", "rows"),
    [
        ("image,no\na.jpg,yes\nb.jpg,no\n", ["no"], 2),
        ("image,None,hat\na.jpg,1,0\n", ["None", "hat"], 1),
        ("image,yes,no\nphoto_1,1,0\nphoto_2,0,NA\n", ["yes", "no"], 2),
        ("image,none\nphoto_1,NA\nphoto_2,1\n", ["none"], 2),
        (",no\nphoto_1,no\n", ["no"], 1),
        ("Unnamed: 0,image,no\n0,a.jpg,yes\n", ["no"], 1),
        ("a.jpg,no,none\nb.jpg,yes,1\n", ["Attr1", "Attr2"], 2),
        ("photo_1 yes no\nphoto_2 no no\n", ["Attr1", "Attr2"], 2),
        ("photo_1 nan\nphoto_2 1\n", ["Attr1"], 2),
        ("photo_1 yes\n", ["Attr1"], 1),
        ("photo_1 1.0 no\nphoto_2 1 0\n", ["Attr1", "Attr2"], 2),
    ],
)
def test_words_that_are_labels_or_names(read, content: str, attributes: list[str], rows: int) -> None:
    table = read(content)
    assert table.attributes == attributes and len(table) == rows


def test_given_tokens_are_labels_in_a_first_row(read) -> None:
    tokens = Tokens(present=["+"], absent=["-", "n"], unknown=["?"])
    table = read("a.jpg + -\nb.jpg ? n\n", tokens=tokens)
    assert table.labels.tolist() == [[1, 0], [0, 0]] and table.mask.tolist() == [[1, 1], [0, 1]]
    assert read("photo_1 + -\nphoto_2 ? +\n", tokens=tokens).attributes == ["Attr1", "Attr2"]
    assert read("image n\na.jpg +\n", tokens=tokens).attributes == ["n"]


def test_annotators_before_the_images_are_refused(read) -> None:
    with pytest.raises(ValueError, match=r"line 1: the first column is 'Annotator'; expected the images$"):
        read("Annotator,image,hat\nanna,a.jpg,1\nben,a.jpg,1\n")


@pytest.mark.parametrize("first", ["", "Unnamed: 0", '""'])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_index_column_is_dropped(read, first: str, mark: str) -> None:
    rows = [(first, "image", "hat", "split"), ("0", "a.jpg", "1.0", "dev"), ("12", "3", "", "test")]
    if mark == "\t":
        rows[0] = (first.strip('"'), *rows[0][1:])
    table = read("\n".join(mark.join(row) for row in rows))
    assert (table.names, table.attributes, table.splits) == (["a.jpg", "3"], ["hat"], ["val", "test"])
    assert table.labels.tolist() == [[1], [0]] and table.mask.tolist() == [[True], [False]]


@pytest.mark.parametrize(
    ("content", "names", "attributes"),
    [
        (",hat,cap\na.jpg,1,0\n1,0,1\n", ["a.jpg", "1"], ["hat", "cap"]),
        (",hat,cap\n1,1,0\n2,0,\n", ["1", "2"], ["hat", "cap"]),
        (",hat\n1,1\n2,0\n", ["1", "2"], ["hat"]),
        ("number,hat,cap\n1,1,0\n", ["1"], ["hat", "cap"]),
    ],
)
def test_integers_that_are_images(read, content: str, names: list[str], attributes: list[str]) -> None:
    table = read(content)
    assert (table.names, table.attributes) == (names, attributes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (",hat\n0,a.jpg\n1,b.jpg\n", "'hat' is 'a.jpg'"),
        (",hat,cap\na.jpg,x,0\nb.jpg,1,0\n", "'hat' is 'x'"),
        (",hat,cap\n0,x,0\nb.jpg,1,0\n", "'hat' is 'x'"),
        ("number,hat,cap\n1,x,0\n2,1,0\n", "'hat' is 'x'"),
    ],
)
def test_other_first_columns_are_images(read, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"line 2: {message}"):
        read(content)


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("image;hat, red;split\na.jpg;1;train\n", ["hat, red"]),
        ("image\that, red\tx;y\tsplit\na.jpg\t1\t0\tval\n", ["hat, red", "x;y"]),
        (",image,hat;red\n0,a.jpg,1\n", ["hat;red"]),
        ("a,b.jpg;1;0\nc.jpg;0;1\n", ["Attr1", "Attr2"]),
        ("a;b.jpg,1,0\nc.jpg,0,1\n", ["Attr1", "Attr2"]),
        ("a,b.jpg;1\n", ["Attr1"]),
        ("a;b.jpg 1 0\nc.jpg 0 1\n", ["Attr1", "Attr2"]),
    ],
)
def test_other_separators_within_fields(read, content: str, names: list[str]) -> None:
    assert read(content).attributes == names


def test_rows_of_one_file_are_repeated(read, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "photo.jpg").touch()
    table = read(f"photo 1 NA\nphoto.jpg 1 NA\n{tmp_path}/photo.jpg 1 NA\n", images=tmp_path)
    assert table.names == ["photo.jpg"]
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "1 and 2), 'photo.jpg' (lines 1 and 3)" in record.message
    with pytest.raises(
        ValueError, match=r"line 2: the labels of 'photo.jpg' differ from those on line 1; data"
    ):
        read("photo 1 NA\nphoto.jpg 1 0\n", images=tmp_path)
