from pathlib import Path

import pytest

from aimonk.data.annotations import Annotations
from aimonk.data.formats.image_names import ImageNames
from aimonk.data.formats.openimages.reading import read_openimages
from aimonk.data.repeated import combine

SAMPLES = Path(__file__).parent / "samples" / "openimages"
HEADER = "ImageID,Source,LabelName,Confidence\n"


def annotations(
    path: Path,
    classes: str | None = None,
    machine: str | float = "unknown",
    attributes: list[str] | None = None,
) -> Annotations:
    classes = None if classes is None else f"{SAMPLES / classes}"
    return read_openimages(path, ImageNames(None), classes, machine, attributes)


def read(path: Path, *args, repeated: str = "error", **kwargs):
    return combine(annotations(path, *args, **kwargs), repeated, path)


def test_verified_labels(entries) -> None:
    table = read(SAMPLES / "labels.csv")
    assert table.attributes == ["/m/04hgtk", "/m/07j7r", "/m/01bqvp", "/m/015p6", "/m/025_v"]
    assert entries(table) == [
        "000026e7ee790996 0 1 1 NA NA",
        "000062a39995e348 0 NA NA 1 NA",
        "0000c64e1253d68f NA NA NA NA NA",
    ]


@pytest.mark.parametrize(
    ("machine", "second", "third"),
    [
        (0.5, "0 1 1 1 NA", "NA NA 1 NA 1"),
        (0.7, "0 1 NA 1 NA", "NA NA 1 NA NA"),
        (1, "0 NA NA 1 NA", "NA NA 1 NA NA"),
    ],
)
def test_labels_of_a_machine(entries, machine: float, second: str, third: str) -> None:
    # no threshold changes what people have verified
    rows = [row.partition(" ")[2] for row in entries(read(SAMPLES / "labels.csv", machine=machine))]
    assert rows == ["0 1 1 NA NA", second, third]


def test_without_sources_all_is_of_a_machine(entries, caplog: pytest.LogCaptureFixture) -> None:
    assert entries(read(SAMPLES / "machine.csv")) == ["a NA NA", "b NA NA"]
    assert "has no column Source: all labels count as made by a machine; a column Source of" in caplog.text
    assert entries(read(SAMPLES / "machine.csv", machine=0.9)) == ["a 1 NA", "b NA 1"]


def test_names_of_classes(caplog: pytest.LogCaptureFixture) -> None:
    table = read(SAMPLES / "labels.csv", "class-descriptions.csv")
    # two classes have the same name
    assert table.attributes == ["Head", "Tree", "Sky, night", "Bird (/m/015p6)", "Bird (/m/025_v)"]
    assert not caplog.records
    table = read(SAMPLES / "labels.csv", "oidv7-class-descriptions.csv")
    assert table.attributes == ["Head", "Дерево", "/m/01bqvp", "Bird", "/m/025_v"]
    assert "no name of 2 labels: /m/01bqvp, /m/025_v" in caplog.text


def test_selected_attributes(entries) -> None:
    table = read(SAMPLES / "labels.csv", "class-descriptions.csv", attributes=["Tree", "Head"])
    assert table.attributes == ["Tree", "Head"]
    assert [row.partition(" ")[2] for row in entries(table)] == ["1 0", "NA 0", "NA NA"]
    with pytest.raises(ValueError, match=r"data.attributes has 'tree', no column of .*; did you mean 'Tree'"):
        read(SAMPLES / "labels.csv", "class-descriptions.csv", attributes=["tree"])


def test_sources_are_annotators(entries) -> None:
    path = SAMPLES / "contradicting.csv"
    found = annotations(path)
    assert found.annotators == ["verification", "crowdsource-verification"] * 2 + ["verification"]
    assert found.places.tolist() == [2, 3, 4, 5, 6]
    with pytest.raises(
        ValueError, match=r"line 3: '/m/015p6' of 'a' differs from another annotation, line 2; data.repeated"
    ):
        read(path)
    assert entries(read(path, repeated="merge")) == ["a NA", "b 1", "c 0"]
    assert read(path, repeated="soft").shares.tolist() == [[0.5], [1], [0]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"line 1: the header is ''; expected ImageID,Source,LabelName,Confidence"),
        ("a,verification,/m/1,1\n", r"line 1: the header is 'a,verification,/m/1,1'; expected ImageID"),
        ("ImageID,Source,LabelName,Confidence,XMin,Source\n", r"line 1: the header is"),
        (HEADER.replace("\n", ",XMin,XMax\na,xclick,/m/1,1,0,1\n"), r"line 1: the header is .*XMin"),
        (HEADER, r"no rows below the header"),
        (HEADER + "a,verification,/m/1\n", r"line 2: the row has 3 fields; expected 4$"),
        (
            HEADER + "a,verification,/m/1,0.7\n",
            r"line 2: Confidence is '0.7'; expected 1 or 0, as of Source ver",
        ),
        (HEADER + "a,machine,/m/1,1.1\n", r"line 2: Confidence is '1.1'; expected 0 to 1$"),
        (HEADER + "a,machine,/m/1,nan\n", r"line 2: Confidence is 'nan'; expected 0 to 1$"),
        (
            HEADER + "a,human verified,/m/1,1\n",
            r"line 2: Source is 'human verified'; expected verification, cr",
        ),
        (HEADER + "a,verification,,1\n", r"line 2: LabelName is empty"),
        (HEADER + ",verification,/m/1,1\n", r"line 2: the image name is ''"),
        (
            HEADER + '"a,verification,/m/1,1\nb,verification,/m/1,1\n',
            r"line 2: a quotation mark is not closed",
        ),
        (
            HEADER + "a,verification,/m/1,1\na,verification,/m/1,0\n",
            r"line 3: '/m/1' of 'a' differs from line 2 of the same Source; remove one of the rows$",
        ),
    ],
)
def test_wrong_files(write, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read(write(content))
    assert "\n" not in f"{caught.value}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("/m/1\n", r"line 1: the row is '/m/1'; expected a label and its name$"),
        ("/m/1,\n", r"line 1: the row is '/m/1,'; expected a label and its name$"),
        ("/m/1,Cat\n/m/1,Dog\n", r"line 2: '/m/1' is 'Dog'; expected one name$"),
    ],
)
def test_wrong_files_of_classes(write, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        annotations(SAMPLES / "labels.csv", f"{write(content)}")


@pytest.mark.parametrize("machine", ["threshold", -0.1, 1.5])
def test_wrong_threshold(machine: str | float) -> None:
    with pytest.raises(
        ValueError, match=r"^data.machine is .*; expected unknown, or a confidence from 0 to 1$"
    ):
        read(SAMPLES / "labels.csv", machine=machine)


def test_too_many_labels_for_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aimonk.data.formats.openimages.reading.MOST_ENTRIES", 10)
    with pytest.raises(ValueError, match=r"6 annotations of 5 labels, too many for a table; data.attributes"):
        read(SAMPLES / "labels.csv")
    assert len(read(SAMPLES / "labels.csv", attributes=["/m/07j7r"])) == 3
