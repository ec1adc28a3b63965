"""The image files of a folder: found, identified, decoded in threads, and stored."""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path

import numpy as np

from aimonk.data.images.decoding import UnavailableError, decode
from aimonk.data.images.hashes import BYTES, hash_image
from aimonk.data.images.hashes import CODE_VERSION as HASH_VERSION
from aimonk.data.images.jpeg import pack, unpack
from aimonk.data.labels import IMAGE_SUFFIXES
from aimonk.data.store.row_set import RowFormat, TransientReason
from aimonk.data.store.row_store import RowStore, StoredRows
from aimonk.data.store.stored_array import Row, StoredArray
from aimonk.files.text import listed, plural

# part of every key; increment it when decoding gives other pixels for the same file
CODE_VERSION = "3"
SAFETY = 1.1  # images of a data set may be larger as JPEG than those of a sample


def find_images(folder: Path, names: Sequence[str], follow_links: bool) -> np.ndarray:
    """Which of the named images exist in the folder, bool [N].

    Args:
        follow_links: Whether symbolic links may point outside the folder.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: Symbolic links point outside the folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no images folder at {folder.absolute()}")
    # strings, since constructing a Path takes as long as asking the system
    base = os.path.join(folder, "")
    exists = np.array([os.path.exists(base + name) for name in names], dtype=bool)
    if follow_links:
        return exists
    root = os.path.join(os.path.realpath(folder), "")

    @cache
    def holds_inside(parent: str) -> bool:
        return os.path.join(os.path.realpath(parent), "").startswith(root)

    def is_inside(name: str) -> bool:
        path = base + name
        if os.path.islink(path):
            return os.path.realpath(path).startswith(root)
        return holds_inside(os.path.dirname(path))

    outside = [name for name, ok in zip(names, exists, strict=True) if ok and not is_inside(name)]
    if outside:
        links = f"{plural(len(outside), 'image')} behind symbolic links to outside {root[:-1]}"
        raise ValueError(f"{links}: {listed(outside)}; data.follow_links=true allows them")
    return exists


def list_images(folder: Path) -> list[str]:
    """Sorted relative paths of the files below a folder that have the suffix of an image format."""
    found = []
    for root, _, files in os.walk(folder):
        images = [f for f in files if os.path.splitext(f)[1].lower() in IMAGE_SUFFIXES]
        within = os.path.relpath(root, folder).replace(os.sep, "/")
        found += images if within == "." else [f"{within}/{f}" for f in images]
    return sorted(found)


def fingerprints(paths: Sequence[Path]) -> list[str]:
    """A key of each file's pixels: version of this code, path, size, times and inode.

    A file replaced by one of equal size and modification time has another inode or change time.
    """
    result, here = [], os.getcwd()
    for path in paths:
        info = os.stat(path)
        state = f"{info.st_size}\0{info.st_mtime_ns}\0{info.st_ctime_ns}\0{info.st_ino}"
        result.append(f"{CODE_VERSION}\0{os.path.join(here, path)}\0{state}")
    return result


def decode_all(
    paths: Sequence[Path],
    size: int,
    resize: str,
    rows: np.ndarray,
    ahead: int | None = None,
    convert: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> Iterator[Row]:
    """Decode the given rows of a list of files in threads; yields pixels or an error message, in order.

    Args:
        ahead: Images that are decoded before they are requested; None for four times the number of CPUs.
        convert: Applied to the pixels in the threads.
    """

    def decode_row(row: int) -> Row:
        try:
            return row, convert(decode(paths[row], size, resize))
        except UnavailableError as error:
            return row, TransientReason(error)
        except ValueError as error:
            return row, f"{error}"

    return _in_threads(decode_row, rows, ahead)


def _in_threads(function: Callable[[int], Row], rows: np.ndarray, ahead: int | None = None) -> Iterator[Row]:
    """Yield the function's results in the order of the rows; `ahead` as in `decode_all`."""
    # threads suffice: Pillow releases the interpreter lock while it decodes and resizes; loader processes are
    # as many as there are processors already
    threads = (os.cpu_count() or 1) if multiprocessing.parent_process() is None else 1
    ahead = 4 * threads if ahead is None else ahead
    with ThreadPoolExecutor(threads) as pool:
        # the number of waiting results is bounded, so that a slow consumer does not fill the memory
        waiting = deque()
        for row in rows.tolist():
            waiting.append(pool.submit(function, row))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def open_pixels(
    store: RowStore,
    paths: Sequence[Path],
    keys: Sequence[str],
    size: int,
    resize: str,
    quality: int | None,
    only_all: bool,
    watch: Callable,
) -> StoredRows | None:
    """Decoded images, uint8 [N, size, size, 3], from the store; the others are decoded when they are read.

    Args:
        keys: The fingerprints of the files, taken before this call.
        quality: Of the JPEG files that are stored instead of pixels, 1 to 100; None stores pixels. All images
            pass through JPEG, stored or not, so that they do not depend on what fits.
        only_all: Whether nothing is stored where not all images fit, instead of the first ones.
        watch: Wraps an iterator to show progress; called with (iterator, total, title).

    Returns:
        None where no pixels are stored.
    """
    compute = partial(decode_all, paths, size, resize)
    shape, dtype, watch = (size, size, 3), "uint8", partial(watch, title="images")
    if quality is None:
        family = f"pixels {size} {resize}"
        return store.rows(family, keys, shape, dtype, compute, partial=not only_all, watch=watch)
    compute = partial(compute, convert=partial(pack, quality=quality))
    found = store.rows(
        f"jpeg {quality} {size} {resize}",
        keys,
        shape,
        dtype,
        compute,
        unpack=unpack,
        packed_bytes=lambda: SAFETY * mean_jpeg_bytes(paths, size, resize, quality),
        partial=not only_all,
        watch=watch,
    )
    empty = StoredArray(None, RowFormat(shape, dtype, unpack), 0, len(keys), compute, {})
    return found or StoredRows(empty, {}, 0, None)


