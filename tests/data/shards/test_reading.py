import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from aimonk.data.shards import parquet_shard, reading, tar_shard
from aimonk.data.shards.reading import read_shard

WriteTar = Callable[..., str]


def test_images_of_a_tar_file_and_their_labels(write_tar: WriteTar) -> None:
    path = write_tar(
        {
            "./a/0001.jpg": b"one",
            "a/0001.json": b'{"hat": 1}',
            "a/0002.JSON": b'{"hat": null}',  # in any order
            "a/0002.left.PNG": b"two",
            "a/0002.cls": b"7",
            "a.b/0003.jpg": b"",
            ".hidden.jpg": b"no",
            "stats.json": b"{}",
            "a/" + "long" * 60 + ".webp": b"three",
        }
    )
    members = list(read_shard(path))
    assert [(m.key, m.name, m.content, m.labels) for m in members] == [
        ("a/0001", "a/0001.jpg", b"one", {"hat": 1}),
        ("a/0002", "a/0002.left.PNG", b"two", {"hat": None}),
        ("a.b/0003", "a.b/0003.jpg", b"", None),
        ("a/" + "long" * 60, "a/" + "long" * 60 + ".webp", b"three", None),
    ]
    content = Path(path).read_bytes()
    assert all(content[m.offset : m.offset + len(m.content)] == m.content for m in members)
    unlabelled = list(read_shard(path, with_labels=False))
    assert [m.name for m in unlabelled] == [m.name for m in members]
    assert all(m.labels is None for m in unlabelled)


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar_formats_with_odd_names(format: int, write_tar: WriteTar) -> None:
    names = ["Ж ü.jpg", "x" * 90 + "/" + "y" * 90 + ".jpg", "a\udcff.png"]
    path = write_tar({name: name.encode(errors="surrogateescape") for name in names}, format=format)
    assert [m.name for m in read_shard(path)] == names


def test_every_cut_of_a_tar_file_is_an_error(write_tar: WriteTar, tmp_path: Path) -> None:
    path = write_tar({f"{i}.jpg": b"x" * 600 for i in range(3)}, format=tarfile.USTAR_FORMAT)
    content = Path(path).read_bytes()
    end = 3 * (512 + 1024)
    cut = tmp_path / "cut.tar"
    for size in (*range(0, end, 256), end):
        cut.write_bytes(content[:size])
        with pytest.raises(ValueError, match=r"cut\.tar: damaged tar file at or after ") as caught:
            list(read_shard(str(cut)))
        assert "\n" not in f"{caught.value}"
    for at in range(0, end, 1536):  # a damaged header in the middle does not end the file silently
        cut.write_bytes(content[:at] + b"?" + content[at + 1 :])
        with pytest.raises(ValueError, match="bad checksum"):
            list(read_shard(str(cut)))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_special_files_are_refused(kind: bytes, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        header = tarfile.TarInfo("x.jpg")
        header.type, header.linkname = kind, "/etc/passwd"
        archive.addfile(header)
    with pytest.raises(
        ValueError, match=r"a\.tar: 'x\.jpg' is a link or a special file; expected files only$"
    ):
        list(read_shard(str(tmp_path / "a.tar")))


def test_huge_members_are_refused_before_they_are_read(
    write_tar: WriteTar, monkeypatch, tmp_path: Path
) -> None:
    path = write_tar({"a.jpg": b"x" * 3000, "b.jpg": b"x" * 3000})
    monkeypatch.setattr(tar_shard, "MAX_FILE_BYTES", 4000)
    assert len(list(read_shard(path))) == 2
    same_key = write_tar({"2024.1.jpg": b"x" * 3000, "2024.2.jpg": b"x" * 3000})
    with pytest.raises(ValueError, match=r"sample '2024' exceed .* differ before the first dot$"):
        list(read_shard(same_key))
    assert len(list(read_shard(same_key, with_labels=False))) == 2
    header = tarfile.TarInfo("c.jpg")
    header.size = 2**40
    (tmp_path / "c.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(ValueError, match=r"c\.tar: 'c\.jpg' has 1048576 MB; expected at most 0 MB$"):
        list(read_shard(str(tmp_path / "c.tar")))
    header.type = tarfile.GNUTYPE_LONGNAME
    (tmp_path / "c.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + b"x" * 10_000)
    with pytest.raises(ValueError, match="a header with an invalid size"):
        list(read_shard(str(tmp_path / "c.tar")))


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff", b"[" * 100_000, b"null"])
def test_wrong_json_names_shard_and_member(content: bytes, write_tar: WriteTar) -> None:
    path = write_tar({"a.jpg": b"x", "a.json": content})
    with pytest.raises(ValueError, match=r"a\.tar: 'a\.json' is ") as caught:
        list(read_shard(path))
    assert "\n" not in f"{caught.value}"
    assert len(list(read_shard(path, with_labels=False))) == 1


def test_damaged_tar_files_raise_value_errors_only(write_tar: WriteTar, tmp_path: Path) -> None:
    import random

    members = {f"{'é' * 60}{i}.jpg": b"x" * 100 * i for i in range(4)} | {"z.json": b'{"a": [1, 2]}'}
    contents = [
        Path(write_tar(members, format=format)).read_bytes()[:9216]
        for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)
    ]
    draw, path = random.Random(0), tmp_path / "mutant.tar"
    for _ in range(600):
        mutant = bytearray(draw.choice(contents))
        for _ in range(draw.randint(1, 4)):
            mutant[draw.randrange(len(mutant))] = draw.randrange(256)
        path.write_bytes(mutant[: draw.choice([None, draw.randrange(len(mutant))])])
        try:
            list(read_shard(str(path)))
        except ValueError as error:
            assert f"{error}".startswith(f"{path}: ")


@pytest.fixture
def write_parquet(tmp_path: Path) -> Callable[..., str]:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    def write(columns: dict, name: str = "a.parquet", **options) -> str:
        parquet.write_table(arrow.table(columns), tmp_path / name, **options)
        return str(tmp_path / name)

    return write


def test_images_of_parquet_with_bytes_and_names(write_parquet) -> None:
    columns = {"hat": [1, None, 0], "image": [b"one", b"two", None], "name": ["x/1.jpg", None, "3.b.png"]}
    path = write_parquet(columns, row_group_size=2)
    found = [(m.key, m.name, m.content, m.offset, m.labels) for m in read_shard(path)]
    assert found == [
        ("x/1", "x/1.jpg", b"one", 0, {"hat": 1}),
        ("a.parquet/1", "a.parquet/1", b"two", 1, {"hat": None}),
        ("3", "3.b.png", b"", 2, {"hat": 0}),
    ]
    assert [m.labels for m in read_shard(path, with_labels=False)] == [None] * 3


def test_images_of_parquet_as_hugging_face_writes_them(write_parquet) -> None:
    images = [{"bytes": b"one", "path": "1.jpg"}, {"bytes": b"two", "path": None}, None]
    found = [
        (m.name, m.content, m.labels)
        for m in read_shard(write_parquet({"image": images, "label": [1, 2, 3]}))
    ]
    assert found == [
        ("1.jpg", b"one", {"label": 1}),
        ("a.parquet/1", b"two", {"label": 2}),
        ("a.parquet/2", b"", {"label": 3}),
    ]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"picture": [b"x"]}, "has the columns picture; expected one named image$"),
        ({"image": ["x.jpg"]}, "column image is string; expected binary, or a struct with bytes and path$"),
        ({"image": [{"path": "x.jpg"}]}, r"column image is struct<path: string>; expected binary"),
    ],
)
def test_parquet_without_images_is_refused(columns: dict, message: str, write_parquet) -> None:
    with pytest.raises(ValueError, match=message):
        list(read_shard(write_parquet(columns)))


