import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from aimonk.data.formats.coco.reading import read_coco
from aimonk.data.formats.image_names import ImageNames
from aimonk.data.formats.text.comma_file import format_comma_file
from aimonk.data.formats.text.label_file import read_labels
from aimonk.data.labels import LabelTable
from aimonk.data.repeated import combine
from aimonk.modes import conversion
from aimonk.setup.data import read_table

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "formats" / "samples"
CELEBA = "2\nhat scarf\n000001.jpg  1 -1\n000002.jpg -1 -1\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "attr.txt").write_text(CELEBA)
    (tmp_path / "split.txt").write_text("000001.jpg 0\n000002.jpg 1\n")
    (tmp_path / "images").mkdir()
    return tmp_path


@pytest.fixture
def convert(place: Path, compose_config):
    def convert(*overrides: str) -> None:
        given = [f"data.labels={place}/attr.txt", f"data.images={place}/images", *overrides]
        conversion.run(compose_config("mode=import", "data=celeba", *given), place, given)

    return convert


def make_table(names: list[str], attributes: list[str], splits: list[str] | None = None) -> LabelTable:
    labels = np.arange(len(names) * len(attributes)).reshape(len(names), -1) % 3
    return LabelTable(names, attributes, (labels == 1).astype(np.float32), labels != 2, splits)


