import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from aimonk.data.formats.text.label_file import read_labels
from aimonk.training.losses import count_pos_weight

REAL_DATA = Path(__file__).resolve().parents[4].parent / "shared" / "data"


def errors_of(path: Path, attributes: list[str] | None = None) -> list[str]:
    with pytest.raises(ValueError) as caught:
        read_labels(path, attributes)
    return str(caught.value).replace(f"{path.parent}/", "").splitlines()


def test_types_counts_and_rows(write, entries) -> None:
    table = read_labels(write("a.jpg 1 NA 0\nb.jpg 0 1 NA\n"))
    assert table.names == ["a.jpg", "b.jpg"]
    assert table.attributes == ["Attr1", "Attr2", "Attr3"]
    assert table.labels.dtype == np.float32 and table.mask.dtype == bool
    assert table.labels.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert table.mask.tolist() == [[True, False, True], [True, True, False]]
    assert [c.tolist() for c in table.counts()] == [[1, 1, 0], [1, 0, 1], [0, 1, 1]]
    assert entries(table.take(np.array([1]))) == ["b.jpg 0 1 NA"]


@pytest.mark.parametrize(
    "content",
    [
        "a.jpg 1 NA 0\nb.jpg 0 1 NA\n",
        "a.jpg   1\tNA  0\n   b.jpg 0 1 NA",
        "a.jpg\t1\tNA\t0\nb.jpg\t0\t1\tNA\n",
        "a.jpg\t1\t\t0\nb.jpg\t0\t1\t\n",
        "a.jpg\t\t1\tNA\t0\nb.jpg\t0\t1\tNA\n",
        "a.jpg\t1\tNA\t0\nb.jpg 0 1 NA\n",
        "a.jpg,1,NA,0\nb.jpg,0,1,NA\n",
        "a.jpg, 1, NA ,0\nb.jpg ,0,1, NA\n",
        "a.jpg,1,,0\nb.jpg,0,1,\n",
        '"a.jpg","1","NA","0"\n"b.jpg", "0",1,""\n',
        "a.jpg 1 na 0\nb.jpg 0 1 Na\n",
        "a.jpg,1,nA,0\nb.jpg,0,1,NA\n",
        "a.jpg 1 NA 0\r\nb.jpg 0 1 NA\r\n",
        "a.jpg 1 NA 0\rb.jpg 0 1 NA\r",
        "\ufeffa.jpg 1 NA 0\nb.jpg 0 1 NA\n",
        "\n\n# image Attr1\na.jpg 1 NA 0\n  \n\t# a.jpg 0 0 0\nb.jpg 0 1 NA\n\n",
        "image Attr1 Attr2 Attr3\na.jpg 1 NA 0\nb.jpg 0 1 NA\n",
        "\ufeffimage,Attr1,Attr2,Attr3\r\na.jpg,1,,0\r\nb.jpg,0,1,\r\n",
        ",Attr1,Attr2,Attr3\na.jpg,1,,0\nb.jpg,0,1,NA\n",
        "./a.jpg 1 NA 0\nx/../b.jpg 0 1 NA\n",
        "a.jpg;1;NA;0\nb.jpg;0;1;\n",
        'image;Attr1;Attr2;Attr3\r\n"a.jpg";1;;"0"\r\nb.jpg; 0 ;1;NA\r\n',
        "a.jpg,1.0,,0.0\nb.jpg,0.,1.00,nan\n",
        "a.jpg True none FALSE\nb.jpg no YES Null\n",
    ],
)
def test_dialects(write, content: str, entries) -> None:
    table = read_labels(write(content))
    assert entries(table) == ["a.jpg 1 NA 0", "b.jpg 0 1 NA"]
    assert table.attributes == ["Attr1", "Attr2", "Attr3"]


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("red hat.jpg,1,0\nblue [2].jpg,NA,1\n", ["red hat.jpg", "blue [2].jpg"]),
        ("red hat.jpg\t1\t0\nblue [2].jpg\tNA\t1\n", ["red hat.jpg", "blue [2].jpg"]),
        ('"a, b.jpg",1,0\n"say ""hi"".jpg",NA,1\n', ["a, b.jpg", 'say "hi".jpg']),
        ('5" heel.jpg,1,0\n-é #1.jpg,NA,1\n', ['5" heel.jpg', "-é #1.jpg"]),
        ("a,b.jpg 1 0\nc.jpg NA 1\n", ["a,b.jpg", "c.jpg"]),
        ("sub/a.jpg 1 0\n'b'.jpg NA 1\n", ["sub/a.jpg", "'b'.jpg"]),
    ],
)
def test_image_names_with_special_characters(write, content: str, names: list[str], entries) -> None:
    table = read_labels(write(content))
    assert table.names == names
    assert [row.rsplit(" ", 2)[1:] for row in entries(table)] == [["1", "0"], ["NA", "1"]]


