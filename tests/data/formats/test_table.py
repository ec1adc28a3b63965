import json
from pathlib import Path
from typing import Any

import pytest

from aimonk.data.formats.image_names import ImageNames
from aimonk.data.formats.tables.table import read_table
from aimonk.data.labels import LabelTable
from aimonk.data.repeated import combine

SAMPLES = Path(__file__).parent / "samples" / "table"
SETTINGS = {
    "image_column": None,
    "columns": None,
    "list_column": None,
    "list_separator": None,
    "class_names": None,
    "blank": None,
    "attributes": None,
    "tokens": {},
}


def read(path: Path, **settings: Any) -> LabelTable:
    return combine(read_table(path, ImageNames(None), **SETTINGS | settings), "error", path)


SAMPLE_TABLES = {
    "columns.csv": (
        {},
        ["Has_Hat", "шарф, синий", "gloves"],
        ["a.jpg 1 0 NA", 'b "q" 1.jpg 0 NA 1', "c,d.jpg NA 1 0", "собака.png 1 0 NA"],
    ),
    "columns.jsonl": (
        {},
        ["hat", "scarf", "gloves"],
        ["a.jpg 1 0 NA", "b.jpg 1 NA 0", "c.jpg 0 NA 1"],
    ),
    "columns.parquet": (
        {},
        ["hat", "scarf", "gloves"],
        ["a.jpg 1 1 1", "b.jpg NA 0 NA", "c.jpg 0 NA 0"],
    ),
    "lists.tsv": (
        {"list_column": "labels", "list_separator": "|", "blank": "absent"},
        ["hat", "scarf", "шапка"],
        ["x 1.jpg 1 1 0", "y.jpg NA NA NA", "z.jpg 1 0 1"],
    ),
    "lists.jsonl": (
        {"list_column": "labels", "blank": "unknown"},
        ["hat", "scarf", "шапка", 'say "hi"'],
        ["a.jpg 1 1 NA NA", "b.jpg NA NA NA NA", 'c "q".jpg NA NA NA NA', "собака.jpg NA NA 1 1"],
    ),
    "classes.parquet": (
        {"list_column": "labels", "blank": "absent"},
        ["hat", "scarf", "шапка"],
        ["a.jpg 1 0 1", "b.jpg 0 0 0", "c.jpg NA NA NA"],
    ),
}


@pytest.mark.parametrize("name", SAMPLE_TABLES)
def test_sample_to_the_entry(name: str, entries) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    settings, attributes, rows = SAMPLE_TABLES[name]
    table = read(SAMPLES / name, **settings)
    assert table.attributes == attributes
    assert entries(table) == rows


def test_splits_and_annotators() -> None:
    annotations = read_table(SAMPLES / "columns.csv", ImageNames(None), **SETTINGS)
    assert annotations.splits == ["train", "val", "test", "train"]
    assert annotations.annotators == ["ann", "ann", "", "Борис"]
    assert read(SAMPLES / "lists.jsonl", list_column="labels", blank="absent").splits[-1] == "val"


def test_columns_are_renamed_and_selected(tmp_path: Path, entries) -> None:
    path = tmp_path / "labels.csv"
    path.write_text('file,Has_Hat,caption,n\na.jpg,1,"x, y\nz",7\nb.jpg,0,,8\n')
    table = read(path, columns={"hat": "Has_Hat"})
    assert (table.attributes, entries(table)) == (["hat"], ["a.jpg 1", "b.jpg 0"])
    assert read(path, attributes=["Has_Hat"]).attributes == ["Has_Hat"]
    table = read(
        path, image_column="n", columns={"hat": "Has_Hat"}, tokens={"present": ["0"], "absent": ["1"]}
    )
    assert entries(table) == ["7 0", "8 1"]


def test_index_of_pandas_is_no_attribute(tmp_path: Path, entries) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(",name,hat\n0,a.jpg,1.0\n1,b.jpg,\n")
    assert entries(read(path)) == ["a.jpg 1", "b.jpg NA"]


def test_annotations_of_an_image_are_kept(tmp_path: Path, entries) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("image,annotator,hat\na.jpg,x,1\na.jpg,y,1\na.jpg,z,0\n")
    annotations = read_table(path, ImageNames(None), **SETTINGS)
    assert annotations.annotators == ["x", "y", "z"]
    assert entries(combine(annotations, "majority", path)) == ["a.jpg 1"]
    with pytest.raises(ValueError, match=r"labels.csv line 4: the labels of 'a.jpg' differ"):
        combine(annotations, "error", path)


