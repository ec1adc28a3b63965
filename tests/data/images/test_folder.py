import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aimonk.data.images import folder as images
from aimonk.data.images.decoding import UnavailableError, decode
from aimonk.data.images.folder import decode_all, find_images, fingerprints, list_images
from aimonk.data.images.storage import ImageFiles, open_pixels
from aimonk.data.store.row_set import TransientReason
from aimonk.data.store.row_store import RowStore, StoredRows


def show_nothing(results, total: int, title: str):
    return results


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{i}.png" for i in range(6)]
    for i, path in enumerate(paths):
        Image.new("RGB", (8, 8), (i, i, i)).save(path)
    paths[4].write_bytes(b"no image")
    return paths


def open_stored(store: RowStore, files: list[Path], resize: str) -> StoredRows | None:
    return open_pixels(store, ImageFiles(files, fingerprints(files), 8, resize, None), False, show_nothing)


def test_find_images(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.jpg", "sub/é [b], c.jpg", "-d.jpg"):
        (folder / name).write_bytes(b"x")
    os.symlink("a.jpg", folder / "inside.jpg")
    os.symlink("nowhere.jpg", folder / "broken.jpg")
    os.symlink("loop.jpg", folder / "loop.jpg")
    os.symlink(".", folder / "here")
    names = ["a.jpg", "sub/é [b], c.jpg", "-d.jpg", "inside.jpg", "here/here/a.jpg", "none.jpg"]
    names += ["broken.jpg", "loop.jpg", "x" * 300, "a.jpg/b.jpg"]
    assert find_images(folder, names, follow_links=False).tolist() == [True] * 5 + [False] * 5
    os.symlink(folder, tmp_path / "link")
    assert find_images(tmp_path / "link", names, follow_links=False).tolist() == [True] * 5 + [False] * 5
    with pytest.raises(FileNotFoundError, match="no images folder at"):
        find_images(tmp_path / "none", names, follow_links=False)


def test_links_to_outside_the_folder(tmp_path: Path) -> None:
    folder, secret = tmp_path / "images", tmp_path / "images2"
    folder.mkdir()
    secret.mkdir()
    for path in (folder / "a.jpg", secret / "b.jpg"):
        path.write_bytes(b"x")
    os.symlink(secret / "b.jpg", folder / "file.jpg")
    os.symlink(secret, folder / "sub")
    names = ["a.jpg", "file.jpg", "sub/b.jpg", "sub/none.jpg"]
    with pytest.raises(
        ValueError,
        match=r"^2 images behind symbolic links to outside .*: file.jpg, sub/b.jpg; data.follow_links",
    ):
        find_images(folder, names, follow_links=False)
    assert find_images(folder, names, follow_links=True).tolist() == [True, True, True, False]


def test_list_images(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.JPG", "a.png", "sub/c.webp", "notes.txt", "x.jpg.txt", ".hidden.gif"):
        (tmp_path / name).write_bytes(b"")
    os.symlink(tmp_path, tmp_path / "sub" / "loop")
    assert list_images(tmp_path) == [".hidden.gif", "a.png", "b.JPG", "sub/c.webp"]


def test_fingerprints_change_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"one")
    (first,) = fingerprints([path])
    assert fingerprints([path, path]) == [first, first]
    os.utime(path, ns=(0, os.stat(path).st_mtime_ns + 1))
    (second,) = fingerprints([path])
    path.write_bytes(b"other")
    os.utime(path, ns=(0, os.stat(path).st_mtime_ns))
    (third,) = fingerprints([path])
    assert len({first, second, third}) == 3
    replacement = tmp_path / "b.jpg"
    replacement.write_bytes(b"OTHER")
    os.utime(replacement, ns=(0, os.stat(path).st_mtime_ns))
    os.replace(replacement, path)  # equal size and modification time
    assert fingerprints([path]) != [third]


def test_decode_all_yields_pixels_or_errors(files: list[Path]) -> None:
    files.append(files[0].with_name("none.png"))
    results = list(decode_all(files, 8, "squash", np.array([5, 4, 0, 6])))
    assert [row for row, _ in results] == [5, 4, 0, 6]
    assert (results[0][1] == 5).all() and (results[2][1] == 0).all()
    assert type(results[1][1]) is str and "unknown image" in results[1][1]
    assert (
        results[3][1] == TransientReason("No such file or directory")
        and type(results[3][1]) is TransientReason
    )


def test_decoding_waits_for_a_slow_consumer(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    monkeypatch.setattr(images, "decode", lambda path, *_: started.append(path) or np.zeros(1))
    most = 0
    paths = [Path(str(i)) for i in range(400)]
    for done, (row, _) in enumerate(decode_all(paths, 8, "squash", np.arange(400))):
        assert row == done
        if done < 50:
            time.sleep(0.001)
            most = max(most, len(started) - done)
    assert 1 < most <= 5 * (os.cpu_count() or 1) + 1
    assert sorted(started) == sorted(paths)


def test_pixels_are_stored(files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RowStore(tmp_path / "cache", 10**9)
    first = open_stored(store, files, "squash")
    assert first.computed == 6
    assert (first.array.read(np.arange(6))[0][:, 0, 0, 0] == [0, 1, 2, 3, 0, 5]).all()
    assert list(first.errors) == [4] and "unknown image" in first.errors[4]

    calls = []
    monkeypatch.setattr(
        images, "decode", lambda path, *_: calls.append(path) or np.full((8, 8, 3), 9, np.uint8)
    )
    second = open_stored(store, files, "squash")
    assert (second.computed, calls, second.errors) == (0, [], first.errors)
    os.utime(files[2], ns=(0, 1))
    third = open_stored(store, files, "squash")
    assert third.computed == 1 and calls == [files[2]]
    assert (third.array.read(np.arange(6))[0][:, 0, 0, 0] == [0, 1, 9, 3, 0, 5]).all()
    assert open_stored(store, files, "crop").computed == 6


def test_unavailable_files_are_retried(files: list[Path], tmp_path: Path, monkeypatch) -> None:
    store = RowStore(tmp_path / "cache", 10**9)

    def fail(path: Path, *_: object) -> np.ndarray:
        if path == files[3]:
            raise UnavailableError("Input/output error")
        return decode(path, 8, "squash")

    with monkeypatch.context() as patch:
        patch.setattr(images, "decode", fail)
        assert open_stored(store, files, "squash").errors[3] == "Input/output error"
    again = open_stored(store, files, "squash")
    assert again.computed == 1 and list(again.errors) == [4]
    assert (again.array[3] == 3).all()
    assert open_stored(store, files, "squash").computed == 0


def test_threads_do_not_change_pixels(files: list[Path]) -> None:
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda i: decode(files[i % 4], 8, "pad"), range(200)))
    assert all((pixels == i % 4).all() for i, pixels in enumerate(results))
