"""The image files of a folder, each decoded once and kept."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np

from aimonk.data.images.decoding import UnavailableError, decode
from aimonk.data.labels import IMAGE_SUFFIXES
from aimonk.data.store.row_set import TransientReason
from aimonk.data.store.row_store import Row, RowStore, StoredRows
from aimonk.files.text import listed

# part of every key: raise it when the same file would give other pixels
CODE_VERSION = "2"


def find_images(folder: Path, names: Sequence[str], follow_links: bool) -> np.ndarray:
    """Which of the named images lie in the folder, bool [N].

    Args:
        follow_links: Whether links may lead out of the folder.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: Links lead out of the folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no images folder at {folder.absolute()}")
    there = np.array([os.path.exists(folder / name) for name in names], dtype=bool)
    if follow_links:
        return there
    root = os.path.realpath(folder)
    resolve = cache(os.path.realpath)

    def is_inside(name: str) -> bool:
        path = folder / name
        real = os.path.realpath(path) if path.is_symlink() else os.path.join(resolve(path.parent), path.name)
        return os.path.commonpath([root, real]) == root

    outside = [name for name, ok in zip(names, there, strict=True) if ok and not is_inside(name)]
    if outside:
        told = f"{len(outside)} images lie behind links that lead out of {root}: {listed(outside)}"
        raise ValueError(f"{told}; data.follow_links=true allows it")
    return there


def list_images(folder: Path) -> list[str]:
    """Relative paths of the files below a folder that are called like images, sorted."""
    found = []
    for root, _, files in os.walk(folder):
        found += [Path(root, f) for f in files if os.path.splitext(f)[1].lower() in IMAGE_SUFFIXES]
    return sorted(path.relative_to(folder).as_posix() for path in found)


def fingerprints(paths: Sequence[Path]) -> list[str]:
    """What changes whenever a file's pixels may: path, size, modification time and this code's version."""
    result = []
    for path in paths:
        info = os.stat(path)
        result.append(f"{CODE_VERSION}\0{path.absolute()}\0{info.st_size}\0{info.st_mtime_ns}")
    return result


def decode_all(
    paths: Sequence[Path], size: int, resize: str, rows: np.ndarray, watch: Callable
) -> Iterator[Row]:
    """Decode the given rows of a list of files; an unreadable one gives its reason in place of pixels.

    Args:
        watch: Wraps the sequence of results to show progress; called with (iterable, total).
    """

    def one(row: int) -> Row:
        try:
            return row, decode(paths[row], size, resize)
        except UnavailableError as error:
            return row, TransientReason(error)
        except ValueError as error:
            return row, f"{error}"

    yield from watch(_in_threads(one, rows.tolist()), len(rows))


def _in_threads(function: Callable[[int], Row], rows: Sequence[int]) -> Iterator[Row]:
    """The results in order. Only a few wait to be fetched, so that a slow disk does not fill the memory."""
    # Pillow decodes and resizes without holding the interpreter, so threads are enough
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque()
        for row in rows:
            waiting.append(pool.submit(function, row))
            if len(waiting) > 4 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def open_pixels(
    store: RowStore, paths: Sequence[Path], size: int, resize: str, watch: Callable
) -> StoredRows | None:
    """The decoded images, uint8 [N, size, size, 3], from the store; None where they are not kept."""
    return store.rows(
        family=f"pixels {size} {resize}",
        keys=fingerprints(paths),
        shape=(size, size, 3),
        dtype="uint8",
        compute=lambda rows: decode_all(paths, size, resize, rows, watch),
    )