@pytest.mark.parametrize("header", ["", "image,hat,red scarf\n"])
def test_attribute_names_from_header_or_argument(write, header: str) -> None:
    path = write(header + "a.jpg,1,0\n")
    assert read_labels(path).attributes == (["hat", "red scarf"] if header else ["Attr1", "Attr2"])
    assert len(read_labels(path)) == 1
    if not header:
        assert read_labels(path, ["x", "y"]).attributes == ["x", "y"]


def test_given_attributes_select_columns_of_a_header(write) -> None:
    path = write("image,black,blue,red\na.jpg,1,0,NA\nb.jpg,0,NA,1\n")
    table = read_labels(path, ["red", "black"])
    assert table.attributes == ["red", "black"]
    assert table.labels.tolist() == [[0, 1], [1, 0]] and table.mask.tolist() == [[False, True], [True, True]]
    assert errors_of(path, ["hat", "red"]) == [
        "data.attributes has 'hat', no column of labels.txt; expected black, blue, red"
    ]
    assert errors_of(path, ["bleu"])[0].endswith("did you mean 'blue'?")
    assert errors_of(path, ["red", "red"])[0].startswith("data.attributes: attribute 'red' is listed twice")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "image hat\na.jpg 1\n" + "# x\n" * 14 + "b.jpg 2\n",
            "line 17: 'hat' is '2'; expected 1, 0 or NA",
        ),
        ("a.jpg 1 0\nb.jpg 1\n", "line 2: the row has 2 fields; expected an image and 2 labels"),
        ("a,b.jpg 1 0\nc.jpg 1\n", "line 2: the row has 2 fields; expected an image and 2 labels"),
        ("a.jpg,1,0\nb.jpg,1,0,1\n", "line 2: the row has 4 fields; expected an image and 2 labels"),
        ("a.jpg 1\nb.jpg 1 0\nc.jpg 1 0\n", "line 1: the row has 2 fields; expected an image and 2 labels"),
        ("a.jpg maybe no\nb.jpg 1 0\n", "line 1: 'Attr1' is 'maybe'; expected 1, 0 or NA"),
        ("a.jpg 1\n/photos/b.jpg 1\n", "line 2: '/photos/b.jpg' is outside the images folder"),
        ("a.jpg 1 0\n\nA.jpg 0 0\na.jpg 1 1\n", "line 4: the labels of 'a.jpg' differ from those on line 1"),
        ("a.jpg 1 0\n./a.jpg 1 NA\n", "line 2: the labels of 'a.jpg' differ from those on line 1"),
        (
            "a.jpg 1\n../b.jpg 1\n",
            "line 2: '../b.jpg' is outside the images folder; expected a relative path inside it",
        ),
        ("a.jpg 1\nx/../../b.jpg 1\n", "line 2: 'x/../../b.jpg' is outside the images folder"),
        ("a.jpg 1\n..\\b.jpg 1\n", "line 2: '..\\\\b.jpg' is outside the images folder"),
        ("a.jpg 1\n/etc/b.jpg 1\n", "line 2: '/etc/b.jpg' is outside the images folder"),
        ("a.jpg 1\nC:\\b.jpg 1\n", "line 2: 'C:\\\\b.jpg' is outside the images folder"),
        ("a.jpg 1\nC:/b.jpg 1\n", "line 2: 'C:/b.jpg' is outside the images folder"),
        ("a.jpg,1\n,1\n", "line 2: the image name is ''; expected a path in the images folder"),
        ("a.jpg 1\n. 1\n", "line 2: the image name is '.'; expected a path"),
        ("a.jpg 1\nb\0.jpg 1\n", "line 2: the image name is 'b\\x00.jpg'; expected a path"),
        ("a.jpg\nb.jpg\n", "line 1: the row is 'a.jpg'; expected an image and its labels"),
        ("image,hat,hat\na.jpg,1,0\n", "line 1: attribute 'hat' is listed twice; expected unique names"),
        ("image,hat,\na.jpg,1,0\n", "line 1: the name of attribute 2 is empty"),
        ("image,h\x1b[2Jat\na.jpg,1\n", "line 1: attribute 'h\\x1b[2Jat' contains unprintable characters"),
        (b"a.jpg 1\nb\xff.jpg 1\n", "line 2: not UTF-8 text; save the file as UTF-8"),
        ("a.jpg 1\n".encode("utf-16"), "line 1: not UTF-8 text; save the file as UTF-8"),
    ],
)
def test_errors_name_their_line(write, content: str | bytes, message: str) -> None:
    (error,) = errors_of(write(content))
    assert error.startswith(f"labels.txt {message}")


