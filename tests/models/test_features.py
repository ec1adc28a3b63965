from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aimonk.data.store.row_store import RowStore
from aimonk.models.backbones import Backbone
from aimonk.models.classifier import Classifier
from aimonk.models.features import BATCH, FeatureSource, StoredFeatures

N, SIZE = 3 * BATCH + 7, 8


@pytest.fixture
def classifier() -> Classifier:
    torch.manual_seed(0)
    stages = {"low": nn.Conv2d(3, 4, 3), "high": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())}
    return Classifier(Backbone("test", "tiny", stages, 4, (0.5,) * 3, (0.25,) * 3), 2).eval()


class Images:
    """Random images, flipped in view 1, and a record of what was asked for."""

    def __init__(self):
        self.images = torch.from_numpy(
            np.random.default_rng(0).integers(0, 256, (N, 3, SIZE, SIZE), np.uint8)
        )
        self.asked: list[tuple[int, int]] = []
        self.lost: set[int] = set()

    def __call__(self, rows: Tensor, views: Tensor) -> tuple[Tensor, Tensor]:
        self.asked += zip(rows.tolist(), views.tolist(), strict=True)
        images = torch.where(views[:, None, None, None] == 1, self.images[rows].flip(-1), self.images[rows])
        return images, torch.tensor([row not in self.lost for row in rows.tolist()])


class Touchy:
    """An engine whose outputs depend, in the last bits, on how many images go through it at once."""

    def __init__(self, prefix: nn.Module, stop_after: int | None = None):
        self.prefix = prefix
        self.left = stop_after

    def __call__(self, images: Tensor) -> Tensor:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left = None if self.left is None else self.left - 1
        return self.prefix(images) * (1 + 1e-6 * len(images))


def source(images: Images, folder: Path, keys: list[str] | None = None, views: int = 2) -> FeatureSource:
    store = RowStore(folder, 10**9)
    keys = keys or [f"image {i}" for i in range(N)]
    return FeatureSource(images, keys, views, "flip", store, "float32", lambda it, total, title: it)


def compute(
    feature_source: FeatureSource, classifier: Classifier, stop_after: int | None = None
) -> StoredFeatures:
    engine = lambda prefix, example: Touchy(prefix, stop_after)  # noqa: E731
    return feature_source.open(classifier, 1, engine, torch.device("cpu"))


def test_features_are_outputs_of_the_prefix(classifier: Classifier, tmp_path: Path) -> None:
    images = Images()
    stored = compute(source(images, tmp_path), classifier)
    rows, views = torch.tensor([0, 5, N - 1, 5]), torch.tensor([0, 1, 1, 0])
    features, there = stored(rows, views)
    with torch.no_grad():
        expected = classifier.prefix(1)(images(rows, views)[0])
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)
    assert there.all() and features.is_contiguous(memory_format=torch.channels_last)


def test_interrupted_computation_resumes_bit_for_bit(classifier: Classifier, tmp_path: Path) -> None:
    complete = compute(source(Images(), tmp_path / "complete"), classifier).array[:]
    with pytest.raises(KeyboardInterrupt):
        compute(source(Images(), tmp_path / "cut"), classifier, stop_after=3)
    images = Images()
    cut = compute(source(images, tmp_path / "cut"), classifier).array[:]
    assert (cut == complete).all()


@pytest.mark.parametrize("changed", [0, BATCH + 3, N - 1])
def test_only_changed_images_are_computed_again(classifier: Classifier, tmp_path: Path, changed: int) -> None:
    before = compute(source(Images(), tmp_path), classifier).array[:]
    keys = [f"image {i}" for i in range(N)]
    keys[changed] += ", changed"
    images = Images()
    images.images[changed] = 255 - images.images[changed]
    after = compute(source(images, tmp_path, keys), classifier).array[:]
    assert len(set(images.asked)) <= 2 * BATCH + 1  # the block of each view, and the example
    places = np.array([changed, N + changed])
    assert (after[places] != before[places]).reshape(2, -1).any(axis=1).all()
    others = np.delete(np.arange(2 * N), places)
    assert (after[others] == before[others]).all()
    assert (after == compute(source(images, tmp_path / "anew", keys), classifier).array).all()


def test_features_are_computed_once(classifier: Classifier, tmp_path: Path, caplog) -> None:
    caplog.set_level("INFO")
    first = compute(source(Images(), tmp_path), classifier).array[:]
    images = Images()
    assert (compute(source(images, tmp_path), classifier).array[:] == first).all()
    assert set(images.asked) == {(0, 0)}  # the example
    assert [f"{2 * N} computed, 0 reused" in caplog.text, f"0 computed, {2 * N} reused" in caplog.text] == [
        True
    ] * 2
    with torch.no_grad():
        classifier.stages["low"].weight += 0.1
    assert not (compute(source(images, tmp_path), classifier).array[:] == first).all()


def test_damaged_features_are_computed_again(classifier: Classifier, tmp_path: Path, caplog) -> None:
    expected = compute(source(Images(), tmp_path), classifier).array[:]
    (file,) = tmp_path.glob("*/*/rows.bin")
    content = bytearray(file.read_bytes())
    size, damaged = len(content) // (2 * N), (11, 12)  # rows that are not verified when the set is opened
    for row in damaged:
        content[row * size + 3] ^= 4
    file.write_bytes(content)
    images = Images()
    stored = compute(source(images, tmp_path), classifier)
    assert set(images.asked) == {(0, 0)} and "damaged" not in caplog.text
    views = torch.zeros(1, dtype=torch.int64)
    assert (stored.array[11] == expected[11]).all() and "damaged" in caplog.text
    assert set(images.asked) == {(row, 0) for row in range(BATCH)}  # the block of the row
    with torch.no_grad():
        classifier.stages["low"].weight += 0.1  # trained since
    with pytest.raises(ValueError, match="stored features are damaged; run the command again"):
        stored(torch.tensor([12]), views)


def test_unreadable_images_are_marked(classifier: Classifier, tmp_path: Path) -> None:
    images = Images()
    images.lost = {4}
    stored = compute(source(images, tmp_path), classifier)
    assert stored(torch.tensor([3, 4, 4]), torch.tensor([0, 0, 1]))[1].tolist() == [True, False, False]


def test_keys_of_rows_and_views_do_not_change(tmp_path: Path) -> None:
    # stored features of earlier runs are found by these
    store = RowStore(tmp_path, 0)
    source = FeatureSource(lambda rows, views: None, ["a", "b"], 3, "{'f': 1}", store, "auto", iter)
    keys = ["a\x000", "b\x000", "a\x00{'f': 1} 1", "b\x00{'f': 1} 1", "a\x00{'f': 1} 2", "b\x00{'f': 1} 2"]
    assert source.row_keys() == keys
