import logging
from pathlib import Path

import pytest

from aimonk.data.formats.image_names import ImageNames
from aimonk.data.formats.voc.reading import read_voc
from aimonk.data.repeated import combine

SAMPLE = Path(__file__).parent / "samples" / "voc"
MAIN, XML = SAMPLE / "ImageSets" / "Main", SAMPLE / "Annotations"


def read(path: Path, blank: str | None = None, images: Path | None = None):
    return combine(read_voc(path, ImageNames(images), blank), "error", path)


@pytest.mark.parametrize("folder", [SAMPLE, MAIN.parent, MAIN])
def test_class_files(entries, folder: Path) -> None:
    table = read(folder)
    assert table.attributes == ["car", "chair", "potted plant"]
    assert dict(zip(entries(table), table.splits, strict=True)) == {
        "000001 0 0 NA": "test",  # no row for potted plant
        "000002 0 1 NA": "test",
        "000005 0 1 0": "train",
        "000007 1 0 0": "train",
        "000009 0 NA 1": "train",  # 0: difficult objects only
        "000012 1 0 NA": "val",
        "000016 0 NA 0": "val",
        "000020 NA NA 1": "train",  # of trainval only
    }


def test_one_class_file_assigns_no_splits(entries) -> None:
    table = read(MAIN / "chair_trainval.txt")
    assert table.splits is None and table.attributes == ["chair"]
    assert entries(table) == ["000005 1", "000007 0", "000009 NA", "000012 0", "000016 NA"]


@pytest.mark.parametrize(("blank", "other"), [("absent", "0"), ("unknown", "NA")])
def test_annotations(entries, caplog: pytest.LogCaptureFixture, blank: str, other: str) -> None:
    table = read(XML, blank)
    # the part of an object and its owner are no objects
    assert table.attributes == ["car", "chair", "person", "стул & стол"] and table.splits is None
    assert entries(table) == [
        f"000005.jpg {other} 1 {other} {other}",
        f"000007.jpg 1 {other} NA {other}",
        f"empty {other} {other} {other} {other}",
        f"снимок.png {other} NA {other} 1",
    ]
    assert not caplog.records


def test_the_image_has_the_name_of_the_annotation(
    entries, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "Annotations" / "sub"
    folder.mkdir(parents=True)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.png").touch()
    (folder / "a.xml").write_text(
        "<annotation><filename>old.jpg</filename><object><name>x</name></object></annotation>"
    )
    assert entries(read(tmp_path, "absent", tmp_path)) == ["sub/a.png 1"]
    assert "1 XML file with another filename inside: sub/a.xml (old.jpg)" in caplog.text
    # the same file alone
    assert entries(read(folder / "a.xml", "absent")) == ["a 1"]


def test_lists_beside_annotations_are_no_splits(
    entries, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("a\n")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "a.xml").write_text(
        "<annotation><object><name>x</name></object></annotation>"
    )
    assert entries(read(tmp_path, "absent")) == ["a 1"]
    assert "Main: val.txt not used; data.splits=FILE assigns images to splits" in caplog.text


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a_train.txt": "1 1\n2 2\n"}, r"a_train.txt line 2: the row is '2 2'; expected an image and 1, -1"),
        ({"a_train.txt": "1\n"}, r"a_train.txt line 1: the row is '1'; expected an image and"),
        ({"a_train.txt": "1 1\n", "a_trainval.txt": "\n1 0\n"}, r"trainval.txt line 2: 'a' of '1' is 0; exp"),
        ({"a_train.txt": "1 1\n", "b_val.txt": "1 1\n"}, r"b_val.txt line 1: '1' is in val; expected train"),
        ({"a_train.txt": "1 1\n1 -1\n"}, r"line 2: 'a' of '1' is -1; expected 1, as before$"),
        ({"a_train.txt": "\n"}, r"no rows in the class files"),
        ({"a_train.txt": b"\xff\xfe1"}, r"a_train.txt line 1: not UTF-8 text"),
        ({"a_train.txt": "../x 1\n"}, r"a_train.txt line 1: '../x' is outside the images folder"),
        ({"x.csv": "1"}, r"no labels of VOC in .*; expected ImageSets/Main with CLASS_SPLIT.txt files, or A"),
        ({"a.xml": "<annotation>"}, r"a.xml line 1: not XML \(no element found\); the file is incomplete"),
        ({"a.xml": "<annotations/>"}, r"a.xml: the root element is 'annotations'; expected 'annotation'$"),
        ({"a.xml": "<annotation/>"}, r"no object in 1 XML file$"),
        ({"a.xml": "<annotation><object/></annotation>"}, r"a.xml: object 1 has no name"),
        (
            {"a.xml": "<annotation><object><name>a</name><difficult>2</difficult></object></annotation>"},
            r"a.xml: difficult of object 1 is '2'; expected 0 or 1$",
        ),
        (
            {"a.xml": "<annotation><object><name>a</name><name>b</name></object></annotation>"},
            r"object 1 has a name that is repeated",
        ),
        (
            {"a.xml": '<!DOCTYPE a [<!ENTITY b "c">]><annotation><folder>&b;</folder></annotation>'},
            r"a.xml: the file defines entities, which are refused; remove its DOCTYPE$",
        ),
    ],
)
def test_wrong_files(tmp_path: Path, files: dict[str, str | bytes], message: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        read(tmp_path, "absent")
    assert "\n" not in f"{caught.value}"


def test_files_without_a_meaning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match=r"data.blank is null; .* absent if all images were .*, unknown if"):
        read(XML)
    with pytest.raises(ValueError, match=r"x.txt; expected CLASS_SPLIT.txt, such as dog_train.txt$"):
        (tmp_path / "x.txt").write_text("1 1\n")
        read(tmp_path / "x.txt")
    (tmp_path / "a_val.txt").write_text("1 1\n")
    caplog.set_level(logging.WARNING)
    assert read(tmp_path).names == ["1"]
    assert "files that are not named CLASS_SPLIT.txt are ignored: x.txt" in caplog.text
