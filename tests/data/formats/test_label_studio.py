import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aimonk.data.annotations import Annotations
from aimonk.data.formats.image_names import ImageNames
from aimonk.data.formats.label_studio.reading import read_label_studio
from aimonk.data.formats.label_studio.writing import format_label_studio
from aimonk.data.labels import LabelTable
from aimonk.data.repeated import combine

SAMPLES = Path(__file__).parent / "samples" / "label_studio"
SETTINGS = {
    "image_key": None,
    "controls": None,
    "choices": "auto",
    "blank": None,
    "annotations": None,
    "repeated": "error",
    "tokens": {},
}


def read(path: Path, images: Path | None = None, **settings: Any) -> Annotations:
    return read_label_studio(path, ImageNames(images), **SETTINGS | settings)


def combined(path: Path, images: Path | None = None, **settings: Any) -> LabelTable:
    repeated = settings.get("repeated", "error")
    return combine(read(path, images, **settings), repeated, path)


def test_a_control_per_attribute(entries, caplog: pytest.LogCaptureFixture) -> None:
    table = combined(SAMPLES / "controls.json")
    assert table.attributes == ["hat", "шарф", 'say "hi"']
    assert entries(table) == [
        "photo_1.jpg 1 0 NA",
        "day 1/шапка.png 0 NA 1",  # the newest by its last update, whatever was cancelled later
        "it's 5%.jpg NA NA NA",
        "c.jpg NA 1 NA",
        "plain/d.jpg NA NA NA",
    ]
    assert "only choices for the image are labels: rectanglelabels of box" in caplog.text


def test_annotators_are_kept_where_they_are_combined(entries) -> None:
    found = read(SAMPLES / "controls.json", repeated="merge")
    assert found.annotators == ["1", "ann@example.org", "bo@example.org", "", "", ""]
    assert found.places == [11, 12, 12, 15, 16, 17]
    assert entries(combine(found, "merge", SAMPLES))[1] == "day 1/шапка.png NA 1 1"
    newest = read(SAMPLES / "controls.json", repeated="merge", annotations="newest")
    assert newest.annotators == ["1", "ann@example.org", "", "", ""]
    with pytest.raises(
        ValueError, match=r"task 12: 'hat' of 'day 1/шапка.png' differs from another annotation"
    ):
        combined(SAMPLES / "controls.json", annotations="all")


@pytest.mark.parametrize(("blank", "unticked"), [("absent", "0"), ("unknown", "NA")])
def test_choices_are_attributes(blank: str, unticked: str, entries) -> None:
    table = combined(SAMPLES / "choices.json", blank=blank)
    assert table.attributes == ["hat", 'синий "шарф" 2', "None"]
    u = unticked
    assert entries(table) == [f"a.jpg 1 1 {u}", f"b.jpg {u} {u} 1", "c.jpg NA NA NA"]


def test_choices_that_are_not_ticked_need_data_blank() -> None:
    with pytest.raises(
        ValueError, match=r"data.blank is null; expected absent or unknown, .* such as 'hat' of 'obj"
    ):
        read(SAMPLES / "choices.json")


@pytest.mark.parametrize("name", ["min.json", "export.csv"])
def test_a_column_per_control(name: str, entries, caplog: pytest.LogCaptureFixture) -> None:
    table = combined(SAMPLES / name, blank="absent")
    other = "b.jpg" if name == "min.json" else 'b "q".jpg'
    columns = {name: i for i, name in enumerate(table.attributes)}
    table = table.select(sorted(columns))
    assert table.attributes == ["dog", "hat", "кот"]
    rows = ["a.jpg 1 0 0", f"{other} 0 NA 0", "c.jpg NA NA NA"]
    assert entries(table) == rows[: len(table)]
    assert len(table) == (3 if name == "min.json" else 2)
    assert ("ignored" in caplog.text) == (name == "min.json")
    table = combined(SAMPLES / name, blank="absent", repeated="merge").select(sorted(columns))
    assert entries(table)[0] == "a.jpg 1 NA NA"