def test_damaged_parquet_raises_value_errors_only(write_parquet) -> None:
    import random

    path = Path(write_parquet({"image": [os.urandom(500) for _ in range(8)], "name": ["a.jpg"] * 8}))
    content, draw = path.read_bytes(), random.Random(0)
    for size in (0, 3, 100, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match=r"a\.parquet: damaged Parquet file at or after row 0 \("):
            list(read_shard(str(path)))
    for _ in range(200):
        mutant = bytearray(content)
        mutant[draw.randrange(len(mutant))] = draw.randrange(256)
        path.write_bytes(mutant)
        try:
            list(read_shard(str(path)))
        except ValueError as error:
            assert f"{error}".startswith(f"{path}") and "\n" not in f"{error}"


def test_huge_images_of_parquet_are_refused(write_parquet, monkeypatch) -> None:
    path = write_parquet({"image": [b"x" * 3000]})
    monkeypatch.setattr(parquet_shard, "MAX_FILE_BYTES", 2000)
    with pytest.raises(ValueError, match=r"a\.parquet: row 0 has 0 MB"):
        list(read_shard(path))


def test_shard_is_read_forwards_only(write_tar: WriteTar, monkeypatch) -> None:
    class Forwards(io.BytesIO):
        def seek(self, *_: int) -> int:
            raise io.UnsupportedOperation

        def seekable(self) -> bool:
            return False

    content = Path(write_tar({f"{i}.jpg": b"x" * 2000 for i in range(100)})).read_bytes()
    monkeypatch.setattr(reading, "open_address", lambda address: Forwards(content))
    assert len(list(read_shard("https://host/a.tar"))) == 100


def test_labels_are_those_of_json(write_tar: WriteTar) -> None:
    labels = {"hat": 1, "tags": ["a"], "box": {"x": 0.5}}
    path = write_tar({"1.jpg": b"x", "1.json": json.dumps(labels).encode()})
    assert [m.labels for m in read_shard(path)] == [labels]
