import io
import json
import logging
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aimonk.data.dataset import Found
from aimonk.data.formats.text.tokens import Tokens
from aimonk.data.images.decoding import decode
from aimonk.data.labels import LabelTable
from aimonk.data.repeated import combine
from aimonk.data.shards import copies as copies_module
from aimonk.data.shards import images as images_module
from aimonk.data.shards import index as index_module
from aimonk.data.shards.dataset import COPIES, INDICES, ShardFiles, find_labels_inside, find_listed
from aimonk.data.shards.labels import ShardLabels
from aimonk.runtime.progress import unwatched

WriteTar = Callable[..., str]


def png(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (level, level, level)).save(buffer, "PNG")
    return buffer.getvalue()


def sample(name: str, level: int, labels: dict | None = None) -> dict[str, bytes]:
    """Members of a tar file: an image of a grey level, and its labels."""
    entry = {"hat": level % 2} if labels is None else labels
    return {f"{name}.png": png(level), f"{name}.json": json.dumps(entry).encode()}


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., ShardFiles]:
    def files(*patterns: str, **changed) -> ShardFiles:
        settings = dict(copies_limit=10**9, prefix=False, unreadable="skip", watch=unwatched) | changed
        return ShardFiles(list(patterns) or [f"{tmp_path}/*.tar"], tmp_path / "cache", **settings)

    return files


def inside(files: ShardFiles, missing: str = "skip") -> Found:
    labels = ShardLabels(None, Tokens(), None)
    read = lambda: combine(labels.annotations(None, "shards"), "error", Path("shards"))  # noqa: E731
    return find_labels_inside(files, labels, read, missing, lambda table: None)


