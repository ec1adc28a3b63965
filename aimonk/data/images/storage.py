"""Decoded images and their hashes in a store, and what it costs where not all images fit."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from aimonk.data.images.folder import decode_all, in_threads
from aimonk.data.images.hashes import BYTES, hash_image
from aimonk.data.images.hashes import CODE_VERSION as HASH_VERSION
from aimonk.data.images.jpeg import pack, unpack
from aimonk.data.store.row_set import RowFormat
from aimonk.data.store.row_store import RowStore, StoredRows
from aimonk.data.store.stored_array import Row, StoredArray
from aimonk.files.text import plural

SAFETY = 1.1  # images of a data set may be larger as JPEG than those of a sample
RECOMMENDED_QUALITY = 90

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageFiles:
    """Image files, and what their pixels depend on.

    Attributes:
        paths: Files, N.
        keys: Their fingerprints, taken before they are decoded.
        size, resize: As for `decode`.
        quality: Of the JPEG files that are stored instead of pixels, 1 to 100; None stores pixels. All images
            pass through JPEG then, stored or not, so that pixels do not depend on how many fit.
    """

    paths: Sequence[Path]
    keys: Sequence[str]
    size: int
    resize: str
    quality: int | None

    def decode(self, rows: np.ndarray, **options) -> Iterator[Row]:
        """As `decode_all`."""
        return decode_all(self.paths, self.size, self.resize, rows, **options)

    def sample(self) -> np.ndarray:
        """Rows of up to 32 files that stand for all."""
        return np.linspace(0, len(self.paths) - 1, min(32, len(self.paths))).astype(int)

    def mean_bytes(self, quality: int | None) -> float:
        """Mean size of an image as JPEG, from the sample, or of its pixels."""
        if quality is None:
            return 3 * self.size**2
        packed = self.decode(self.sample(), convert=partial(pack, quality=quality))
        sizes = [content.nbytes for _, content in packed if isinstance(content, np.ndarray)]
        return float(np.mean(sizes)) if sizes else 3 * self.size**2


def store_images(
    store: RowStore | None, files: ImageFiles, only_all: bool, watch: Callable
) -> tuple[StoredRows | None, StoredRows]:
    """Decoded images, None where none are stored, and rows of hashes with the errors.

    Args:
        store: None stores nothing.
        only_all: Whether no images are stored where not all fit, instead of the first ones.
        watch: Wraps an iterator to show progress; called with (iterator, total, title).
    """

    @cache
    def pixels() -> StoredRows | None:
        return None if store is None else open_pixels(store, files, only_all, watch)

    hashes = open_hashes(store, files, pixels, watch)
    stored = pixels()
    count = 0 if stored is None else stored.array.stored
    if count:
        reused = count - stored.computed
        log.info("%s: %d decoded, %d reused", plural(count, "image"), stored.computed, reused)
    if store is not None and not store.failed and count < len(files.paths):
        needed = len(files.paths) * files.mean_bytes(files.quality) / 1e9
        limit = f"data.store_limit_gb={store.limit_bytes / 1e9:g} or the free disk space"
        lack = f"decoded images need {needed:.3g} GB and exceed {limit}"
        if only_all:
            log.info("%s: none are stored, since stored features replace them; these decode all files", lack)
        else:
            log.warning("%s: %s", lack, _describe_cost(files, count, store.limit_bytes))
    return stored, hashes


def _describe_cost(files: ImageFiles, stored: int, limit: int) -> str:
    """The cost of storing the first images only, and the remedy."""
    total, rows, started = len(files.paths), files.sample(), time.perf_counter()
    for _ in files.decode(rows):
        pass
    seconds = (time.perf_counter() - started) / len(rows) * (total - stored)
    cost = (
        f"{stored:,} of {total:,} are stored, and each pass decodes the others again, about {seconds:.3g} s"
    )
    if files.quality is not None:
        return cost
    fit = min(total, int(limit / files.mean_bytes(RECOMMENDED_QUALITY)))
    return f"{cost}; data.store_quality={RECOMMENDED_QUALITY} stores JPEG files, of which {fit:,} fit"


def open_pixels(store: RowStore, files: ImageFiles, only_all: bool, watch: Callable) -> StoredRows | None:
    """Decoded images, uint8 [N, size, size, 3]: from the store, or decoded when they are read.

    Arguments as for `store_images`.

    Returns:
        None where nothing is stored and the files can be read as they are.
    """
    settings, form = f"{files.size} {files.resize}", RowFormat((files.size, files.size, 3), "uint8")
    options = {"partial": not only_all, "watch": partial(watch, title="images")}
    compute = partial(decode_all, files.paths, files.size, files.resize)
    if files.quality is None:
        return store.rows(f"pixels {settings}", files.keys, form.shape, form.dtype, compute, **options)
    family = f"jpeg {files.quality} {settings}"
    compute = partial(compute, convert=partial(pack, quality=files.quality))
    options |= {"unpack": unpack, "packed_bytes": lambda: SAFETY * files.mean_bytes(files.quality)}
    found = store.rows(family, files.keys, form.shape, form.dtype, compute, **options)
    form = RowFormat(form.shape, form.dtype, unpack)
    return found or StoredRows(StoredArray(None, form, 0, len(files.keys), compute, {}), {}, 0, None)


def open_hashes(
    store: RowStore | None,
    files: ImageFiles,
    open_pixels: Callable[[], StoredRows | None],
    watch: Callable,
) -> StoredRows:
    """Rows of `hash_image` of the decoded images, uint8 [N, BYTES]; from the store where they fit into it.

    Args:
        open_pixels: Opens the decoded images, once hashes are missing: a store that is too small for both has
            room for the hashes then. None decodes the files, which computing features does once more later.
        watch: Wraps an iterator to show progress; called with (iterator, total, title).
    """

    def compute(rows: np.ndarray) -> Iterator[Row]:
        pixels = open_pixels()
        if pixels is None:
            return files.decode(rows, convert=hash_image)
        return in_threads(partial(hash_row, pixels), rows)

    def hash_row(pixels: StoredRows, row: int) -> Row:
        values, errors = pixels.array.read(np.array([row]))
        return row, errors[0] if errors else hash_image(values[0])

    def show(rows: Iterator[Row], total: int) -> Iterator[Row]:
        return watch(rows, total, "images" if open_pixels() is None else "hashes")

    if store is not None:
        jpeg = "" if files.quality is None else f" jpeg {files.quality}"
        family = f"hashes {HASH_VERSION} {files.size} {files.resize}{jpeg}"
        found = store.rows(family, files.keys, (BYTES,), "uint8", compute, watch=show)
        if found is not None:
            return found
    array, errors = np.zeros((len(files.keys), BYTES), np.uint8), {}
    for row, values in show(compute(np.arange(len(array))), len(array)):
        if isinstance(values, str):
            errors[row] = values
        else:
            array[row] = values
    return StoredRows(array, errors, len(array), None)
