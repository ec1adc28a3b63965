"""A label file and an images folder brought together: what can be used, and what is wrong with the rest."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from aimonk.data.images.decoding import RESIZES
from aimonk.data.images.folder import decode_all, find_images, fingerprints, list_images, open_pixels
from aimonk.data.labels import LabelTable, read_labels, warn_about_values
from aimonk.data.store.row_store import RowStore, StoredRows
from aimonk.files.text import listed

log = logging.getLogger(__name__)


@dataclass
class ImageSet:
    """The labelled images that can be read.

    Attributes:
        table: Their labels, N rows.
        paths: Their files, N.
        stored: Their pixels, where the store holds them.
        keys: What the pixels of each depend on, N.
        missing: Names of rows without an image.
        unreadable: Name -> reason, of rows whose image cannot be read.
        unlisted: Names of images without a row.
        file_table: All rows of the label file.
    """

    table: LabelTable
    paths: list[Path]
    stored: StoredRows | None = field(repr=False)
    keys: list[str] = field(repr=False)
    missing: list[str]
    unreadable: dict[str, str]
    unlisted: list[str]
    file_table: LabelTable = field(repr=False)
    _rows: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def pixels(self) -> "StoredSubset | list[Path]":
        """Decoded images [N, size, size, 3], or the files where these are not stored."""
        return self.paths if self.stored is None else StoredSubset(self.stored.array, self._rows)


class StoredSubset:
    """Some rows of a stored array, fetched when asked for."""

    def __init__(self, array: np.ndarray, rows: np.ndarray):
        self.array = array
        self.rows = rows
        self.dtype = array.dtype
        self.shape = (len(rows), *array.shape[1:])
        self.ndim = array.ndim

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index) -> np.ndarray:
        return self.array[self.rows[index]]

    def __reduce__(self):
        # a process that is sent this maps the file again, where it would be sent all rows
        if isinstance(self.array, np.memmap):
            return _map_subset, (self.array.filename, self.dtype, self.array.shape, self.rows)
        return StoredSubset, (self.array, self.rows)


def _map_subset(file: Path, dtype: np.dtype, shape: tuple[int, ...], rows: np.ndarray) -> StoredSubset:
    return StoredSubset(np.memmap(file, dtype, "r", shape=shape), rows)


def open_images(
    images: Path,
    labels: Path,
    attributes: Sequence[str] | None,
    missing: str,
    unreadable: str,
    follow_links: bool,
    image_size: int,
    resize: str,
    store: RowStore | None,
    watch: Callable,
) -> ImageSet:
    """Read the labels and see to it that every image can be decoded.

    Args:
        missing: `skip` or `error`: what to do with rows whose image does not exist.
        unreadable: `skip` or `error`: what to do with images that cannot be read.
        store: Where decoded images are kept; None decodes them now to check them, and again when needed.
        watch: Wraps a sequence to show progress; called with (iterable, total, title).

    Raises:
        FileNotFoundError: The label file, the folder, or an image is not there.
        ValueError: Mistakes in the labels, unreadable images, or nothing left.
    """
    _check_choice("data.resize", resize, RESIZES)
    _check_choice("data.missing", missing, ("skip", "error"))
    _check_choice("data.unreadable", unreadable, ("skip", "error"))
    if not isinstance(image_size, int) or not 8 <= image_size <= 4096:
        raise ValueError(f"data.image_size is {image_size!r}; expected 8 to 4096 pixels")
    file_table = table = read_labels(labels, attributes)
    unlisted = sorted(set(list_images(images)) - set(table.names))
    table, absent = _drop_missing(table, images, labels, missing, follow_links)
    if unlisted:
        log.info("%d images have no row in %s", len(unlisted), labels)
    paths = [images / name for name in table.names]
    # taken before decoding: what belongs to a file that changes meanwhile is then never found again
    keys = fingerprints(paths)
    stored, errors = _read_images(store, paths, image_size, resize, watch)
    bad = {table.names[i]: errors[i] for i in sorted(errors)}
    if bad:
        told = f"{len(bad)} images cannot be read: {listed([f'{name} ({why})' for name, why in bad.items()])}"
        if unreadable == "error":
            raise ValueError(f"{told}; data.unreadable=skip leaves them out")
        if len(bad) == len(table):
            raise ValueError(told)
        log.warning("%s; they are skipped", told)
    rows = np.array([i for i in range(len(table)) if i not in errors], dtype=np.int64)
    table = table.take(rows)
    warn_about_values(table)
    paths, keys = [paths[i] for i in rows], [keys[i] for i in rows]
    return ImageSet(table, paths, stored, keys, absent, bad, unlisted, file_table, rows)


def _drop_missing(
    table: LabelTable, images: Path, labels: Path, missing: str, follow_links: bool
) -> tuple[LabelTable, list[str]]:
    """The rows whose image exists, and the names of the others."""
    there = find_images(images, table.names, follow_links)
    absent = [name for name, ok in zip(table.names, there, strict=True) if not ok]
    if absent and (missing == "error" or len(absent) == len(table)):
        rows = f"{len(absent)} of {len(table)} rows of {labels.absolute()}"
        way_out = "; data.missing=skip leaves them out" if len(absent) < len(table) else ""
        raise FileNotFoundError(f"{rows} have no image in {images.absolute()}: {listed(absent)}{way_out}")
    if absent:
        log.warning("%d rows have no image and are skipped: %s", len(absent), listed(absent))
    return table.take(np.flatnonzero(there)), absent


def _read_images(
    store: RowStore | None, paths: list[Path], size: int, resize: str, watch: Callable
) -> tuple[StoredRows | None, dict[int, str]]:
    """Decoded images where they can be stored, and why those cannot be read that cannot."""

    def show(results, total):
        return watch(results, total, "images")

    stored = open_pixels(store, paths, size, resize, show) if store is not None else None
    if stored is not None:
        reused = len(paths) - stored.computed
        log.info("%d images: %d decoded, %d reused", len(paths), stored.computed, reused)
        return stored, stored.errors
    if store is not None:
        log.info("decoded images are not stored: more than data.store_limit_gb, or than the disk takes")
    results = decode_all(paths, size, resize, np.arange(len(paths)), show)
    return None, {row: reason for row, reason in results if isinstance(reason, str)}


def _check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; expected {', '.join(allowed)}")