LISTS = {"list_column": "l", "blank": "absent"}
WRONG = [
    ("t.csv", "", {}, "no rows; expected a header and a row for each image"),
    ("t.csv", "image,hat\n", {}, "t.csv: no rows; expected a row for each image"),
    ("t.csv", "image\na.jpg\n", {}, "t.csv: no column of labels; expected columns besides 'image'"),
    (
        "t.csv",
        "image,hat\na.jpg,1\nb.jpg\n",
        {},
        "t.csv line 3: the row has 1 field; expected 2 as above",
    ),
    ("t.csv", "image,hat,hat\na.jpg,1,1\n", {}, "t.csv: two columns are named 'hat'; expected unique names"),
    (
        "t.csv",
        'image,hat\na.jpg,1\n"b.jpg,1\n',
        {},
        "t.csv line 3: unexpected end of data; expected quotation",
    ),
    ("t.csv", 'image,hat\n"a"b.jpg,1\n', {}, "t.csv line 2: ',' expected after '\"'; expected quotation"),
    ("t.csv", "image,hat\na\0.jpg,1\n", {}, "t.csv line 2: the line has a null character; save the file as"),
    ("t.csv", b"image,hat\n\xff.jpg,1\n", {}, "t.csv line 2: not UTF-8 text; save the file as UTF-8"),
    ("t.csv", "image,hat\n../a.jpg,1\n", {}, "t.csv line 2: '../a.jpg' is outside the images folder"),
    ("t.csv", "image,hat\n,1\n", {}, "t.csv line 2: 'image' is ''; expected the name of an image"),
    (
        "t.csv",
        "image,hat\na.jpg,x\n",
        {},
        "t.csv line 2: 'hat' is 'x'; expected 1, 0 or NA; data.tokens.absent=[x]",
    ),
    (
        "t.csv",
        "image,hat\na.jpg,1\n",
        {"columns": {"h": "Hat"}},
        "data.columns has 'Hat', no column of t.csv; did",
    ),
    (
        "t.csv",
        "image,hat\na.jpg,1\n",
        {"columns": ["hat"]},
        "data.columns is ['hat']; expected a column for each",
    ),
    (
        "t.csv",
        "image,hat\na.jpg,1\n",
        {"attributes": ["hut"]},
        "data.attributes has 'hut', no column of t.csv; did",
    ),
    (
        "t.csv",
        "image,hat\na.jpg,1\n",
        {"image_column": "x"},
        "data.image_column has 'x', no column of t.csv; exp",
    ),
    ("t.csv", "image,l\na.jpg,[]\n", {"list_column": "l"}, "data.blank is null; expected absent or unknown"),
    ("t.csv", "image,l\na.jpg,a|b\n", LISTS, "t.csv line 2: 'l' is 'a|b'; expected a JSON list such as"),
    (
        "t.csv",
        "image,l\na.jpg,[3]\n",
        LISTS,
        "t.csv line 2: 'l' lists the integer 3; expected names; data.class",
    ),
    (
        "t.csv",
        "image,l\na.jpg,[3]\n",
        LISTS | {"class_names": ["x"]},
        "t.csv line 2: 'l' lists 3; expected 0 to 0",
    ),
    ("t.csv", "image,l\na.jpg,[null]\n", LISTS, "t.csv line 2: 'l' lists None; expected names of attributes"),
    ("t.csv", "image,l\na.jpg,[]\n", LISTS, "t.csv: column 'l' lists no attribute"),
    (
        "t.csv",
        "image,split,h\na.jpg,train,1\nb.jpg,x,1\n",
        {},
        "t.csv line 3: 'split' is 'x'; expected train, val",
    ),
    (
        "t.jsonl",
        '{"image": "a.jpg", "hat": 1}\n{"image"\n',
        {},
        "t.jsonl line 2: not JSON (Expecting ':' delimiter)",
    ),
    (
        "t.jsonl",
        '{"image": "a.jpg", "l": ["x"]}',
        {},
        "t.jsonl line 1: 'l' is a list; expected 1, 0 or NA; data.list_column=l",
    ),
    ("t.jsonl", "[1]\n", {}, "t.jsonl line 1: the line is '[1]'; expected a JSON object"),
    (
        "t.jsonl",
        '{"image": "a.jpg", "h": 1, "h": 0}\n',
        {},
        "t.jsonl line 1: not JSON (an object has the key 'h' twice",
    ),
    ("t.jsonl", "[" * 100_000, {}, "t.jsonl line 1: not JSON (the values are nested too deeply)"),
    (
        "t.jsonl",
        '{"image": ["a.jpg"], "hat": 1}\n',
        {},
        "t.jsonl line 1: 'image' is ['a.jpg']; expected the name",
    ),
    (
        "t.jsonl",
        '{"image": "a.jpg", "hat": {"x": 1}}\n',
        {},
        "t.jsonl line 1: 'hat' is \"{'x': 1}\"; expected 1, 0",
    ),
    (
        "t.jsonl",
        '{"image": "a.jpg", "l": {"x": 1}}\n',
        LISTS,
        "t.jsonl line 1: 'l' is {'x': 1}; expected a list",
    ),
    ("t.parquet", "no parquet", {}, "t.parquet: not readable as Parquet (Parquet magic bytes not found"),
    (
        "t.xlsx",
        "x",
        {},
        "t.xlsx is no table; expected a file that ends in .csv, .tsv, .txt, .jsonl, .parquet",
    ),
]


@pytest.mark.parametrize(("name", "content", "settings", "message"), WRONG)
def test_wrong_files(name: str, content: str | bytes, settings: dict, message: str, tmp_path: Path) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError) as caught:
        read(path, **settings)
    assert (
        f"{caught.value}".replace(f"{tmp_path}/", "")
        .removeprefix("t.csv: " * message.startswith("no rows"))
        .startswith(message)
    )
    assert "\n" not in f"{caught.value}"


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "x.csv", tmp_path / "x.jsonl"):
        with pytest.raises(FileNotFoundError, match=r"no label file at .*x\.(csv|jsonl)$"):
            read(path)
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(FileNotFoundError, match=r"d\.csv; it is a folder$"):
        read(tmp_path / "d.csv")


def test_many_wrong_rows_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(json.dumps({"image": f"../{i}.jpg", "hat": 1}) for i in range(30)))
    with pytest.raises(ValueError) as caught:
        read(path)
    lines = f"{caught.value}".split("\n")
    assert (len(lines), lines[-1]) == (11, "and 20 more")
