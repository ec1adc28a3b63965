import logging
import os
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aimonk.data.dataset import ImageSet, StoredSubset, open_images
from aimonk.data.duplicates import find_groups, group_images
from aimonk.data.formats.text.label_file import read_labels
from aimonk.data.formats.text.tokens import Tokens
from aimonk.data.images import folder as images_module
from aimonk.data.images.hashes import hash_images
from aimonk.data.labels import LabelTable
from aimonk.data.store.row_store import RowStore

REAL_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def read_file(labels: Path, images: Path, attributes: list | None = None, **tokens: list) -> LabelTable:
    return read_labels(labels, attributes, images, Tokens(**tokens))


SETTINGS = dict(read=read_file, missing="skip", unreadable="skip", follow_links=False)
SETTINGS |= dict(image_size=8, resize="squash", store_quality=None, only_all=False)
SETTINGS |= dict(watch=lambda items, total, title: items)
ROWS = {"a.png": "1 NA", "b.png": "0 1", "c.png": "1 0", "d.png": "NA 1"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four labelled images; image number i is of the grey level i."""
    (tmp_path / "images").mkdir()
    for i, name in enumerate(ROWS):
        Image.new("RGB", (20, 20), (i, i, i)).save(tmp_path / "images" / name)
    write_labels(tmp_path, ROWS)
    return tmp_path


def write_labels(folder: Path, rows: dict[str, str]) -> None:
    (folder / "labels.txt").write_text("".join(f"{name} {labels}\n" for name, labels in rows.items()))


@pytest.fixture(params=["stored", "not stored"])
def read(request: pytest.FixtureRequest, folder: Path) -> Callable[..., ImageSet]:
    """A function that opens the images, with or without a store."""
    store = RowStore(folder / "cache", 10**9) if request.param == "stored" else None

    def read(**changed) -> ImageSet:
        arguments = SETTINGS | {"store": store} | changed
        watched = []

        def watch(items, total: int, title: str):
            watched.append(title)
            items = list(items)
            assert len(items) == total
            return items

        found = open_images(folder / "images", folder / "labels.txt", **arguments | {"watch": watch})
        assert watched in ([], ["images"], ["images", "hashes"])
        return found

    return read


def levels(found: ImageSet) -> list[int]:
    """The grey level of each image."""
    if isinstance(found.pixels, list):
        return [np.asarray(Image.open(path))[0, 0, 0] for path in found.pixels]
    return found.pixels[:][:, 0, 0, 0].tolist()


def test_complete_data_set(read, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = read()
    assert len(found) == 4 and found.table.names == list(ROWS)
    assert found.paths == [folder / "images" / name for name in ROWS]
    assert (found.missing, found.unreadable, found.unlisted) == ([], {}, [])
    assert levels(found) == [0, 1, 2, 3]
    assert len(set(found.keys)) == 4
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_missing_images(read, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_labels(folder, {f"{i}.png": "1 0" for i in range(12)} | ROWS | {"x/e.png": "0 0"})
    found = read()
    assert found.table.names == list(ROWS) and levels(found) == [0, 1, 2, 3]
    assert found.missing == [*(f"{i}.png" for i in range(12)), "x/e.png"]
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    shown = ", ".join(f"{i}.png" for i in range(10))
    assert record.message == f"skipping 13 rows without an image: {shown} and 3 more"
    with pytest.raises(FileNotFoundError) as caught:
        read(missing="error")
    assert str(caught.value) == (
        f"no image in {folder}/images for 13 of 17 rows of {folder}/labels.txt: {shown} and 3 more; "
        "data.missing=skip skips them"
    )


def test_no_image_exists(read, folder: Path) -> None:
    write_labels(folder, {"x.png": "1", "y.png": "0"})
    for missing in ("skip", "error"):
        with pytest.raises(FileNotFoundError, match=r"^no image in .* for 2 of 2 rows of .*: x.png, y.png$"):
            read(missing=missing)


def test_unreadable_images(read, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "images" / "a.png").write_bytes(b"<html>")
    content = (folder / "images" / "c.png").read_bytes()
    (folder / "images" / "c.png").write_bytes(content[:50])
    for _ in range(2):  # the second time from the store
        caplog.clear()
        found = read()
        assert found.table.names == ["b.png", "d.png"] and levels(found) == [1, 3]
        assert found.table.mask.tolist() == [[True, True], [False, True]]
        assert list(found.unreadable) == ["a.png", "c.png"] and len(found.keys) == 2
        (record,) = [r for r in caplog.records if "cannot read" in r.message]
        assert record.levelno == logging.WARNING
        start = "cannot read 2 images: a.png (unknown image format; expected JPEG, PNG, WEBP, BMP, GIF, TIFF)"
        assert record.message.startswith(start + ", c.png (") and record.message.endswith("; skipped")
    message = r"^cannot read 2 images: a.png .*; data.unreadable=skip skips them$"
    with pytest.raises(ValueError, match=message):
        read(unreadable="error")


def test_no_image_is_readable(read, folder: Path) -> None:
    for name in ROWS:
        (folder / "images" / name).write_bytes(b"")
    for unreadable in ("skip", "error"):
        with pytest.raises(ValueError, match=r"^cannot read 4 images: a.png \(the file is empty\)"):
            read(unreadable=unreadable)


def test_unlisted_images(read, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    write_labels(folder, {"./a.png": "1 1", "b.png": "0 0"})
    found = read()
    assert found.unlisted == ["c.png", "d.png"]
    assert f"2 images without a row in {folder}/labels.txt" in caplog.text


def test_names_and_tokens_of_other_programs(read, folder: Path) -> None:
    write_labels(folder, {"a": "1 u", f"{folder}/images/b.png": "-1 1", "c.png": "1 0", "d": "u 1"})
    found = read(read=partial(read_file, absent=[-1], unknown=["u"]))
    assert found.table.names == list(ROWS) and found.unlisted == found.missing == []
    assert found.table.labels.tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]]
    assert found.table.mask.tolist() == [[True, False], [True, True], [True, True], [False, True]]


def test_missing_folder_and_label_file(read, folder: Path) -> None:
    (folder / "images").rename(folder / "pictures")
    with pytest.raises(FileNotFoundError, match=r"no images folder at .*/images"):
        read()
    (folder / "labels.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no label file at .*/labels.txt"):
        read()


def test_links_to_outside_the_folder(read, folder: Path) -> None:
    (folder / "images" / "b.png").rename(folder / "secret.png")
    os.symlink(folder / "secret.png", folder / "images" / "b.png")
    with pytest.raises(
        ValueError,
        match=r"^1 image behind symbolic links to outside .*: b.png; data.follow_links=true allows them$",
    ):
        read()
    assert levels(read(follow_links=True)) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"resize": "stretch"}, "data.resize is 'stretch'; expected squash, crop, pad"),
        ({"missing": "ignore"}, "data.missing is 'ignore'; expected skip, error"),
        ({"unreadable": True}, "data.unreadable is True; expected skip, error"),
        ({"image_size": 7}, "data.image_size is 7; expected 8 to 4096 pixels"),
        ({"image_size": 4097}, "data.image_size is 4097; expected 8 to 4096 pixels"),
        ({"image_size": 32.5}, "data.image_size is 32.5; expected 8 to 4096 pixels"),
        ({"store_quality": 0}, "data.store_quality is 0; expected null or 1 to 100"),
        ({"store_quality": 101}, "data.store_quality is 101; expected null or 1 to 100"),
    ],
)
def test_invalid_settings(read, changed: dict, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        read(**changed)
    assert str(caught.value) == message


def test_given_attributes_and_value_warnings(read, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_labels(folder, {"a.png": "1 NA", "b.png": "1 0", "x.png": "0 1"})
    assert read(read=partial(read_file, attributes=["hat", "scarf"])).table.attributes == ["hat", "scarf"]
    # after rows without an image were dropped
    assert "attribute 'hat' is never 0" in caplog.text and "attribute 'scarf' is never 1" in caplog.text


def test_keys_change_with_the_files(read, folder: Path) -> None:
    before = read()
    os.utime(folder / "images" / "c.png", ns=(0, 1))
    after = read()
    assert [a == b for a, b in zip(before.keys, after.keys, strict=True)] == [True, True, False, True]
    # the same image at the same place has one key, whatever else is in the table
    write_labels(folder, {"d.png": "1", "a.png": "0"})
    assert read().keys == [after.keys[3], after.keys[0]]


def test_file_replaced_while_it_is_decoded(read, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its pixels nor values computed from them are found under the key of the new file."""
    decode = images_module.decode

    def exchange(path: Path, size: int, resize: str) -> np.ndarray:
        pixels = decode(path, size, resize)
        os.utime(path, ns=(0, 12345))
        return pixels

    with monkeypatch.context() as patch:
        patch.setattr(images_module, "decode", exchange)
        during = read()
    after = read()
    assert not set(during.keys) & set(after.keys)
    assert after.stored is None or after.stored.computed == 4


def test_store_without_room(read, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    (folder / "images" / "c.png").write_bytes(b"")
    found = read(store=RowStore(folder / "small", 100))
    assert found.stored is None and found.pixels == [
        folder / "images" / name for name in ("a.png", "b.png", "d.png")
    ]
    assert list(found.unreadable) == ["c.png"] and "exceed data.store_limit_gb=1e-07" in caplog.text
    assert "0 of 4 are stored, and each pass decodes the others again, about " in caplog.text


def test_duplicates_are_found_without_stored_pixels(read, folder: Path) -> None:
    (folder / "images" / "d.png").write_bytes((folder / "images" / "a.png").read_bytes())
    # none, without room for anything, and with room for the hashes
    for store in (None, RowStore(folder / "small", 100), RowStore(folder / "hashes", 5000)):
        found = read(store=store, image_size=32)
        assert found.stored is None
        groups = find_groups(found.hashes, found.table.names, 5.0)
        assert (groups[[found.table.names.index(name) for name in ("a.png", "d.png")]] == 0).all()


def test_hashes_are_computed_once(read, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "images" / "c.png").write_bytes(b"")
    first = read(store=RowStore(folder / "hashes", 5000), image_size=32)
    assert first.hashes.thumbnails[:, 0, 0, 0].tolist() == levels(first)
    monkeypatch.setattr("aimonk.data.images.storage.hash_image", None)
    again = read(store=RowStore(folder / "hashes", 5000), image_size=32)
    assert (first.hashes.thumbnails == again.hashes.thumbnails).all()
    assert (first.hashes.digests == again.hashes.digests).all()
    assert list(again.unreadable) == ["c.png"]


def test_subset_of_stored_rows() -> None:
    array = np.arange(60, dtype=np.uint8).reshape(5, 2, 2, 3)
    subset = StoredSubset(array, np.array([4, 0, 2]))
    assert (len(subset), subset.shape, subset.ndim, subset.dtype) == (3, (3, 2, 2, 3), 4, np.uint8)
    assert (subset[1] == array[0]).all()
    assert (subset[1:] == array[[0, 2]]).all() and (subset[np.array([2, 2])] == array[[2, 2]]).all()
    assert (pickle.loads(pickle.dumps(subset))[:] == subset[:]).all()
    assert group_images(hash_images(subset), 0).groups.tolist() == [0, 1, 2]


def test_pickled_pixels_contain_no_rows(folder: Path) -> None:
    found = open_images(
        folder / "images",
        folder / "labels.txt",
        **SETTINGS | {"image_size": 64, "store": RowStore(folder / "cache", 10**9)},
    )
    sent = pickle.dumps(found.pixels)
    assert len(sent) < 2000 < found.pixels[:].nbytes
    assert (pickle.loads(sent)[:] == found.pixels[:]).all()


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="requires the sample data in ../shared/data")
def test_sample_images(tmp_path: Path) -> None:
    """The first and some unusual ones of the sample photographs."""
    lines = (REAL_DATA / "aimonk" / "labels.txt").read_text().splitlines()
    odd = {489, 624, 875, 43, 111, 534}  # missing, missing, missing, RGBA PNG, RGBA PNG, greyscale
    rows = [line for i, line in enumerate(lines) if i < 20 or i in odd]
    (tmp_path / "labels.txt").write_text("\n".join(rows))
    images, labels = REAL_DATA / "aimonk" / "images", tmp_path / "labels.txt"
    store = RowStore(tmp_path / "cache", 10**9)
    settings = SETTINGS | {"unreadable": "error", "image_size": 32, "store": store}
    found = open_images(images, labels, **settings)
    assert found.missing == ["image_489.jpg", "image_624.jpg", "image_875.jpg"]
    assert len(found) == 23 and len(found.unlisted) == 972 - 23
    grey = found.pixels[found.table.names.index("image_534.jpg")]
    assert (grey[..., :1] == grey).all()
    assert (found.pixels[:].reshape(23, -1).std(axis=1) > 10).all()
