import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aimonk.data.formats.coco.reading import read_coco
from aimonk.data.formats.coco.writing import format_coco
from aimonk.data.formats.image_names import ImageNames
from aimonk.data.labels import LabelTable
from aimonk.data.repeated import combine

SAMPLES = Path(__file__).parent / "samples" / "coco"


def read(path: Path, blank: str | None = None, images: Path | None = None) -> LabelTable:
    return combine(read_coco(path, ImageNames(images), blank), "error", path)


@pytest.mark.parametrize(("blank", "other"), [("absent", "0"), ("unknown", "NA")])
def test_instances(entries, blank: str, other: str) -> None:
    table = read(SAMPLES / "instances.json", blank)
    assert table.attributes == ["person", "stop sign", "toothbrush"]
    assert entries(table) == [
        f"000000397133.jpg 1 {other} {other}",
        f"000000037777.jpg {other} 1 {other}",  # a crowd
        f'улица/a, "b".jpg {other} {other} {other}',  # no annotation
        f"000000087038.jpg {other} {other} 1",  # coco_url
    ]


def test_lists_of_lvis_need_no_blank(entries, tmp_path: Path) -> None:
    table = read(SAMPLES / "lvis.json")
    assert table.attributes == ["aerosol_can", "air_conditioner", "airplane"]
    assert entries(table) == [
        "000000000001.jpg 1 NA 0",
        "000000000002.jpg NA 1 NA",
        "000000000003.jpg 0 0 0",
    ]
    # images of several folders
    (tmp_path / "train2017").mkdir()
    (tmp_path / "train2017" / "000000000001.jpg").touch()
    assert read(SAMPLES / "lvis.json", None, tmp_path).names[0] == "train2017/000000000001.jpg"


