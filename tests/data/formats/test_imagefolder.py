from pathlib import Path
from typing import Any

import pytest

from aimonk.data.annotations import Annotations
from aimonk.data.formats.image_names import ImageNames
from aimonk.data.formats.tables.imagefolder import read_imagefolder
from aimonk.data.repeated import combine

SAMPLE = Path(__file__).parent / "samples" / "imagefolder"
SETTINGS = dict.fromkeys(
    ["columns", "list_column", "list_separator", "class_names", "blank", "attributes"]
) | {"tokens": {}}


def read(path: Path, **settings: Any) -> Annotations:
    return read_imagefolder(path, ImageNames(None), **SETTINGS | settings)


def test_sample_to_the_entry(entries) -> None:
    table = combine(read(SAMPLE), "error", SAMPLE)
    assert table.attributes == ["hat", "gloves", "scarf"]
    assert entries(table) == [
        "test/deep/шапка.png 0 1 NA",
        "test/deep/0001.jpg NA NA NA",
        "train/0001.jpg 1 NA 0",
        "train/sub dir/0002.jpg NA NA 1",
    ]


def test_errors_name_file_and_line(tmp_path: Path) -> None:
    for name, value in (("a", "1"), ("b", "x")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metadata.csv").write_text(f"file_name,hat\n1.jpg,0\n2.jpg,{value}\n")
    with pytest.raises(ValueError, match=r"file b/metadata.csv line 3: 'hat' is 'x'; expected 1, 0 or NA"):
        read(tmp_path)


def test_single_file_and_lists(tmp_path: Path, entries) -> None:
    path = tmp_path / "metadata.jsonl"
    path.write_text('{"file_name": "a.jpg", "l": [1, 0]}\n{"file_name": "b.jpg", "l": [1]}\n')
    for source in (tmp_path, path):
        found = read(source, list_column="l", class_names=["hat", "scarf"], blank="absent")
        assert entries(combine(found, "error", path)) == ["a.jpg 1 1", "b.jpg 0 1"]


def test_single_file_of_a_subfolder() -> None:
    found = read_imagefolder(SAMPLE / "train" / "metadata.csv", ImageNames(SAMPLE), **SETTINGS)
    assert found.names == ["train/0001.jpg", "train/sub dir/0002.jpg"]


def test_wrong_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no images folder at .*/none$"):
        read(tmp_path / "none")
    with pytest.raises(ValueError, match=r"no metadata.csv, metadata.jsonl, metadata.parquet; expected one"):
        read(tmp_path)
    (tmp_path / "metadata.csv").write_text("image,hat\na.jpg,1\n")
    with pytest.raises(ValueError, match=r"metadata.csv: no column 'file_name'; expected one, with paths"):
        read(tmp_path)
    (tmp_path / "metadata.jsonl").write_text("{}")
    with pytest.raises(ValueError, match=r"has metadata.csv, metadata.jsonl; expected one of them$"):
        read(tmp_path)