def test_unclear_columns_are_asked_for(tmp_path: Path, entries) -> None:
    path = tmp_path / "export.csv"
    path.write_text("image,caption,mood,id\na.jpg,x,happy,1\nb.jpg,y,sad,2\n")
    with pytest.raises(
        ValueError, match=r"columns caption, mood may be controls or data .*; data.controls=\[...\]"
    ):
        read(path)
    assert entries(combined(path, controls=["mood"], blank="absent")) == ["a.jpg 1 0", "b.jpg 0 1"]
    table = combined(path, controls=["mood"], tokens={"present": ["happy"], "absent": ["sad"]})
    assert (table.attributes, entries(table)) == (["mood"], ["a.jpg 1", "b.jpg 0"])


def task(address: str, *answers: dict, number: int = 1, **further: Any) -> dict:
    return {"id": number, "data": {"image": address}, "annotations": list(answers), **further}


def answer(choices: dict[str, Any], **further: Any) -> dict:
    result = [
        {"from_name": name, "to_name": "i", "type": "choices", "value": {"choices": chosen}}
        for name, chosen in choices.items()
    ]
    return {"result": result, **further}


@pytest.fixture
def write_tasks(tmp_path: Path):
    def write(*tasks: Any) -> Path:
        path = tmp_path / "project.json"
        path.write_text(json.dumps(list(tasks)))
        return path

    return write


def test_images_are_the_longest_end_that_exists(write_tasks, tmp_path: Path) -> None:
    images = tmp_path / "images"
    for name in ("a/1.jpg", "b/1.jpg", "1.jpg", "0011aabb-2.jpg", "x y.jpg", "c+d.jpg"):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        (images / name).touch()
    addresses = {
        "s3://bucket/data/a/1.jpg": "a/1.jpg",
        "/data/local-files/?d=images/b/1.jpg": "b/1.jpg",
        "https://host/1.jpg?v=2": "1.jpg",
        "/data/upload/1/0011aabb-2.jpg": "0011aabb-2.jpg",
        "/data/upload/1/0011aabb-x%20y.jpg": "x y.jpg",
        "http://host/data/local-files/?d=c+d.jpg": "c+d.jpg",
        "/data/local-files/?d=none/3+4.jpg": "none/3 4.jpg",
        str(images / "e.jpg"): "e.jpg",
    }
    path = write_tasks(*[task(address, answer({"h": ["yes"]})) for address in addresses])
    assert read(path, images).names == list(addresses.values())


def test_images_of_one_name_are_refused(write_tasks) -> None:
    path = write_tasks(task("s3://b/x/1.jpg", answer({"h": ["yes"]})), task("s3://b/y/1.jpg", number=2))
    with pytest.raises(
        ValueError, match=r"task 2: the image 's3://b/y/1.jpg' has the name '1.jpg', as 's3://b/x/1"
    ):
        read(path)
    again = write_tasks(task("a.jpg", answer({"h": ["yes"]})), task("a.jpg", answer({"h": ["no"]}), number=2))
    with pytest.raises(ValueError, match=r"task 2: 'h' of 'a.jpg' differs from another annotation"):
        combined(again)


def test_equal_choices_of_two_controls_are_told_apart(write_tasks) -> None:
    path = write_tasks(task("a.jpg", answer({"top": ["red", "wool"], "shoes": ["red"]})))
    assert read(path, blank="absent").attributes == ["top=red", "wool", "shoes=red"]
    assert read(path, blank="absent", controls=["shoes"]).attributes == ["red"]


