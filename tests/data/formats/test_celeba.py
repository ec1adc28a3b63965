from pathlib import Path

import pytest

from aimonk.data.formats.celeba import read_celeba
from aimonk.data.formats.image_names import ImageNames

# the head of the published file, with fewer attributes
FILE = """3
5_o_Clock_Shadow Arched_Eyebrows Young
000001.jpg -1  1  1
000002.jpg -1 -1  1
000003.jpg  1 -1 -1
"""


def read(folder: Path, content: str = FILE, partition: str | None = None):
    path = folder / "list_attr_celeba.txt"
    path.write_text(content)
    if partition is not None:
        (folder / "partition.txt").write_text(partition)
    return read_celeba(path, ImageNames(None), None if partition is None else f"{folder}/partition.txt")


def test_every_entry(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert found.names == ["000001.jpg", "000002.jpg", "000003.jpg"]
    assert found.attributes == ["5_o_Clock_Shadow", "Arched_Eyebrows", "Young"]
    assert found.meanings().tolist() == [[0, 1, 1], [0, 0, 1], [1, 0, 0]]
    assert [(value.text, value.meaning) for value in found.legend] == [("-1", 0), ("1", 1)]
    assert found.splits is None


def test_partition(tmp_path: Path) -> None:
    found = read(tmp_path, partition="000001.jpg 0\n000003.jpg 2\n000002.jpg 1\n000004.jpg 1\n")
    assert found.splits == ["train", "val", "test"]


def test_copies_as_csv(tmp_path: Path) -> None:
    rows = ["image_id,5_o_Clock_Shadow,Young", "000001.jpg,-1,1", "000002.jpg,1,-1", ""]
    partition = "image_id,partition\r\n000001.jpg,0\r\n000002.jpg,2\r\n"
    found = read(tmp_path, "\r\n".join(rows), partition)
    assert (found.attributes, found.names) == (["5_o_Clock_Shadow", "Young"], ["000001.jpg", "000002.jpg"])
    assert found.meanings().tolist() == [[0, 1], [1, 0]] and found.splits == ["train", "test"]
    assert found.places == [2, 3]


def test_names_may_begin_with_the_image_column(tmp_path: Path) -> None:
    found = read(tmp_path, FILE.replace("5_o", "image_id 5_o"))
    assert found.attributes == ["5_o_Clock_Shadow", "Arched_Eyebrows", "Young"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "3\n",
            "",
            "line 1: the line is '5_o_Clock_Shadow .* Young'; expected the number",
        ),
        ("3\n", "3" * 5000 + "\n", r"list_attr_celeba\.txt line 1: the line is '333"),
        (FILE[2:], "hat scarf\n", "no rows; expected lines such as '000001.jpg -1 1'"),
        ("3\n", "4\n", "line 1: the number of images is 4, but 3 rows follow"),
        ("5_o_Clock_Shadow", "Young", "line 2: attribute 'Young' is listed twice"),
        ("2.jpg -1 -1  1", "2.jpg -1  0  1", "line 4: 'Arched_Eyebrows' is '0'; expected 1 or -1"),
        ("2.jpg -1 -1  1", "2.jpg -1  1", "line 4: the row has 3 fields; expected an image and 3 labels"),
        ("000002.jpg", "../2.jpg", "line 4: '../2.jpg' is outside the images folder"),
    ],
)
def test_wrong_file(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, FILE.replace(old, new, 1))


@pytest.mark.parametrize(
    ("partition", "message"),
    [
        (
            "000001.jpg 0\n000002.jpg 3\n",
            "line 2: the row is '000002.jpg 3'; expected an image",
        ),
        ("000001.jpg 0\n000001.jpg 1\n", "line 2: '000001.jpg' is in val; expected train, as before"),
        ("000001.jpg 0\n", "no row for 2 images, such as '000002.jpg'"),
    ],
)
def test_wrong_partition(tmp_path: Path, partition: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, partition=partition)