@pytest.mark.parametrize("content", ["", "\n\n", "# only this\n", "\ufeff", "image hat scarf\n"])
def test_file_without_rows(write, content: str) -> None:
    (error,) = errors_of(write(content))
    assert "no rows" in error and "labels.txt" in error


def test_first_ten_errors_are_reported_together(write) -> None:
    errors = errors_of(write("image hat\n" + "".join(f"{i}.jpg 0 0\n" for i in range(30))))
    assert errors[0] == "labels.txt line 2: the row has 3 fields; expected an image and 1 label"
    assert len(errors) == 11 and errors[-1] == "and 20 more"


def test_errors_are_in_the_order_of_lines(write) -> None:
    errors = errors_of(write("a.jpg 1\n" * 3 + "b.jpg 1 1\nc.jpg -1\nd.jpg\ne.jpg -1\n"))
    assert [error.split(":")[0][-1] for error in errors] == ["4", "5", "6"]


def test_given_attributes_must_match_the_columns(write) -> None:
    path = write("a.jpg 1 0\n")
    assert errors_of(path, ["x"]) == [
        "data.attributes has 1 name; expected 2, the number of label columns of labels.txt"
    ]
    assert errors_of(path, ["x", "x"])[0].startswith("data.attributes: attribute 'x' is listed twice")
    assert errors_of(path, ["x", ""]) == ["data.attributes: the name of attribute 2 is empty"]


def test_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(FileNotFoundError, match="no label file at"):
            read_labels(path)


def test_identical_duplicate_rows_are_a_warning(write, caplog: pytest.LogCaptureFixture, entries) -> None:
    table = read_labels(write("a.jpg 1 NA\nb.jpg 0 0\n./a.jpg 1 na\n"))
    assert entries(table) == ["a.jpg 1 NA", "b.jpg 0 0"]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.message.endswith(": 1 image listed twice with identical labels: 'a.jpg' (lines 1 and 3)")


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="requires the sample data in ../shared/data")
def test_sample_labels() -> None:
    table = read_labels(REAL_DATA / "aimonk" / "labels.txt")
    counts = [[789, 106, 80], [713, 171, 91], [466, 416, 93], [68, 813, 94]]
    assert len(table) == 975
    assert np.stack(table.counts(), axis=1).tolist() == counts
    assert table.mask.any(axis=1).all()
    present, absent, _ = map(torch.from_numpy, table.counts())
    weights = count_pos_weight(present, absent, max_weight=None)
    np.testing.assert_allclose(weights, [a / p for p, a, _ in counts], rtol=1e-6)
    np.testing.assert_allclose(weights, [0.134, 0.240, 0.893, 11.96], atol=5e-3)

    complete = read_labels(REAL_DATA / "apparel" / "labels.csv")
    halved = read_labels(REAL_DATA / "apparel" / "labels_na50.txt", complete.attributes)
    assert complete.attributes == ["black", "blue", "red", "dress", "jeans", "shirt", "shoes"]
    assert halved.names == complete.names and len(complete) == 1500
    assert complete.mask.all() and abs(halved.mask.mean() - 0.5) < 0.02
    assert (halved.labels == complete.labels)[halved.mask].all()