def levels(found: Found) -> list[int]:
    """The grey level of each image."""
    return [decode(image, 8, "squash")[0, 0, 0] for image in pickle.loads(pickle.dumps(found.paths))]


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses of the shards that are read from now on."""
    reads = []
    for module in (index_module, copies_module):
        read = module.read_shard
        monkeypatch.setattr(module, "read_shard", lambda a, *rest, r=read: reads.append(a) or r(a, *rest))
    return reads


def test_images_and_labels_of_several_shards(files, write_tar: WriteTar, tmp_path: Path, monkeypatch) -> None:
    write_tar(sample("a", 1) | {"unlabelled.png": png(9)} | sample("b", 2), "0.tar")
    write_tar(sample("c", 3), "1.tar")
    found = inside(files())
    assert found.table.names == ["a.png", "b.png", "c.png"] and levels(found) == [1, 2, 3]
    assert found.table.labels.tolist() == [[1], [0], [1]] and found.shards.tolist() == [0, 0, 1]
    assert (found.unlisted, found.missing, len(set(found.keys))) == (["unlabelled.png"], [], 3)
    with pytest.raises(
        ValueError, match=r"^1 image without labels: unlabelled.png in .*\.tar; data\.missing=skip"
    ):
        inside(files(), "error")
    reads = count_reads(monkeypatch)
    again = inside(files())
    assert (again.keys, again.table.names, reads) == (found.keys, found.table.names, [])
    write_tar(sample("c", 5), "1.tar")
    changed = inside(files())
    assert reads == [str(tmp_path / "1.tar")] and levels(changed) == [1, 2, 5]
    assert changed.keys[:2] == found.keys[:2] and changed.keys[2] != found.keys[2]
    assert len(list((tmp_path / "cache" / INDICES).glob("*.gz"))) == 2, "the old list is removed"


def test_damaged_list_is_made_again(files, write_tar: WriteTar, tmp_path: Path) -> None:
    write_tar(sample("a", 1))
    before = inside(files())
    (saved,) = (tmp_path / "cache" / INDICES).glob("*.gz")
    for content in (b"", saved.read_bytes()[:-20], b"\x1f\x8b damaged"):
        saved.write_bytes(content)
        assert inside(files()).keys == before.keys


def test_shard_that_changes_while_a_run_reads_it(files, write_tar: WriteTar, tmp_path: Path) -> None:
    found = inside(files(write_tar(sample("a", 1)), f"file://{write_tar(sample('b', 2), 'b.tar')}"))
    write_tar(sample("a", 2) | sample("b", 3))
    write_tar(sample("b", 3) | sample("a", 3), "b.tar")
    for copy in (tmp_path / "cache" / COPIES).glob("*.images"):
        copy.unlink()
    for image in found.paths:
        with pytest.raises(ValueError, match=r"^the shard has changed since the start$"):
            decode(image, 8, "squash")


def test_remote_shards_are_copied_once_and_bounded(files, write_tar: WriteTar, tmp_path, monkeypatch) -> None:
    pytest.importorskip("fsspec")
    for i in range(3):
        write_tar(sample(f"{i}", i), f"{i}.tar")
    reads, remote = count_reads(monkeypatch), f"file://{tmp_path}/*.tar"
    found = inside(files(remote))
    assert levels(found) == [0, 1, 2] and len(reads) == 3
    folder = tmp_path / "cache" / COPIES
    assert len(list(folder.glob("*.images"))) == 3
    for copy in folder.glob("*.images"):
        copy.unlink()
    images_module._opened.clear()
    bounded = inside(files(remote, copies_limit=1))
    assert levels(bounded) == [0, 1, 2] and len(reads) == 6
    assert len(list(folder.glob("*.images"))) == 1, "older copies make room for a new one"
    opened = images_module._opened.values()
    assert sum(os.fstat(file.file).st_nlink == 0 for file in opened) <= 1, "nor do open ones take up space"


def test_copy_is_made_by_one_process(files, write_tar: WriteTar, tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("fsspec")
    (image,) = inside(files(f"file://{write_tar(sample('a', 1))}")).paths
    folder = tmp_path / "cache" / COPIES
    (copy,) = folder.glob("*.images")
    (folder / "killed.part").write_bytes(b"of a killed process")
    copy.unlink()
    reads = count_reads(monkeypatch)
    with ThreadPoolExecutor(8) as pool:
        opened = list(
            pool.map(lambda _: image.shard.copies.open(image.shard.address, image.shard.state), range(8))
        )
    assert len(reads) == 1 and [path.name for path in folder.glob("*") if path.suffix != ".lock"] == [
        copy.name
    ]
    for file in opened:
        os.close(file)


def test_parquet_shards(files, write_tar: WriteTar, tmp_path: Path) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    images = [{"bytes": png(i), "path": f"{i}.png"} for i in range(5)] + [{"bytes": None, "path": "5.png"}]
    parquet.write_table(
        pa.table({"image": images, "hat": [1, 0, None, 1, 0, 0]}), tmp_path / "a.parquet", row_group_size=2
    )
    found = inside(files(f"{tmp_path}/a.parquet"))
    assert found.table.names == [f"{i}.png" for i in range(6)]
    assert found.table.mask[:, 0].tolist() == [True, True, False, True, True, True]
    empty = found.paths.pop()
    assert levels(found) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match=r"^the file is empty$"):
        decode(empty, 8, "squash")


def test_label_file_for_shards(files, write_tar: WriteTar, caplog: pytest.LogCaptureFixture) -> None:
    write_tar(sample("a", 1) | sample("b", 2), "0.tar")
    write_tar(sample("c", 3), "1.tar")
    names = ["c.png", "gone.png", "a.png"]
    table = LabelTable(names, ["hat"], np.array([[1], [0], [0]], np.float32), np.ones((3, 1), bool))
    found = find_listed(files(), lambda: table, "skip", lambda table: None)
    assert (found.table.names, levels(found)) == (["a.png", "c.png"], [1, 3]), "in the order of the shards"
    assert found.table.labels.tolist() == [[0], [1]] and found.file_table is table
    assert (found.missing, found.unlisted) == (["gone.png"], ["b.png"])
    assert "skipping 1 row without an image: gone.png" in caplog.text
    with pytest.raises(
        FileNotFoundError, match=r"no image in the shards .*1 of 3 rows.*; data\.missing=skip"
    ):
        find_listed(files(), lambda: table, "error", lambda table: None)


@pytest.mark.parametrize("remote", ["", "file://"])
def test_label_file_beside_damaged_labels(remote: str, files, write_tar: WriteTar) -> None:
    members = sample("a", 1) | {"a.json": b"{"} | sample("b", 2)
    table = LabelTable(["b.png"], ["hat"], np.ones((1, 1), np.float32), np.ones((1, 1), bool))
    files = partial(files, f"{remote}{write_tar(members)}")
    with pytest.raises(ValueError, match=r"'a\.json' is no JSON"):
        inside(files())
    found = find_listed(files(), lambda: table, "error", lambda table: None)
    with pytest.raises(ValueError, match=r"'a\.json' is no JSON"):
        inside(files())
    assert levels(found) == [2]


def test_repeated_names(files, write_tar: WriteTar, tmp_path: Path) -> None:
    for shard in ("x/train-0.tar", "x/train-1.tar", "y/train-1.tar"):
        (tmp_path / shard).parent.mkdir(exist_ok=True)
        write_tar(sample("a", 1), shard)
    with pytest.raises(ValueError) as caught:
        inside(files(f"{tmp_path}/*/*.tar"))
    first = f"{caught.value}".splitlines()[0]
    assert first.endswith(
        f"x/train-1.tar: 'a.png' is also in {tmp_path}/x/train-0.tar; expected unique names; "
        "data.prefix=true begins each name with its shard"
    )
    assert inside(files(f"{tmp_path}/*/*.tar", prefix=True)).table.names == [
        *("x/train-0/a.png", "x/train-1/a.png", "y/train-1/a.png")
    ]
    assert inside(files(f"{tmp_path}/x/train-0.tar", prefix=True)).table.names == ["train-0/a.png"]


@pytest.mark.parametrize("remote", ["", "file://"])
def test_damaged_shard(remote: str, files, write_tar: WriteTar, tmp_path, caplog) -> None:
    path = Path(write_tar(sample("a", 1) | sample("b", 2) | sample("c", 3)))
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"c.png") + 700])
    files = partial(files, f"{remote}{path}")
    found = inside(files())
    assert found.table.names == ["a.png", "b.png"] and levels(found) == [1, 2]
    (warning,) = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert "a.tar: damaged tar file at or after" in warning
    assert warning.endswith("; 2 images before the damage are used, the others are skipped")
    with pytest.raises(ValueError, match=r"; data\.unreadable=skip uses the images before the damage$"):
        inside(files(unreadable="error"))


def test_no_usable_image(files, write_tar: WriteTar, tmp_path: Path, caplog) -> None:
    write_tar({"notes.txt": b"no image"})
    with pytest.raises(
        FileNotFoundError, match=r"^no images in 1 shard of .*\.tar; expected members such as"
    ):
        inside(files())
    assert "a.tar has no images" in caplog.text
    (tmp_path / "a.tar").write_bytes(b"no tar file" * 100)
    with pytest.raises(
        ValueError, match=r"a\.tar: damaged tar file at or after the start .*; 0 images before$"
    ):
        inside(files())
    with pytest.raises(FileNotFoundError, match=r"^no shards at "):
        inside(files(f"{tmp_path}/none/*.tar"))


def test_cache_folder_that_is_not_writable(files, write_tar: WriteTar, tmp_path: Path, caplog) -> None:
    write_tar(sample("a", 1))
    (tmp_path / "cache").write_text("a file")
    assert levels(inside(files())) == [1]