def mean_jpeg_bytes(paths: Sequence[Path], size: int, resize: str, quality: int) -> float:
    """Mean size of an image as JPEG, from a sample; that of its pixels where no file of it is readable."""
    packed = decode_all(paths, size, resize, sample(paths), convert=partial(pack, quality=quality))
    sizes = [content.nbytes for _, content in packed if isinstance(content, np.ndarray)]
    return float(np.mean(sizes)) if sizes else 3 * size**2


def sample(paths: Sequence[Path]) -> np.ndarray:
    """Rows of up to 32 files that stand for all."""
    return np.linspace(0, len(paths) - 1, min(32, len(paths))).astype(int)


def open_hashes(
    store: RowStore | None,
    paths: Sequence[Path],
    keys: Sequence[str],
    size: int,
    resize: str,
    quality: int | None,
    open_pixels: Callable[[], StoredRows | None],
    watch: Callable,
) -> StoredRows:
    """Rows of `hash_image` of the decoded images, uint8 [N, BYTES]; from the store where they fit into it.

    Args:
        keys: The fingerprints of the files, taken before this call.
        quality: As for `open_pixels`.
        open_pixels: Opens the decoded images, once hashes are missing: a store that is too small for both has
            room for the hashes then. None decodes the files, which computing features does once more later.
        watch: Wraps an iterator to show progress; called with (iterator, total, title).
    """

    def compute(rows: np.ndarray) -> Iterator[Row]:
        pixels = open_pixels()
        if pixels is None:
            return decode_all(paths, size, resize, rows, convert=hash_image)
        return _in_threads(partial(hash_row, pixels), rows)

    def hash_row(pixels: StoredRows, row: int) -> Row:
        values, errors = pixels.array.read(np.array([row]))
        return row, errors[0] if errors else hash_image(values[0])

    def show(rows: Iterator[Row], total: int) -> Iterator[Row]:
        return watch(rows, total, "images" if open_pixels() is None else "hashes")

    if store is not None:
        family = f"hashes {HASH_VERSION} {size} {resize}" + ("" if quality is None else f" jpeg {quality}")
        found = store.rows(family, keys, (BYTES,), "uint8", compute, watch=show)
        if found is not None:
            return found
    array, errors = np.zeros((len(paths), BYTES), np.uint8), {}
    for row, values in show(compute(np.arange(len(paths))), len(paths)):
        if isinstance(values, str):
            errors[row] = values
        else:
            array[row] = values
    return StoredRows(array, errors, len(paths), None)
