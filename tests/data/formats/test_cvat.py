import tracemalloc
from pathlib import Path

import pytest

from aimonk.data.annotations import Annotations
from aimonk.data.formats.cvat.reading import read_cvat
from aimonk.data.formats.image_names import ImageNames
from aimonk.data.repeated import combine

SAMPLES = Path(__file__).parent / "samples" / "cvat"


def read(path: Path, blank: str | None = "absent", tokens: dict | None = None) -> Annotations:
    return read_cvat(path, ImageNames(None), blank, tokens or {})


@pytest.mark.parametrize(("blank", "b"), [("absent", "0"), ("unknown", "NA")])
def test_labels_and_their_attributes(blank: str, b: str, entries, caplog: pytest.LogCaptureFixture) -> None:
    table = combine(read(SAMPLES / "tags.xml", blank), "error", SAMPLES)
    assert table.attributes == [
        "outdoor",
        "person",
        "person.hat",
        "person.шарф",
        'person.coat=long "L"',
        "person.coat=short",
        "never used",
    ]
    assert entries(table) == [
        f"a.jpg 1 1 1 1 NA 1 {b}",  # one of two persons has a hat; the coat of the other may be long
        f'день 1/b "q".png {b} 1 0 NA 1 0 {b}',
        f"c.jpg {b} {b} NA NA NA NA {b}",
    ]
    assert caplog.text.endswith("texts and numbers are no labels, ignored: person.note\n")


def test_subsets_are_splits_and_nothing_is_blank(entries) -> None:
    found = read(SAMPLES / "project.xml", None)
    assert (found.attributes, found.splits) == (["photo", "photo.hat"], ["train", "val"])
    assert entries(combine(found, "error", SAMPLES)) == ["a.jpg 1 1", "b.jpg 1 0"]


def test_labels_that_images_lack_need_data_blank() -> None:
    with pytest.raises(
        ValueError, match=r"^data.blank is null; .* such as 'never used' of image 0: absent if all"
    ):
        read(SAMPLES / "tags.xml", None)


def export(images: str, meta: str = "") -> str:
    return f"<annotations><version>1.1</version><meta>{meta}</meta>{images}</annotations>"


def tag(values: dict[str, str], label: str = "p") -> str:
    attributes = "".join(f'<attribute name="{k}">{v}</attribute>' for k, v in values.items())
    return f'<tag label="{label}">{attributes}</tag>'


def test_values_are_inferred_without_meta(tmp_path: Path, entries) -> None:
    path = tmp_path / "x.xml"
    images = [{"hat": "true", "age": "old"}, {"hat": "false", "age": "young"}, {"hat": "", "age": "unsure"}]
    path.write_text(export("".join(f'<image name="{i}.jpg">{tag(v)}</image>' for i, v in enumerate(images))))
    table = combine(read(path, None, {"unknown": ["unsure"]}), "error", path)
    assert table.attributes == ["p", "p.hat", "p.age=old", "p.age=young"]
    assert entries(table) == ["0.jpg 1 1 1 0", "1.jpg 1 0 0 1", "2.jpg 1 NA NA NA"]


def test_images_of_two_tasks_complete_each_other(tmp_path: Path, entries) -> None:
    path = tmp_path / "x.xml"
    first, second = tag({"hat": "true"}), tag({"coat": "false"}, "q")
    path.write_text(export(f'<image name="a.jpg">{first}</image><image name="a.jpg">{second}</image>'))
    assert entries(combine(read(path), "merge", path)) == ["a.jpg NA 1 NA 0"]


