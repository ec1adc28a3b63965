import multiprocessing
import os
import pickle
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from aimonk.data import loading
from aimonk.data.augmentation import FixedViews, flip, none, trivial
from aimonk.data.dataset import StoredSubset
from aimonk.data.images.folder import fingerprints
from aimonk.data.images.storage import ImageFiles, open_pixels
from aimonk.data.loading import Pixels, Rows, create_loader, iterate
from aimonk.data.sampling import PADDING, Batch, BatchList, plan_epoch, split_batches
from aimonk.data.store.row_store import RowStore
from aimonk.data.store.stored_array import StoredArray
from aimonk.runtime.progress import unwatched

N, SIZE = 13, 16


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (N, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture
def files(pixels: np.ndarray, tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{i}.png" for i in range(N)]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image).save(path)
    return paths


@pytest.fixture
def stored(files: list[Path], tmp_path: Path) -> StoredArray:
    """The decoded images of the files, in a store."""
    store = RowStore(tmp_path / "cache", 10**9)
    source = ImageFiles(files, fingerprints(files), SIZE, "squash", None)
    return open_pixels(store, source, False, unwatched).array


def table() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return (rng.random((N, 2)) < 0.5).astype(np.float32), rng.random((N, 2)) < 0.7


def epoch(views: int | None, number: int = 1) -> list[Batch]:
    order = plan_epoch(np.arange(N), None, views, seed=0, epoch=number)
    return split_batches(*order, table()[1], batch_size=4, accumulate=1, rank=0, world=1)


def load(load_inputs, batches: list[list[Batch]], workers: int) -> list[list[tuple[Tensor, ...]]]:
    """The batches of some epochs, from one loader."""
    listed = BatchList()
    loader = create_loader(Rows(load_inputs, *table()), listed, workers, pin_memory=False)
    epochs = []
    for listed.batches in batches:
        epochs.append([tuple(t.clone() for t in batch) for batch in loader])
    return epochs


def same(first: tuple, second: tuple) -> bool:
    return all((a == b).all() and a.dtype == b.dtype for a, b in zip(first, second, strict=True))


def test_pixels_from_rows_equal_those_from_files(pixels: np.ndarray, files: list[Path], stored) -> None:
    rows, views = torch.tensor([3, 0, 12]), torch.tensor([1, 0, 1])
    expected = torch.from_numpy(pixels[[3, 0, 12]]).permute(0, 3, 1, 2)
    for images in (pixels, files, StoredSubset(stored, np.arange(N))):
        plain, available = Pixels(images, none(), SIZE, "squash")(rows, views)
        assert (plain == expected).all() and plain.dtype == torch.uint8 and available.all()
        assert plain.is_contiguous(memory_format=torch.channels_last)
        flipped, _ = Pixels(images, flip(), SIZE, "squash")(rows, views)
        assert (flipped[[0, 2]] == expected[[0, 2]].flip(-1)).all() and (flipped[1] == expected[1]).all()


def test_files_are_resized(files: list[Path]) -> None:
    images, _ = Pixels(files, none(), 24, "pad")(torch.tensor([1]), torch.tensor([0]))
    assert images.shape == (1, 3, 24, 24)


def test_vanished_files_are_skipped(files: list[Path], caplog: pytest.LogCaptureFixture) -> None:
    files[1].unlink()
    files[2].write_bytes(files[2].read_bytes()[:60])
    load_inputs = Pixels(files, none(), SIZE, "squash")
    images, available = load_inputs(torch.tensor([0, 1, 2, 3]), torch.zeros(4, dtype=torch.int64))
    assert available.tolist() == [True, False, False, True]
    assert images[0].any() and not images[1].any() and images.shape == (4, 3, SIZE, SIZE)
    assert [str(files[i]) in record.message for i, record in enumerate(caplog.records, 1)] == [True, True]
    assert "No such file or directory; skipping it from now on" in caplog.records[0].message
    load_inputs(torch.tensor([1, 2, 3]), torch.zeros(3, dtype=torch.int64))
    assert len(caplog.records) == 2  # one warning per file
    labels, mask = table()
    mask[:4] = True
    (batch,) = [Rows(load_inputs, labels, mask).__getitems__([(i, 0) for i in range(4)])]
    assert batch[2].tolist() == [[True, True], [False, False], [False, False], [True, True]]
    assert batch[3].tolist() == [True, False, False, True]


def test_rows(pixels: np.ndarray) -> None:
    labels, mask = table()
    rows = Rows(Pixels(pixels, none(), SIZE, "squash"), labels, mask)
    assert len(rows) == N
    inputs, y, m, available = rows.__getitems__([(5, 0), (PADDING, 0), (7, 0)])
    assert inputs.shape == (3, 3, SIZE, SIZE)
    assert (y[[0, 2]].numpy() == labels[[5, 7]]).all() and (m[[0, 2]].numpy() == mask[[5, 7]]).all()
    assert not m[1].any() and available.tolist() == [True, False, True]  # padding has no effect
    assert y.dtype == torch.float32 and m.dtype == torch.bool


@pytest.mark.parametrize("augmentation", [none(), flip(), trivial(), FixedViews(trivial(), 3)])
def test_workers_do_not_change_batches(pixels: np.ndarray, augmentation) -> None:
    load_inputs = Pixels(pixels, augmentation, SIZE, "squash")
    epochs = [epoch(augmentation.views, number) for number in (1, 2)]
    torch.manual_seed(0)
    alone = load(load_inputs, epochs, workers=0)
    torch.manual_seed(1)
    shared = load(load_inputs, epochs, workers=2)
    assert [len(batches) for batches in alone] == [4, 4]
    for first, second in zip(alone, shared, strict=True):
        assert all(same(a, b) for a, b in zip(first, second, strict=True))
    assert not all(same(a, b) for a, b in zip(*alone, strict=True))  # epochs differ
    # an epoch does not depend on the one before
    (again,) = load(load_inputs, epochs[1:], workers=0)
    assert all(same(a, b) for a, b in zip(again, alone[1], strict=True))


def test_workers_read_files(pixels: np.ndarray, files: list[Path]) -> None:
    from_files = load(Pixels(files, flip(), SIZE, "squash"), [epoch(2)], workers=2)[0]
    from_rows = load(Pixels(pixels, flip(), SIZE, "squash"), [epoch(2)], workers=0)[0]
    assert all(same(a, b) for a, b in zip(from_files, from_rows, strict=True))


def test_rows_can_be_pickled(stored: StoredArray) -> None:
    for augmentation in (none(), flip(), trivial(), FixedViews(trivial(), 3)):
        rows = Rows(Pixels(StoredSubset(stored, np.arange(N)), augmentation, SIZE, "squash"), *table())
        keys = [(3, 0), (4, 1)]
        sent = pickle.loads(pickle.dumps(rows))
        assert same(sent.__getitems__(keys), rows.__getitems__(keys))


class Deadly:
    """Kills the process that loads row 5, as the kernel does when memory is exhausted."""

    def __call__(self, rows: Tensor, views: Tensor) -> tuple[Tensor, Tensor]:
        if (rows == 5).any() and multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return rows[:, None].float(), torch.ones(len(rows), dtype=torch.bool)


def test_killed_worker_is_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"killed|exited unexpectedly"):
        load(Deadly(), [epoch(1)], workers=2)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError("reset by peer"),
        EOFError(),
        RuntimeError("Pin memory thread exited unexpectedly"),
    ],
)
def test_batch_of_a_dead_worker_is_an_error(monkeypatch, error: Exception) -> None:
    def batches() -> Iterator[int]:
        yield 1
        raise error

    monkeypatch.setattr(loading.time, "sleep", lambda seconds: None)
    loader = iterate(batches())
    assert next(loader) == 1
    with pytest.raises(RuntimeError, match=f"^DataLoader worker died: {error or 'EOFError'}$"):
        next(loader)


def test_worker_errors_keep_their_type(pixels: np.ndarray) -> None:
    def fail(images: Tensor, views: Tensor) -> Tensor:
        raise FloatingPointError("broken")

    with pytest.raises(FloatingPointError, match="broken"):
        load(Pixels(pixels, fail, SIZE, "squash"), [epoch(1)], workers=1)


@pytest.mark.slow
def test_open_files_stay_bounded(pixels: np.ndarray) -> None:
    listed = BatchList()
    listed.batches = epoch(2)
    loader: DataLoader = create_loader(
        Rows(Pixels(pixels, flip(), SIZE, "squash"), *table()), listed, 1, pin_memory=False
    )

    def count() -> Iterator[int]:
        for _ in range(6):
            for _batch in loader:
                pass
            yield len(os.listdir("/proc/self/fd"))

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("requires /proc/self/fd")
    first, *later = count()
    assert max(later) <= first + 2
