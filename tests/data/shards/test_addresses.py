import os
from pathlib import Path

import pytest

from aimonk.data.shards.addresses import expand_braces, find_shards, is_shard, open_address


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with shards, and other files."""
    for name in ("b/data-2.tar", "b/data-10.tar", "b/data-1.tar", "b/notes.txt", "c.PARQUET", "[x].tar"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("b/*.tar", ["b/data-1.tar", "b/data-10.tar", "b/data-2.tar"]),
        ("b/data-{1..2}.tar", ["b/data-1.tar", "b/data-2.tar"]),
        ("{b/data-10.tar,c.PARQUET}", ["b/data-10.tar", "c.PARQUET"]),
        ("b", ["b/data-1.tar", "b/data-10.tar", "b/data-2.tar"]),
        ("**/*", ["[x].tar", "b/data-1.tar", "b/data-10.tar", "b/data-2.tar", "c.PARQUET"]),
        ("[x].tar", ["[x].tar"]),
    ],
)
def test_pattern_gives_sorted_shards(pattern: str, expected: list[str], folder: Path) -> None:
    assert find_shards(pattern) == expected


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("no/*.tar", r"^no shards at .*/no/\*\.tar; expected files \.tar or \.parquet$"),
        ("b/*.txt", "^no shards at "),
        ("b/data-{1..3}.tar", r"^1 of 3 shards missing: b/data-3\.tar$"),
        ("gone.tar", r"^1 of 1 shard missing: gone\.tar$"),
    ],
)
def test_missing_shards_raise(pattern: str, message: str, folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=message):
        find_shards(pattern)


def test_braces_keep_their_zeros() -> None:
    assert expand_braces("{8..11}-{a,b}") == [f"{n}-{c}" for n in (8, 9, 10, 11) for c in "ab"]
    assert expand_braces("d-{008..010}.tar") == ["d-008.tar", "d-009.tar", "d-010.tar"]
    assert expand_braces("{x}") == ["{x}"]
    for reversed_or_long in ("{5..4}", "{0..99999999}"):
        with pytest.raises(ValueError, match="expected a range"):
            expand_braces(reversed_or_long)


def test_remote_addresses_are_those_of_fsspec(folder: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    for name in ("1", "2"):
        memory.pipe(f"/remote/x-{name}.tar", name.encode())
    both = ["memory:///remote/x-1.tar", "memory:///remote/x-2.tar"]
    assert find_shards("memory://remote/*.tar") == find_shards("memory://remote") == both
    assert [open_address(address).read() for address in find_shards("memory://remote/x-{1..2}.tar")] == [
        b"1",
        b"2",
    ]
    with pytest.raises(FileNotFoundError, match=r"^1 of 3 shards missing: memory://remote/x-3\.tar$"):
        find_shards("memory://remote/x-{1..3}.tar")
    assert find_shards(f"file://{folder}/b/*2.tar") == [f"file://{folder}/b/data-2.tar"]
    with pytest.raises(ValueError, match=r"^nothing://a\.tar cannot be opened: "):
        find_shards("nothing://a.tar")


def test_suffix_decides_what_a_shard_is() -> None:
    assert all(map(is_shard, ["a.tar", "a/*.TAR", "s3://b/{0..9}.parquet"]))
    assert not any(map(is_shard, ["a.tar.gz", "photos", os.curdir]))
