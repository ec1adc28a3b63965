"""The labelled images of a data set: a label file joined with an images folder."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aimonk.data.images.decoding import RESIZES
from aimonk.data.images.folder import find_images, fingerprints, list_images
from aimonk.data.images.hashes import Hashes, split_rows
from aimonk.data.images.storage import ImageFiles, store_images
from aimonk.data.labels import LabelTable, value_warnings
from aimonk.data.store.row_store import RowStore, StoredRows
from aimonk.data.store.stored_array import StoredArray
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
        stored: Pixels of all rows of the label file that have an image; None where none are stored.
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

    @property
    def is_stored(self) -> bool:
        """Whether loading an image reads no file."""
        return self.stored is not None and self.stored.array.stored == len(self.stored.array)

    @property
    def is_decoded(self) -> bool:
        """Whether loading an image decodes nothing."""
        return self.stored is not None and self.stored.array.is_mapped


class StoredSubset:
    """Rows of a stored array, read when indexed."""

    def __init__(self, array: StoredArray | np.ndarray, rows: np.ndarray):
        self.array = array
        self.rows = rows
        self.dtype = array.dtype
        self.shape = (len(rows), *array.shape[1:])
        self.ndim = array.ndim

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index) -> np.ndarray:
        """Images; a ValueError where one can neither be read nor decoded again."""
        return self.array[self.rows[index]]

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, dict[int, str]]:
        """As `StoredArray.read`."""
        return self.array.read(self.rows[rows])


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
    store_quality: int | None,
    only_all: bool,
    watch: Callable,
    check: Callable[[LabelTable], object] = lambda table: None,
) -> ImageSet:
    """Read the labels and decode or check every image.

    Args:
        read: Reads the labels, called with `labels` and `images`.
        missing: `skip` or `error`: handling of rows whose image does not exist.
        unreadable: `skip` or `error`: handling of images that cannot be decoded.
        store: Store of decoded images; None decodes them now, and again whenever they are used.
        store_quality: Of images stored as JPEG, 1 to 100; None stores pixels.
        only_all: Whether no images are stored where not all fit, instead of the first ones.
        watch: Wraps an iterator to show progress; called with (iterator, total, title).
        check: Called with the labels before any image is read; may raise ValueError.

    Raises:
        FileNotFoundError: The label file, the folder or an image does not exist.
        ValueError: Errors in the labels, unreadable images, or no usable image.
    """
    check_settings(image_size, resize, missing, unreadable, store_quality)
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
    return read_images(found, unreadable, image_size, resize, store, store_quality, only_all, watch)


def check_settings(
    image_size: int, resize: str, missing: str, unreadable: str, store_quality: int | None
) -> None:
    """Reject settings of the images; arguments as of `open_images`.

    Raises:
        ValueError: A setting is invalid.
    """
    _check_choice("data.resize", resize, RESIZES)
    _check_choice("data.missing", missing, ("skip", "error"))
    _check_choice("data.unreadable", unreadable, ("skip", "error"))
    if not isinstance(image_size, int) or not 8 <= image_size <= 4096:
        raise ValueError(f"data.image_size is {image_size!r}; expected 8 to 4096 pixels")
    if store_quality is not None and not 1 <= store_quality <= 100:
        raise ValueError(f"data.store_quality is {store_quality}; expected null or 1 to 100")


def read_images(
    found: Found,
    unreadable: str,
    image_size: int,
    resize: str,
    store: RowStore | None,
    store_quality: int | None,
    only_all: bool,
    watch: Callable,
) -> ImageSet:
    """Decode or check every image; arguments as of `open_images`.

    Raises:
        ValueError: Unreadable images, or no usable image.
    """
    table, paths, keys, shards = found.table, found.paths, found.keys, found.shards
    files = ImageFiles(paths, keys, image_size, resize, None if store is None else store_quality)
    stored, hashed = store_images(store, files, only_all, watch)
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
    hashes = split_rows(hashed.array[rows] if errors else hashed.array[:])  # a slice copies nothing
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


def _check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; expected {', '.join(allowed)}")