def test_there_and_back(tmp_path: Path, entries, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    names = ["d/ä 1%.jpg", "?#&+.png", "c.jpg", 'q"\\ .jpg'.replace("\\ ", "'")]
    attributes = ['say "hi"', "<шапка>", "never", "b"]
    mask = np.array([[0, 1, 0, 0], [1, 1, 0, 1], [0, 0, 0, 0], [0, 0, 0, 1]], bool)
    labels = np.array([[0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]], np.float32)
    for splits in (None, ["train", "val", "train", "test"]):
        table = LabelTable(names, attributes, labels, mask, splits)
        path = tmp_path / "x.json"
        path.write_text(format_label_studio(table, tmp_path))
        back = combined(path, tmp_path)
        assert (back.names, back.attributes, back.splits) == (names, attributes, splits)
        assert np.array_equal(back.labels, labels) and np.array_equal(back.mask, mask)
    tasks = json.loads(path.read_text())
    assert [len(t["annotations"]) for t in tasks] == [1, 1, 0, 1]
    assert tasks[3]["annotations"][0]["result"] == [
        {"from_name": "b", "to_name": "shown_image", "type": "choices", "value": {"choices": ["absent"]}}
    ]
    assert '<Choices name="&lt;шапка&gt;" toName="shown_image" choice="single-radio"' in caplog.text


CASES: list[tuple[Any, dict, str]] = [
    ([], {}, "project.json: the content is []; expected an export of Label Studio: a list of tasks"),
    (
        {"a": 1},
        {},
        "project.json: the content is {'a': 1}; expected an export of Label Studio: a list of tasks",
    ),
    ([1], {}, "project.json: the content is [1]; expected an export"),
    ([task("")], {}, "project.json task 1: the image 'image' is ''; expected a path or an address"),
    ([task("a.jpg"), {"annotations": []}], {}, "project.json task 2: data is null; expected an object with"),
    (
        [task("../a.jpg", answer({"h": "yes"}))],
        {},
        "project.json task 1: '../a.jpg' is outside the images folder",
    ),
    (
        [task("a.jpg", answer({"h": [1]}))],
        {},
        "project.json task 1: the choices of 'h' are [1]; expected a list of",
    ),
    (
        [task("a.jpg", answer({"h": [["x", "y"]]}))],
        {},
        "project.json task 1: the choices of 'h' are [['x', 'y']]",
    ),
    (
        [task("a.jpg", {"result": None})],
        {},
        "project.json task 1: the result of an annotation is null; expected a",
    ),
    ([task("a.jpg", {"result": [3]})], {}, "project.json task 1: a result is 3; expected an object"),
    ([task("a.jpg", 3)], {}, "project.json task 1: an annotation is 3; expected an object"),
    (
        [task("a.jpg", answer({"h": "yes"}, was_cancelled="no"))],
        {},
        "project.json task 1: was_cancelled is 'no'; exp",
    ),
    (
        [task("a.jpg")],
        {},
        "project.json: no choices in a submitted annotation; expected controls of type Choices",
    ),
    (
        [task("a.jpg", answer({"h": "yes"})), task("b.jpg", answer({"h": "maybe"}))],
        {},
        "project.json: control 'h' has the choices 'yes' and 'maybe' (1 times); expected words for present",
    ),
    (
        [task("a.jpg", answer({"h": "yes"})), task("b.jpg", answer({"h": "maybe"}), number=7)],
        {"choices": "values"},
        "project.json task 7: 'h' is 'maybe'; expected a word for present, absent or unknown, which",
    ),
    (
        [task("a.jpg", answer({"h": ["yes", "no"]}))],
        {},
        "project.json task 1: 'h' is 'yes' and 'no'; expected a word",
    ),
    (
        [task("a.jpg", answer({"h": "yes"}), answer({"h": "no"}))],
        {},
        "project.json task 1: 2 annotations, one without a readable updated_at; expected the time of each",
    ),
    (
        [task("a.jpg", answer({"h": "yes"}))],
        {"controls": ["g"]},
        "data.controls has 'g', which has no choices in",
    ),
    (
        [task("a.jpg", answer({"h": "yes"}))],
        {"annotations": "last"},
        "data.annotations is 'last'; expected newest, ",
    ),
    (
        [task("a.jpg", answer({"h": "yes"}))],
        {"choices": "list"},
        "data.choices is 'list'; expected auto, values",
    ),
    (
        [task("a.jpg", answer({"h": "yes"}))],
        {"image_key": "x"},
        "project.json task 1: the image 'x' is null; expect",
    ),
]


@pytest.mark.parametrize(("content", "settings", "message"), CASES)
def test_wrong_files(content: Any, settings: dict, message: str, tmp_path: Path) -> None:
    path = tmp_path / "project.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError) as caught:
        read(path, **settings)
    text = f"{caught.value}".replace(f"{tmp_path}/", "")
    assert text.startswith(message) and "\n" not in text


def test_deep_values_are_shown_shortened(tmp_path: Path) -> None:
    path = tmp_path / "project.json"
    path.write_text("[" * 900 + "]" * 900)
    with pytest.raises(ValueError, match=r"the content is \[\[\[\[\[\[\[\.\.\.\].*; expected an export"):
        read(path)