def small(**changes: Any) -> dict[str, Any]:
    """A valid file of two images and two categories; a change is a list, or a position and an entry."""
    content = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 7, "file_name": "b.jpg"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 3}],
        "categories": [{"id": 3, "name": "cat"}, {"id": 9, "name": "dog"}],
    }
    for key, change in changes.items():
        if isinstance(change, tuple):
            content[key][change[0]] = change[1]
        else:
            content[key] = change
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], r"'images' is no list in the file; expected the instances JSON of COCO$"),
        ({"images": []}, r"'annotations' is no list"),
        (small(categories=[]), r"2 images and 0 categories; expected one or more of both$"),
        (small(images=(1, {"id": 1, "file_name": "b.jpg"})), r"image 2: id is 1, that of another image"),
        (
            small(images=(1, {"id": 7, "file_name": "./a.jpg"})),
            r"image 2: the file is 'a.jpg', that of image 1; rem",
        ),
        (small(images=(0, {"id": 1})), r"image 1: file_name is missing; expected the path of an image$"),
        (small(images=(0, {"id": 1, "file_name": 5})), r"image 1: file_name is 5; expected"),
        (small(images=(0, {"id": 1, "file_name": "../a.jpg"})), r"image 1: '../a.jpg' is outside the images"),
        (
            small(images=(0, {"id": float("nan"), "file_name": "a.jpg"})),
            r"image 1: id is nan; expected an integer$",
        ),
        (small(images=(0, {"id": True, "file_name": "a.jpg"})), r"image 1: id is True; expected an integer$"),
        (small(images=(0, {"id": 1, "coco_url": "http://[x"})), r"image 1: .*Invalid IPv6"),
        (small(images=(0, 5)), r"image 1: the entry is 5; expected an object with 'id'$"),
        (
            small(categories=(1, {"id": 9, "name": "cat "})),
            r"category 2: name is 'cat', that of category 1; rename",
        ),
        (small(categories=(1, {"id": 3, "name": "dog"})), r"category 2: id is 3, that of another category"),
        (small(categories=(1, {"id": 9})), r"category 2: name is None; expected a string$"),
        (small(categories=(1, {"id": 9, "name": "d\nog"})), r"attribute 'd\\nog' contains unprintable"),
        (
            small(annotations=[{"image_id": 2, "category_id": 3}]),
            r"annotation 1: image_id is 2; expected the id of one of the images, such as 1$",
        ),
        (
            small(annotations=[{"image_id": 1, "category_id": "3"}]),
            r"annotation 1: category_id is '3'; expected",
        ),
        (
            small(annotations=[{"image_id": 1, "category_id": True}]),
            r"annotation 1: category_id is True; expected",
        ),
        (
            small(annotations=[{"image_id": 1, "caption": "a cat"}]),
            r"labels.txt: no annotation has a category_id; expected the instances JSON of COCO$",
        ),
        (
            small(annotations=[{"image_id": 7, "category_id": 3}, {"image_id": 1}]),
            r"annotation 2: category_id is missing; exp",
        ),
        (
            small(images=(1, {"id": 7, "file_name": "b.jpg", "neg_category_ids": [3]})),
            r"annotation 1: category_id is 3; expected no category that neg_category_ids of its image has$",
        ),
        (
            small(images=(0, {"id": 1, "file_name": "a.jpg", "neg_category_ids": [4]})),
            r"image 1: neg_category_ids is 4; expected the id of one of the categories, such as 3$",
        ),
        (
            small(images=(0, {"id": 1, "file_name": "a.jpg", "neg_category_ids": 3})),
            r"image 1: neg_category_ids is 3; expected a list of ids of categories$",
        ),
    ],
)
def test_wrong_files(write, content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read(write(json.dumps(content)), "absent")
    assert "\n" not in f"{caught.value}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"line 1: not JSON \(Expecting value\); the file is incomplete or damaged"),
        ('{"images": [\n', r"line 2: not JSON"),
        ("[" * 100_000, r"the values are nested too deeply; expected a label file$"),
        ('{"images": [], "images": []}', r"an object has the key 'images' twice"),
        ("1" * 5000, r"Exceeds the limit"),
        ("\ufeff[]".encode("utf-16"), r"line 1: not UTF-8 text; save the file as UTF-8$"),
    ],
)
def test_damaged_json(write, content: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read(write(content), "absent")
    assert "\n" not in f"{caught.value}"


def test_many_errors_are_listed_once(write) -> None:
    wrong = [{"image_id": 1, "category_id": 4}] * 1000
    with pytest.raises(ValueError) as caught:
        read(write(json.dumps(small(annotations=wrong))), "absent")
    lines = f"{caught.value}".split("\n")
    assert len(lines) == 11 and "annotation 10: " in lines[9] and lines[10] == "and 990 more"


def test_blank_must_be_given(write) -> None:
    with pytest.raises(ValueError, match=r"^data.blank is null; .*: absent if all .*, unknown if only some"):
        read(SAMPLES / "instances.json")
    with pytest.raises(ValueError, match=r"^data.blank is 'maybe'; expected absent or unknown"):
        read(SAMPLES / "lvis.json", "maybe")
    mixed = small(images=(0, {"id": 1, "file_name": "a.jpg", "neg_category_ids": []}))
    with pytest.raises(ValueError, match=r"^data.blank is null"):
        read(write(json.dumps(mixed)))


def test_table_is_read_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = ["b/ц, 1.jpg", "a.png", "none.jpg", "\udcff.jpg"]
    labels = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 0]], np.float32)
    mask = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1], [0, 0, 0]], bool)
    table = LabelTable(names, ["hat", 'say "hi"', "шарф"], labels, mask, ["train", "val", "train", "test"])
    (tmp_path / "b").mkdir()
    Image.new("RGB", (6, 4)).save(tmp_path / names[0])
    (tmp_path / "a.png").write_bytes(b"no image")
    path = tmp_path / "labels.json"
    path.write_text(format_coco(table, tmp_path))
    found = read(path)
    assert (found.names, found.attributes) == (names, table.attributes)
    assert np.array_equal(found.labels, labels) and np.array_equal(found.mask, mask)
    assert "no width and height, since the image cannot be read: a.png, none.jpg" in caplog.text
    assert "the splits are not written" in caplog.text
    # the keys of the specification, as pycocotools indexes them
    content = json.loads(path.read_text())
    assert content["images"][0] == {
        "id": 1,
        "file_name": names[0],
        "width": 6,
        "height": 4,
        "neg_category_ids": [2],
        "not_exhaustive_category_ids": [],
    }
    assert content["annotations"][0] == {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [0, 0, 6, 4],
        "area": 24,
        "segmentation": [[0, 0, 6, 0, 6, 4, 0, 4]],
        "iscrowd": 0,
    }
    assert content["categories"][1] == {"id": 2, "name": 'say "hi"', "supercategory": "none"}


def test_every_sample_returns_to_coco(tmp_path: Path, entries) -> None:
    for sample in SAMPLES.glob("*.json"):
        table = read(sample, "absent")
        (tmp_path / sample.name).write_text(format_coco(table, tmp_path))
        assert entries(read(tmp_path / sample.name)) == entries(table)
