"""The labelled images of a data set: a label file joined with an images folder."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aimonk.data.images.decoding import RESIZES
from aimonk.data.images.folder import (
    decode_all,
    find_images,
    fingerprints,
    list_images,
    open_hashes,
    open_pixels,
)
from aimonk.data.images.hashes import Hashes, split_rows
from aimonk.data.labels import LabelTable, value_warnings
from aimonk.data.store.row_store import RowStore, StoredRows
from aimonk.files.text import listed, plural

Sources = Sequence[Any]  # paths, or other images that `decode` accepts

log = logging.getLogger(__name__)


@dataclass
class Found:
    """Labelled images that exist; attributes as of ImageSet."""

    file_table: LabelTable
    table: LabelTable
    paths: Sources
    keys: list[str]
    missing: list[str]
    unlisted: list[str]
    shards: np.ndarray | None = None


@dataclass
class ImageSet:
    """The labelled images that exist and can be decoded.

    Attributes:
        table: Labels, N rows.
        paths: Files, or images inside shards, N.
        stored: Pixels of all rows of the label file that have an image; None where they are not stored.
        keys: Fingerprints of the files, N.
        hashes: Hashes of the images, N.
        missing: Names of rows without an image.
        unreadable: Name -> reason, for images that cannot be decoded.
        unlisted: Names of images without a row.
        file_table: All rows of the label file.
        shards: Number of the shard of each image, [N]; None for files.
    """

    table: LabelTable
    paths: Sources
    stored: StoredRows | None = field(repr=False)
    keys: list[str] = field(repr=False)
    hashes: Hashes = field(repr=False)
    missing: list[str]
    unreadable: dict[str, str]
    unlisted: list[str]
    file_table: LabelTable = field(repr=False)
    shards: np.ndarray | None = field(repr=False)
    _rows: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def files(self) -> list[Path] | None:
        """The image files; None where images are inside shards."""
        return self.paths if self.shards is None else None

    @property
    def pixels(self) -> "StoredSubset | Sources":
        """Decoded images [N, size, size, 3], or the files where decoded images are not stored."""
        return self.paths if self.stored is None else StoredSubset(self.stored.array, self._rows)


class StoredSubset:
    """Rows of a stored array, read when indexed."""

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
        # another process maps the file again instead of receiving all rows
        if isinstance(self.array, np.memmap):
            return _map_subset, (self.array.filename, self.dtype, self.array.shape, self.rows)
        return StoredSubset, (self.array, self.rows)


def _map_subset(file: Path, dtype: np.dtype, shape: tuple[int, ...], rows: np.ndarray) -> StoredSubset:
    return StoredSubset(np.memmap(file, dtype, "r", shape=shape), rows)


def open_images(
    images: Path,
    labels: Path,
    *,
    read: Callable[[Path, Path], LabelTable],
    missing: str,
    unreadable: str,
    follow_links: bool,
    image_size: int,
    resize: str,
    store: RowStore | None,
    watch: Callable,
    check: Callable[[LabelTable], object] = lambda table: None,
) -> ImageSet:
    """Read the labels and decode or check every image.

    Args:
        read: Reads the labels, called with `labels` and `images`.
        missing: `skip` or `error`: handling of rows whose image does not exist.
        unreadable: `skip` or `error`: handling of images that cannot be decoded.
        store: Store of decoded images; None decodes them now, and again whenever they are used.
        watch: Wraps an iterator to show progress; called with (iterator, total, title).
        check: Called with the labels before any image is read; may raise ValueError.

    Raises:
        FileNotFoundError: The label file, the folder or an image does not exist.
        ValueError: Errors in the labels, unreadable images, or no usable image.
    """
    check_settings(image_size, resize, missing, unreadable)
    file_table = table = read(labels, images)
    check(table)
    unlisted = sorted(set(list_images(images)) - set(table.names))
    exists = find_images(images, table.names, follow_links)
    table, absent = drop_missing(table, exists, f"{images.absolute()}", f"{labels.absolute()}", missing)
    if unlisted:
        log.info("%s without a row in %s", plural(len(unlisted), "image"), labels)
    paths = [images / name for name in table.names]
    # taken before decoding: the pixels of a file that changes meanwhile are never found under its new key
    found = Found(file_table, table, paths, fingerprints(paths), absent, unlisted)
    return read_images(found, unreadable, image_size, resize, store, watch)


def check_settings(image_size: int, resize: str, missing: str, unreadable: str) -> None:
    """Reject settings of the images; arguments as of `open_images`.

    Raises:
        ValueError: A setting is invalid.
    """
    _check_choice("data.resize", resize, RESIZES)
    _check_choice("data.missing", missing, ("skip", "error"))
    _check_choice("data.unreadable", unreadable, ("skip", "error"))
    if not isinstance(image_size, int) or not 8 <= image_size <= 4096:
        raise ValueError(f"data.image_size is {image_size!r}; expected 8 to 4096 pixels")


def read_images(
    found: Found, unreadable: str, image_size: int, resize: str, store: RowStore | None, watch: Callable
) -> ImageSet:
    """Decode or check every image; arguments as of `open_images`.

    Raises:
        ValueError: Unreadable images, or no usable image.
    """
    table, paths, keys, shards = found.table, found.paths, found.keys, found.shards
    stored, hashed = _read_images(store, paths, keys, image_size, resize, watch)
    errors = hashed.errors
    reasons = {table.names[row]: errors[row] for row in sorted(errors)}
    if reasons:
        shown = listed([f"{name} ({reason})" for name, reason in reasons.items()])
        message = f"cannot read {plural(len(reasons), 'image')}: {shown}"
        if unreadable == "error":
            raise ValueError(f"{message}; data.unreadable=skip skips them")
        if len(reasons) == len(table):
            raise ValueError(message)
        log.warning("%s; skipped", message)
    rows = np.array([row for row in range(len(table)) if row not in errors], dtype=np.int64)
    table = table.take(rows)
    for warning in value_warnings(table):
        log.warning("%s", warning)
    paths, keys = [paths[i] for i in rows], [keys[i] for i in rows]
    hashes = split_rows(hashed.array[rows])
    shards = None if shards is None else shards[rows]
    lists = (found.missing, reasons, found.unlisted, found.file_table)
    return ImageSet(table, paths, stored, keys, hashes, *lists, shards, rows)


def drop_missing(
    table: LabelTable, exists: np.ndarray, place: str, source: str, missing: str
) -> tuple[LabelTable, list[str]]:
    """The rows whose image exists, and the names of the others.

    Args:
        exists: Whether each row has an image, bool [N].
        place: Where the images are expected, for errors.
        source: Where the rows are, for errors.
        missing: As of `open_images`.

    Raises:
        FileNotFoundError: No image exists, or some do not and `missing` is `error`.
    """
    absent = [name for name, found in zip(table.names, exists, strict=True) if not found]
    if absent and (missing == "error" or len(absent) == len(table)):
        rows = f"{len(absent)} of {plural(len(table), 'row')} of {source}"
        fix = "; data.missing=skip skips them" if len(absent) < len(table) else ""
        raise FileNotFoundError(f"no image in {place} for {rows}: {listed(absent)}{fix}")
    if absent:
        log.warning("skipping %s without an image: %s", plural(len(absent), "row"), listed(absent))
    return table.take(np.flatnonzero(exists)), absent


def _read_images(
    store: RowStore | None, paths: list[Path], keys: list[str], size: int, resize: str, watch: Callable
) -> tuple[StoredRows | None, StoredRows]:
    """Decoded images, None where they are not stored, and rows of hashes with the errors."""
    stored = open_pixels(store, paths, keys, size, resize, watch) if store is not None else None
    hashes = open_hashes(store, paths, keys, size, resize, stored, watch)
    if stored is not None:
        count, reused = plural(len(paths), "image"), len(paths) - stored.computed
        log.info("%s: %d decoded, %d reused", count, stored.computed, reused)
    elif store is not None:
        log.warning(
            "decoded images need %.3g GB and exceed data.store_limit_gb=%g or the free disk space: "
            "each pass over the files decodes them again, about %.3g s",
            len(paths) * size**2 * 3 / 1e9,
            store.limit_bytes / 1e9,
            _decoding_seconds(paths, size, resize),
        )
    return stored, hashes


def _decoding_seconds(paths: list[Path], size: int, resize: str) -> float:
    """Seconds that decoding all files takes, from a sample of 32."""
    rows = np.linspace(0, len(paths) - 1, min(32, len(paths))).astype(int)
    started = time.perf_counter()
    for _ in decode_all(paths, size, resize, rows):
        pass
    return (time.perf_counter() - started) * len(paths) / len(rows)


def _check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; expected {', '.join(allowed)}")
