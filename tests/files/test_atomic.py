import json
import math
import os
import stat
import sys
import threading
from pathlib import Path

import pytest

from aimonk.files.atomic import replacing, staged, write_json, write_text

posix = pytest.mark.skipif(sys.platform == "win32", reason="requires POSIX permissions, links and pipes")


def test_file_appears_only_when_complete(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("before")
    with replacing(path) as file:
        file.write(b"after")
        assert path.read_text() == "before"
    assert path.read_text() == "after" and os.listdir(tmp_path) == ["x.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("existed", [True, False])
def test_exception_keeps_the_old_file_only(tmp_path, error, existed):
    path = tmp_path / "x.txt"
    if existed:
        path.write_text("before")
    with pytest.raises(error), replacing(path) as file:
        file.write(b"aft")
        raise error
    assert [p.read_text() for p in tmp_path.iterdir()] == ["before"] * existed


@posix
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_text(tmp_path / "x.txt", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.txt").stat().st_mode) == 0o666 & ~mask


@posix
def test_umask_is_not_changed(tmp_path, monkeypatch):
    # the umask is shared by all threads
    monkeypatch.setattr(os, "umask", None)
    write_text(tmp_path / "x.txt", "text")


@posix
def test_links_are_followed_and_pipes_written_to(tmp_path):
    target, link, pipe = tmp_path / "folder" / "target", tmp_path / "link", tmp_path / "pipe"
    target.parent.mkdir()
    target.write_text("before")
    link.symlink_to(target)
    write_text(link, "after")
    assert link.is_symlink() and target.read_text() == "after"
    os.mkfifo(pipe)
    received = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()), daemon=True)
    reader.start()
    write_text(pipe, "through")
    reader.join(10)
    assert received == ["through"] and pipe.is_fifo()


def test_longest_file_name_can_be_written(tmp_path):
    path = tmp_path / ("x" * 255)
    write_text(path, "text")
    assert path.read_text() == "text"


def test_write_error_names_the_file(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_text(tmp_path / "absent" / "x.txt", "text")
    assert str(caught.value).endswith(f"'{tmp_path / 'absent' / 'x.txt'}'")


def test_text_and_json_round_trip(tmp_path):
    write_text(tmp_path / "x.txt", "é\n")
    assert (tmp_path / "x.txt").read_bytes() == "é\n".encode()
    value = {"a": [1, 0.5, None], "robe d'été": "<é>"}
    write_json(tmp_path / "x.json", value)
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert json.loads(text) == value and "é" in text and text.endswith("}\n")
    with pytest.raises(ValueError):
        write_json(tmp_path / "x.json", {"a": math.nan})
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == value


def test_names_that_are_not_utf8_are_escaped(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg") if sys.platform != "win32" else "caf\udce9.jpg"
    write_text(tmp_path / "x.csv", name)
    assert (tmp_path / "x.csv").read_text() == r"caf\udce9.jpg"
    write_json(tmp_path / "x.json", [name])
    assert json.loads((tmp_path / "x.json").read_text()) == [name]


def test_replaced_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o604)
    write_text(path, "new")
    assert path.read_text() == "new" and path.stat().st_mode & 0o777 == 0o604


def test_staged_file_appears_only_if_the_block_ends_well(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    with staged(target) as temporary:
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".onnx")
        temporary.write_bytes(b"first")
        assert not target.exists()
    with pytest.raises(ValueError, match="differs"), staged(target) as temporary:
        temporary.write_bytes(b"second")
        raise ValueError("differs")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert target.read_bytes() == b"first"
