"""Delimited text files: decoding, numbered lines, and fields separated by commas, semicolons or tabs."""

import contextlib
import csv
from collections.abc import Iterator
from pathlib import Path

COMPRESSED = (b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ\x00")  # gzip; zip, also of .xlsx; bzip2; xz
UNCLOSED = "a quotation mark is not closed on its line"


def read_text(path: Path, kind: str) -> str:
    r"""Read a UTF-8 file, with or without a byte order mark; line ends of any platform become `\n`.

    Args:
        kind: What the file is, for the error message, such as `label file`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not UTF-8.
    """
    return decode(path, read_bytes(path, kind)).replace("\r\n", "\n").replace("\r", "\n")


def read_bytes(path: Path, kind: str) -> bytes:
    """The content of a file.

    Raises:
        FileNotFoundError: There is no such file.
    """
    if not path.is_file():
        hint = "; it is a folder" if path.is_dir() else ""
        raise FileNotFoundError(f"no {kind} at {path.absolute()}{hint}")
    return path.read_bytes()


def decode(path: Path, content: bytes) -> str:
    """UTF-8 text, with or without a byte order mark.

    Raises:
        ValueError: The content is not UTF-8.
    """
    if content.startswith(COMPRESSED):
        raise ValueError(
            f"{path}: a compressed file or a spreadsheet; expected text: unpack it, or save it as CSV"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(f"{path} line {line}: not UTF-8 text; save the file as UTF-8") from None


def read_lines(path: Path, kind: str) -> list[tuple[int, str]]:
    """Line number and text of every line that is neither blank nor a comment (`#`); errors as `read_text`."""
    lines = enumerate(read_text(path, kind).split("\n"), start=1)
    return [(i, s) for i, s in lines if (t := s.strip()) and not t.startswith("#")]


def read_csv(path: Path, kind: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of every row with commas, quoted as in RFC 4180 but within one line.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not UTF-8, or a quotation mark is not closed on its line.
    """
    reader = csv.reader(read_text(path, kind).split("\n"), strict=True)
    before = 0
    try:
        for fields in reader:
            # a stray quotation mark would make a single field of all lines up to the next one
            if reader.line_num != before + 1:
                raise csv.Error(UNCLOSED)
            before = reader.line_num
            if fields:
                yield before, fields
    except csv.Error as error:
        cause = UNCLOSED if "end of data" in f"{error}" else f"{error}"
        raise ValueError(f"{path} line {before + 1}: {cause}; expected fields between commas") from None


def split_commas(line: str) -> list[str]:
    """Fields between commas, with CSV quoting where the line is valid CSV."""
    return _split_quoted(line, ",")


def split_semicolons(line: str) -> list[str]:
    """Fields between semicolons, quoted as by `split_commas`."""
    return _split_quoted(line, ";")


def _split_quoted(line: str, mark: str) -> list[str]:
    fields = line.split(mark)
    if '"' in line:
        with contextlib.suppress(csv.Error):
            fields = next(csv.reader([line], delimiter=mark, strict=True, skipinitialspace=True))
    return [field.strip() for field in fields]


def split_tabs(line: str) -> list[str]:
    return [field.strip() for field in line.split("\t")]
