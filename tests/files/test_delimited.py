import gzip
from pathlib import Path

import pytest

from aimonk.files.delimited import read_lines, read_text, split_commas, split_semicolons


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_lines_keep_their_numbers(tmp_path: Path, end: str, mark: str) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes((mark + end.join(["é 1", "", " # comment", "\tb 0"])).encode())
    assert read_lines(path, "label file") == [(1, "é 1"), (4, "\tb 0")]
    assert read_text(path, "label file").split("\n")[2] == " # comment"


def test_missing_files_and_other_encodings(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"^no split file at {tmp_path}; it is a folder$"):
        read_text(tmp_path, "split file")
    (tmp_path / "x.txt").write_bytes(b"a\nb\xff")
    with pytest.raises(ValueError, match=r"x\.txt line 2: not UTF-8 text; save the file as UTF-8$"):
        read_text(tmp_path / "x.txt", "split file")


@pytest.mark.parametrize("content", [gzip.compress(b"a 1"), b"PK\x03\x04\x14\x00 of an .xlsx"])
def test_compressed_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.csv: a compressed file or a spreadsheet; .* unpack it"):
        read_text(tmp_path / "x.csv", "label file")


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ('"a, b.jpg", 1 ,0', ["a, b.jpg", "1", "0"]),
        ('5" heel.jpg,1,', ['5" heel.jpg', "1", ""]),
        ('"open,1', ['"open', "1"]),
    ],
)
def test_commas_and_semicolons_with_and_without_quotes(line: str, fields: list[str]) -> None:
    assert split_commas(line) == fields
    swapped = str.maketrans(",;", ";,")
    assert split_semicolons(line.translate(swapped)) == [field.translate(swapped) for field in fields]