META = (
    "<task><labels><label><name>p</name><attributes><attribute><name>hat</name>"
    "<input_type>checkbox</input_type><values>false</values></attribute></attributes></label></labels></task>"
)
SELECT = META.replace("checkbox</input_type><values>false", "select</input_type><values>blue\ngreen")
LAUGHS = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><annotations>&b;</annotations>'
CASES: list[tuple[str | bytes, str]] = [
    (
        export(f'<image name="a.jpg">{tag({"hat": "red"})}</image>', SELECT),
        "x.xml image 1: 'p.hat' is 'red'; expected blue, green or __undefined__, as in <meta>",
    ),
    ("", "x.xml line 1: not XML (no element found); the file is incomplete or damaged; export it again"),
    ("<annotations><image>", "x.xml line 1: not XML (no element found); the file is incomplete"),
    ("<a/>", "x.xml: the root is 'a'; expected an export as 'CVAT for images 1.1'"),
    (LAUGHS, "x.xml: the file defines entities; expected a label file without them"),
    (
        export("").replace("1.1", "1.0"),
        "x.xml: the version is '1.0'; expected an export as 'CVAT for images 1.1'",
    ),
    (
        export("<track/>"),
        "x.xml: the file has tracks of a video; expected an export as 'CVAT for images 1.1'",
    ),
    (export(""), "x.xml: no images in the file; expected an export as 'CVAT for images 1.1'"),
    (export('<image name="a.jpg"/>'), "x.xml: no labels in the file; expected labels in <meta>"),
    (export('<image id="4"/>'), "x.xml image 4: the image has no name; expected a path in the images folder"),
    (
        export('<image name="../a.jpg"><tag label="x"/></image>'),
        "x.xml image 1: '../a.jpg' is outside the images",
    ),
    (
        export('<image name="a.jpg"><tag/></image>'),
        "x.xml image 1: a tag has no label; expected one of those",
    ),
    (
        export('<image name="a.jpg"><b label="x"/></image>'),
        "x.xml image 1: an element is 'b'; expected one of tag",
    ),
    (export("", "<labels><label/></labels>"), "x.xml <meta>: a label has no name; expected an export as"),
    (
        export(f'<image name="a.jpg">{tag({"hat": "maybe"})}</image>', META),
        "x.xml image 1: 'p.hat' is 'maybe'; expected true, false or __undefined__, or words that data.tokens",
    ),
    (
        export(
            '<image name="a.jpg">' + tag({"h": "1"}).replace("</tag>", '<attribute name="h"/></tag></image>')
        ),
        "x.xml image 1: a tag of 'p' has an attribute 'h' twice",
    ),
    (
        export("".join(f'<image name="{i}.jpg">{tag({"note": f"text {i}"})}</image>' for i in range(101))),
        "x.xml: attribute 'note' of 'p' has 101 values and is not in <meta>; expected a select of at",
    ),
    (
        '<?xml version="1.0" encoding="x-no"?><annotations/>',
        "x.xml: not XML (unknown encoding: x-no); save the file as UTF-8",
    ),
    (
        export('<image name="a.jpg"/>').encode("utf-16"),
        "x.xml: no labels in the file; expected labels in <meta>",
    ),
    (b"<annotations>\xff</annotations>", "x.xml line 1: not XML (not well-formed (invalid token))"),
]


@pytest.mark.parametrize(("content", "message"), CASES)
def test_wrong_files(content: str | bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.xml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError) as caught:
        read(path)
    text = f"{caught.value}".replace(f"{tmp_path}/", "")
    assert text.startswith(message) and "\n" not in text


def test_memory_is_that_of_the_labels(tmp_path: Path) -> None:
    path = tmp_path / "x.xml"
    points = ";".join(f"{i}.00,{i}.00" for i in range(2000))
    shape = f'<polygon label="p" points="{points}"><attribute name="hat">true</attribute></polygon>'
    path.write_text(export("".join(f'<image name="{i}.jpg">{shape}</image>' for i in range(300)), META))
    tracemalloc.start()
    read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < path.stat().st_size / 4


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^no label file at .*/none.xml$"):
        read(tmp_path / "none.xml")
    with pytest.raises(FileNotFoundError, match=r"; it is a folder$"):
        read(tmp_path)
