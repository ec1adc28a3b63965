from pathlib import Path

import pytest

from aimonk.files.xml_file import read_xml


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "entities"),
        (b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', "entities"),
        (
            b'<?xml version="1.0" encoding="x"?><a/>',
            r"not XML \(unknown encoding: x\); save the file as UTF-8$",
        ),
        (b"<a>\n<b></a>", r"line 2: not XML \(mismatched tag\); the file is incomplete or damaged"),
        (b"<a>\0</a>", r"line 1: not XML"),
        (b"", r"line 1: not XML \(no element found\)"),
        (b"<a>" + b" " * 2000 + b"</a>", r"has 0 MB; expected at most 0.001 MB$"),
    ],
)
def test_wrong_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_xml(path, "annotation", 0.001)


def test_deep_and_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(b"<a>" * 50_000 + b"</a>" * 50_000)
    assert read_xml(path, "annotation", 1).tag == "a"
    path.write_bytes('<?xml version="1.0" encoding="windows-1251"?><a>Ж</a>'.encode("cp1251"))
    assert read_xml(path, "annotation", 1).text == "Ж"
