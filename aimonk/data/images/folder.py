"""The image files of a folder: found, identified, and decoded in threads."""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from aimonk.data.images.decoding import UnavailableError, decode
from aimonk.data.images.stream import map_in_threads
from aimonk.data.labels import IMAGE_SUFFIXES
from aimonk.data.store.row_set import TransientReason
from aimonk.data.store.stored_array import Row
from aimonk.files.text import listed, plural

# part of every key; increment it when decoding gives other pixels for the same file
CODE_VERSION = "3"


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

    return in_threads(decode_row, rows, ahead)


def in_threads(function: Callable[[int], Row], rows: np.ndarray, ahead: int | None = None) -> Iterator[Row]:
    """Yield the function's results in the order of the rows; `ahead` as in `decode_all`."""
    # loader processes are as many as there are processors already
    threads = (os.cpu_count() or 1) if multiprocessing.parent_process() is None else 1
    return map_in_threads(function, rows.tolist(), threads, 4 * threads if ahead is None else ahead)
