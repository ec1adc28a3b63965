from pathlib import Path

import pytest

from aimonk.data.formats.chexpert import read_chexpert
from aimonk.data.formats.image_names import ImageNames
from aimonk.data.repeated import combine

SAMPLES = Path(__file__).parent / "samples" / "chexpert"
PREFIX = "CheXpert-v1.0-small/train/"
# without the name of the data set: the observations in their order, b is blank and u uncertain
ROWS = [
    f"{PREFIX}patient00001/study1/view1_frontal.jpg 1 b b b b b b b b 0 b b b 1",
    f"{PREFIX}patient00002/study2/view1_frontal.jpg b b u 1 b u u b u b u b 1 b",
    f"{PREFIX}patient00002/study1/view1_frontal.jpg b b b 1 b b u b b b b b 1 b",
    f"{PREFIX}patient00002/study1/view2_lateral.jpg b b b 1 b b u b b b b b 1 b",
    f"{PREFIX}patient00003/study1/view1_frontal.jpg b b 0 b b 1 b 0 b 0 b b b b",
]
TOKENS = {"present": "1", "absent": "0", "unknown": "NA"}


def read(path: Path, blank: str | None, uncertain: str = "unknown", images: Path | None = None):
    return combine(read_chexpert(path, ImageNames(images), blank, uncertain), "error", path)


@pytest.mark.parametrize("blank", ["absent", "unknown"])
@pytest.mark.parametrize("uncertain", ["unknown", "present", "absent"])
def test_blank_and_uncertain_observations(entries, blank: str, uncertain: str) -> None:
    table = read(SAMPLES / "train.csv", blank, uncertain)
    assert len(table.attributes) == 14
    assert table.attributes[0] == "No Finding" and table.attributes[-1] == "Support Devices"
    expected = []
    for row in ROWS:
        name, *values = row.split(" ")
        meaning = {"b": TOKENS[blank], "u": TOKENS[uncertain]}
        expected.append(" ".join([name, *(meaning.get(value, value) for value in values)]))
    assert entries(table) == expected


def test_quotes_spaces_and_order_of_columns(entries) -> None:
    table = read(SAMPLES / "odd.csv", "unknown")
    assert table.attributes == ["Edema", "No Finding"]
    assert entries(table) == ["a, b.jpg 1 0", "сн имок.jpg NA NA", "c.jpg 0 NA"]


def test_index_of_pandas_is_ignored(write, entries) -> None:
    table = read(write(",Path,A\n0,a.jpg,1.0\n1,b.jpg,\n"), "unknown")
    assert table.attributes == ["A"] and entries(table) == ["a.jpg 1", "b.jpg NA"]


def test_images_below_the_folder_of_the_data_set(tmp_path: Path) -> None:
    folder = tmp_path / "CheXpert-v1.0-small" / "train" / "patient00001" / "study1"
    folder.mkdir(parents=True)
    (folder / "view1_frontal.jpg").touch()
    name = f"{PREFIX}patient00001/study1/view1_frontal.jpg"
    assert read(SAMPLES / "train.csv", "absent", images=tmp_path).names[0] == name
    inside = read(SAMPLES / "train.csv", "absent", images=tmp_path / "CheXpert-v1.0-small")
    assert inside.names[0] == name.removeprefix("CheXpert-v1.0-small/")
    assert read(SAMPLES / "train.csv", "absent", images=tmp_path / "none").names[0] == name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"no rows below a header"),
        ("Path,A\n", r"no rows below a header"),
        ("path,A\na.jpg,1\n", r"line 1: the header is 'path,A'; expected a column 'Path'$"),
        ("Path,Sex\na.jpg,Male\n", r"line 1: the header names no observation$"),
        ("Path,,A\na.jpg,0,1\n", r"line 1: column 2 has no name; remove or name it$"),
        ("Path,A,A\na.jpg,1,1\n", r"line 1: attribute 'A' is listed twice"),
        (
            "Path,A\r\na.jpg,1\r\nb.jpg,0.5\r\n",
            r"line 3: 'A' is '0.5'; expected 1.0, 0.0, -1.0 or an empty fi",
        ),
        ("Path,A\na.jpg,nan\n", r"line 2: 'A' is 'nan'; expected 1.0"),
        ("Path,A\na.jpg\n", r"line 2: the row has 1 field; expected 2, as in the header$"),
        ("Path,A\n,1\n", r"line 2: the image name is ''; expected a path"),
        ("Path,A\n/etc/x.jpg,1\n", r"line 2: '/etc/x.jpg' is outside the images folder"),
        ('Path,A\n"a.jpg,1\nb.jpg,1\n', r"line 2: a quotation mark is not closed on its line"),
        ('Path,A\n"a.jpg,1\nb"c.jpg,1\n', r"line 2: .* expected fields between commas$"),
        ('Path,A\n"a.jpg",1\n"b.jpg\n",1\n', r"line 3: a quotation mark is not closed on its line"),
        ("Path\tA\na.jpg\t1\n", r"line 1: .*; expected a column 'Path'$|unprintable"),
        (b"Path,A\n\xcf.jpg,1\n", r"line 2: not UTF-8 text; save the file as UTF-8$"),
        ("Path,A\na\0.jpg,1\n", r"line 2: the image name is 'a\\x00.jpg'"),
        ("Path,A\na.jpg,1\na.jpg,0\n", r"line 3: the labels of 'a.jpg' differ from those on line 2"),
    ],
)
def test_wrong_files(write, content: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read(write(content), "unknown")
    assert "\n" not in f"{caught.value}"


def test_no_blank_field_needs_no_setting(write, entries) -> None:
    assert entries(read(write("Path,A\na.jpg,1.0\nb.jpg,0.0\nc.jpg,-1\n"), None)) == [
        "a.jpg 1",
        "b.jpg 0",
        "c.jpg NA",
    ]


def test_wrong_settings(write, tmp_path: Path) -> None:
    path = write("Path,A\na.jpg,\n")
    with pytest.raises(ValueError, match=r"^data.blank is 'zero'; expected absent or unknown"):
        read(path, "zero")
    with pytest.raises(
        ValueError, match=r"^data.blank is null; expected absent or unknown, the meaning of obs"
    ):
        read(path, None)
    with pytest.raises(ValueError, match=r"^data.uncertain is 'zero'; expected unknown, present, absent$"):
        read(path, "absent", "zero")
    with pytest.raises(FileNotFoundError, match=r"no label file at .*; it is a folder$"):
        read(tmp_path, "absent")
