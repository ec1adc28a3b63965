import gc
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from aimonk.data.augmentation import flip
from aimonk.data.dataset import StoredSubset
from aimonk.data.images import folder
from aimonk.data.images.decoding import decode
from aimonk.data.images.folder import fingerprints
from aimonk.data.images.hashes import hash_image
from aimonk.data.images.jpeg import pack, unpack
from aimonk.data.images.storage import ImageFiles, open_pixels, store_images
from aimonk.data.loading import Pixels
from aimonk.data.store.row_store import RowStore
from aimonk.runtime.progress import unwatched

N, SIZE = 12, 32
ROW = SIZE**2 * 3 + 4


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Images of smooth noise; the file of image 10 is broken."""
    rng = np.random.default_rng(0)
    found = [tmp_path / f"{i:02d}.png" for i in range(N)]
    for path in found:
        small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        small.resize((40, 50), Image.Resampling.BILINEAR).save(path)
    found[10].write_bytes(b"<html>")
    return found


def files_of(paths: list[Path], quality: int | None = None) -> ImageFiles:
    return ImageFiles(paths, fingerprints(paths), SIZE, "squash", quality)


def seen(path: Path, quality: int) -> np.ndarray:
    """What the model sees of an image."""
    return unpack(pack(decode(path, SIZE, "squash"), quality))


@pytest.mark.parametrize("gigabytes", [1, 5000 / 1e9, 0], ids=["all", "some", "none"])
def test_all_images_pass_through_jpeg(paths: list[Path], tmp_path: Path, gigabytes: float) -> None:
    """Stored or not, so that the pixels do not depend on how many fit."""
    for _ in range(2):
        store = RowStore(tmp_path / "cache", round(gigabytes * 1e9))
        stored, hashes = store_images(store, files_of(paths, 70), False, unwatched)
        assert (
            not stored.array.is_mapped
            and {1: N, 0: 0}.get(gigabytes, stored.array.stored) == stored.array.stored
        )
        pixels, errors = stored.array.read(np.arange(N))
        assert list(errors) == [10] and list(hashes.errors) == [10]
        for i in (0, 5, 11):
            assert (pixels[i] == seen(paths[i], 70)).all()
            assert (hashes.array[i] == hash_image(pixels[i])).all()
        sent = pickle.loads(pickle.dumps(stored.array))
        assert (sent[[0, 11]] == pixels[[0, 11]]).all()
        gc.collect()


def test_quality_is_a_part_of_the_key(paths: list[Path], tmp_path: Path) -> None:
    store = RowStore(tmp_path / "cache", 10**9)
    error, size = [], []
    for quality in (30, 95):
        files = files_of(paths, quality)
        stored = open_pixels(store, files, False, unwatched)
        assert stored.computed == N
        error.append(np.abs(stored.array[0].astype(int) - decode(paths[0], SIZE, "squash")).mean())
        size.append(files.mean_bytes(quality))
    assert error[0] > error[1] > 0 and size[0] < size[1] < files_of(paths).mean_bytes(None) == 3 * SIZE**2
    assert open_pixels(store, files_of(paths), False, unwatched).computed == N


def test_part_of_the_images_is_stored(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    store = RowStore(tmp_path / "cache", 11_000 + 4 * ROW)  # the hashes take 9.5 kB with their index
    for _ in range(2):
        stored, hashes = store_images(store, files_of(paths), False, unwatched)
        count = stored.array.stored  # depends on the length of the paths in the index of the hashes
        assert 2 < count < 6 and list(hashes.errors) == [10]
    assert (stored.computed, hashes.computed) == (0, 0)
    (_, record) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert record.message.startswith("decoded images need 3.69e-05 GB and exceed data.store_limit_gb=2.")
    cost = f": {count} of 12 are stored, and each pass decodes the others again, about "
    assert cost in record.message
    assert record.message.endswith("; data.store_quality=90 stores JPEG files, of which 12 fit")
    decoded = []
    monkeypatch.setattr(
        folder, "decode", lambda path, *_: decoded.append(path) or decode(path, SIZE, "squash")
    )
    load = Pixels(StoredSubset(stored.array, np.arange(N)), flip(), SIZE, "squash")
    rows = torch.tensor([2, 9, 10])
    images, available = load(rows, torch.zeros_like(rows))
    assert decoded == [paths[9], paths[10]] and available.tolist() == [True, True, False]
    assert (images[1].permute(1, 2, 0).numpy() == decode(paths[9], SIZE, "squash")).all()


def test_nothing_is_stored_where_only_all_are_useful(paths: list[Path], tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.INFO)
    store = RowStore(tmp_path / "cache", 11_000 + 4 * ROW)
    stored, hashes = store_images(store, files_of(paths), True, unwatched)
    assert stored is None and hashes.computed == N
    assert "none are stored, since stored features replace them" in caplog.text
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    gc.collect()
    roomy = RowStore(tmp_path / "cache", 10**9)
    assert store_images(roomy, files_of(paths), True, unwatched)[0].computed == N