def test_command_line_prints_meanings_and_writes_labels(place: Path, command) -> None:
    short = ["from=celeba", "labels=attr.txt", "images=images", "output=labels.csv"]
    result = command(place, "mode=import", *short)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "attribute  present  absent  unknown",
        "hat        1 (1)    1 (-1)  0",
        "scarf      0        2 (-1)  0",
        "2 images",
    ]
    assert "no image in images for 2 rows: 000001.jpg, 000002.jpg" in result.stderr
    assert (place / "labels.csv").read_text() == "image,hat,scarf\n000001.jpg,1,0\n000002.jpg,0,0\n"
    wrong = command(place, "mode=import", "labels=attr.txt", "images=images")
    assert wrong.returncode == 1 and wrong.stderr.startswith("from is missing; expected one of celeba, ")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["output=attr.txt"], "expected another file than those that are read"),
        (["output=split.txt", "data.partition=split.txt"], "expected another file than those that are read"),
        (["output=a.JPG"], "output is a.JPG; expected a file of labels, such as labels.csv, no image"),
        (["output=null"], "output is None; expected the file to write"),
        (["output=images"], "output is images; expected the file to write"),
        (["to=xml"], "to is 'xml'; expected csv"),
        (["data.repeated=soft"], "expected error, merge or majority: a file has no shares"),
        (["data.attributes=[hut]"], "did you mean 'hat'"),
    ],
)
def test_wrong_settings(convert, place: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convert(*overrides)
    assert not (place / "labels.csv").exists() and (place / "attr.txt").read_text() == CELEBA


FORMATS = {
    "voc": ("", [], "image,car,chair,potted plant,split", "000005,0,1,0,train"),
    "coco": ("lvis.json", [], "image,aerosol_can,air_conditioner,airplane", "000000000001.jpg,1,NA,0"),
    "cvat": ("project.xml", [], "image,photo,photo.hat,split", "b.jpg,1,0,val"),
    "imagefolder": ("", [], "image,hat,gloves,scarf", "train/0001.jpg,1,NA,0"),
    "label_studio": ("controls.json", [], 'image,hat,шарф,"say ""hi"""', "day 1/шапка.png,0,NA,1"),
    "table": ("columns.jsonl", ["data.columns={h: hat}"], "image,h", "c.jpg,0"),
    "chexpert": ("odd.csv", ["data.blank=absent"], "image,Edema,No Finding", '"a, b.jpg",1,0'),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_become_a_label_file(name: str, place: Path, compose_config) -> None:
    labels, settings, header, row = FORMATS[name]
    given = [f"data.labels={SAMPLES / name / labels}", f"data.images={place}/images", *settings]
    conversion.run(compose_config("mode=import", f"data={name}", *given), place, given)
    lines = (place / "labels.csv").read_text().splitlines()
    assert lines[0] == header and row in lines


def test_openimages_by_the_command_line(place: Path, command) -> None:
    # a comma and letters that are not ASCII in the value of a setting
    shutil.copytree(SAMPLES / "openimages", place / "открытые, v7")
    labels, classes = (f"открытые, v7/{file}" for file in ("labels.csv", "class-descriptions.csv"))
    settings = [f"labels={labels}", f"data.classes={classes}", "data.machine=0.7", "data.attributes=[Tree]"]
    result = command(place, "mode=import", "from=openimages", *settings, "to=coco", "output=labels.json")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "attribute  present                        absent  unknown",
        "Tree       2 (1: 1, machine from 0.7: 1)  0       1 (no row)",
        "3 images, 6 annotations",
    ]
    table = combine(read_coco(place / "labels.json", ImageNames(None), None), "error", place)
    assert table.labels.tolist() == [[1], [1], [0]] and table.mask.tolist() == [[True], [True], [False]]


def test_table_becomes_tasks_by_the_command_line(place: Path, command) -> None:
    (place / "шапки.csv").write_text("file,Has Hat,note\na.jpg,yes,x\nb c.jpg,,y\n")
    given = [
        "from=table",
        "labels=шапки.csv",
        "data.columns={hat: Has Hat}",
        "to=label_studio",
        "output=x.json",
    ]
    result = command(place, "mode=import", *given)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[1:] == ["hat        1 (1)    0       1 (NA)", "2 images"]
    assert '<Choices name="hat" toName="shown_image" choice="single-radio"' in result.stderr
    tasks = json.loads((place / "x.json").read_text())
    assert tasks[1] == {"data": {"image": "/data/local-files/?d=b%20c.jpg"}, "annotations": []}


def test_label_studio_there_and_back(place: Path, compose_config) -> None:
    """The tasks of a table give the table again, and tasks that were changed give its labels."""
    path, images = place / "tasks.json", f"data.images={place}/images"
    given = [f"data.labels={SAMPLES}/label_studio/controls.json", images, "to=label_studio", f"output={path}"]
    conversion.run(compose_config("mode=import", "data=label_studio", *given), place, given)
    tables = [
        read_table(compose_config("data=label_studio", f"data.labels={file}"), file, place / "images")
        for file in (SAMPLES / "label_studio" / "controls.json", path)
    ]
    before, after = tables
    assert (before.names, before.attributes) == (after.names, after.attributes)
    assert np.array_equal(before.labels, after.labels) and np.array_equal(before.mask, after.mask)


def test_folder_of_the_output_must_exist(convert) -> None:
    with pytest.raises(FileNotFoundError, match="expected a file in an existing folder"):
        convert("output=none/labels.csv")


def test_selected_attributes_in_their_order(convert, place: Path) -> None:
    convert("data.attributes=[scarf,hat]")
    assert (place / "labels.csv").read_text().startswith("image,scarf,hat\n000001.jpg,0,1\n")


@pytest.mark.parametrize(
    "names",
    [
        ["a.jpg", "b c.jpg", "д,е.jpg", 'say "hi".jpg'],
        ["#a.jpg", "=1+1.jpg", "-b.jpg", "'c.jpg"],
        ["sub/a.jpg", "a", "b.jpg", "1.jpg"],
    ],
)
@pytest.mark.parametrize("splits", [None, ["train", "val", "test", "train"]])
def test_comma_file_is_read_back(tmp_path: Path, names: list[str], splits: list[str] | None) -> None:
    table = make_table(names, ["hat", "no", 'a "b", c'], splits)
    path = tmp_path / "labels.csv"
    path.write_text(format_comma_file(table, tmp_path))
    found = read_labels(path)
    assert (found.names, found.attributes, found.splits) == (names, table.attributes, splits)
    assert np.array_equal(found.labels, table.labels) and np.array_equal(found.mask, table.mask)


@pytest.mark.parametrize(
    ("names", "attributes", "message"),
    [
        (["a.jpg", "b.jpg"], ["1", "0"], "cannot be written as a label file|read back differently"),
        ([" a.jpg", "b.jpg"], ["hat", "scarf"], "read back differently, such as ' a.jpg'; rename them"),
        (["a.jpg", "b\nc.jpg"], ["hat", "scarf"], "cannot be written as a label file"),
        (["a.jpg", "b.jpg"], ["hat", "annotator"], "attributes would be read back differently"),
    ],
)
def test_names_that_would_be_read_differently(
    tmp_path: Path, names: list[str], attributes: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        format_comma_file(make_table(names, attributes), tmp_path)
