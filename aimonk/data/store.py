"""Rows of numbers kept on disk: each computed once, shared by every run that needs the same one."""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

log = logging.getLogger(__name__)

Row = tuple[int, np.ndarray | str]  # row number, and its values or the reason why it has none
Compute = Callable[[np.ndarray], Iterator[Row]]
FLUSH_BYTES = 256 * 2**20


@dataclass
class StoredRows:
    """The rows of one set.

    Attributes:
        array: Memory-mapped and read-only, [N, ...].
        errors: Row number -> why that row could not be computed; its values mean nothing.
        computed: How many rows this call had to compute.
    """

    array: np.ndarray
    errors: dict[int, str]
    computed: int
    in_use: FileLock = field(repr=False)


class RowStore:
    """Sets of rows under one folder, bounded in size.

    A set is written under a temporary name and renamed when it is whole, so a crash leaves either a whole set
    or none. Every row carries a checksum, which is compared whenever a set is opened.

    Args:
        folder: Where the sets lie; created when needed.
        limit_bytes: What all sets together may take. The sets unused for longest go first, never one in use.
    """

    def __init__(self, folder: Path, limit_bytes: int):
        self.folder = folder
        self.limit_bytes = limit_bytes

    def rows(
        self, family: str, keys: Sequence[str], shape: tuple[int, ...], dtype: str, compute: Compute
    ) -> StoredRows | None:
        """Fetch a set, computing what is not there.

        Rows that another set of the same family has are copied from it. Processes that ask for sets of one family
        wait for one another.

        Args:
            family: What all rows have in common (sizes, weights, code version); any text.
            keys: What tells each row from others of the family, N of them.
            shape: Of one row.
            compute: Called once with the numbers of the missing rows; yields each with its values or an error.

        Returns:
            None when the set would not fit below the limit or on the disk.
        """
        family_folder = self.folder / _digest([family, str(shape), dtype])
        target = family_folder / _digest(keys)
        family_folder.mkdir(parents=True, exist_ok=True)
        found = self._open(target, keys, shape, dtype)
        if found is not None:
            return found
        with FileLock(f"{family_folder}.lock"):
            found = self._open(target, keys, shape, dtype)  # another process may have written it meanwhile
            if found is not None:
                return found
            row_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
            if not self._make_room(len(keys) * (row_bytes + 4), keep=family_folder):
                return None
            computed = self._write(target, keys, shape, dtype, compute)
            found = self._open(target, keys, shape, dtype)
            if found is None:
                raise OSError(f"{target}: what was just written cannot be read back; is the disk failing?")
            found.computed = computed
            return found

    def _open(self, target: Path, keys: Sequence[str], shape: tuple[int, ...], dtype: str) -> StoredRows | None:
        """The set, if it is there and whole."""
        if not (target / "index.json").is_file():
            return None
        in_use = FileLock(target / f"in_use_{uuid.uuid4().hex}.lock")
        try:
            _is_used(target)
            in_use.acquire()
            array, bad, errors = _read(target, keys, shape, dtype)
            os.utime(target)
        except (OSError, ValueError, KeyError, TypeError):
            in_use.release()
            return None
        if bad.any():
            log.warning("%s: %d of %d rows are damaged and computed again", target, bad.sum(), len(keys))
            in_use.release()
            return None
        return StoredRows(array, errors, 0, in_use)

    def _write(
        self, target: Path, keys: Sequence[str], shape: tuple[int, ...], dtype: str, compute: Compute
    ) -> int:
        """Write a whole set; returns how many rows were computed rather than copied."""
        building = target.with_name(f"building_{target.name}")
        done = _Building(building, keys, shape, dtype)
        for other in [target, *sorted(_sets(target.parent), key=os.path.getmtime, reverse=True)]:
            if done.missing().size:
                done.copy_from(other)
        missing = done.missing()
        if missing.size:
            for row, values in compute(missing):
                done.put(row, values)
        done.finish(target)
        return int(missing.size)

    def _make_room(self, needed: int, keep: Path) -> bool:
        """Remove the sets unused for longest until `needed` bytes fit; False when they cannot."""
        if needed > self.limit_bytes:
            return False
        sets = sorted(
            (s for family in self.folder.iterdir() if family.is_dir() for s in _sets(family)),
            key=lambda s: (s.parent == keep, os.path.getmtime(s)),
        )
        total = sum(_size(s) for s in sets)
        for old in sets:
            if total + needed <= self.limit_bytes and shutil.disk_usage(self.folder).free > needed:
                break
            if not _is_used(old):
                total -= _size(old)
                shutil.rmtree(old, ignore_errors=True)
        return total + needed <= self.limit_bytes and shutil.disk_usage(self.folder).free > needed


class _Building:
    """A set being written. What a crash left of the same set is taken up again."""

    def __init__(self, folder: Path, keys: Sequence[str], shape: tuple[int, ...], dtype: str):
        self.folder, self.keys, self.shape, self.dtype = folder, list(keys), shape, dtype
        self.errors: dict[int, str] = {}
        self.unflushed = 0
        for other in folder.parent.glob("building_*"):
            if other != folder:
                shutil.rmtree(other, ignore_errors=True)  # its process is dead: we hold the lock
        folder.mkdir(parents=True, exist_ok=True)
        n = len(self.keys)
        sizes = {"rows.bin": n * int(np.prod(shape)) * np.dtype(dtype).itemsize, "crc.bin": n * 4}
        for name, size in sizes.items():
            with open(folder / name, "ab") as file:
                file.truncate(size)
        self.array = np.memmap(folder / "rows.bin", dtype, "r+", shape=(n, *shape))
        self.crc = np.memmap(folder / "crc.bin", "uint32", "r+", shape=(n,))
        self.done = self.crc != 0
        if self.done.any():
            self.done &= _checksums(self.array) == self.crc

    def missing(self) -> np.ndarray:
        return np.flatnonzero(~self.done)

    def put(self, row: int, values: np.ndarray | str) -> None:
        if isinstance(values, str):
            self.errors[row] = values
            values = np.zeros(self.shape, self.dtype)
        else:
            values = np.ascontiguousarray(values, self.dtype)
        self.array[row] = values
        self.unflushed += values.nbytes
        if self.unflushed > FLUSH_BYTES:  # so that a crash loses little of a long computation
            self.array.flush()
            self.unflushed = 0
        # an error is not carried over a crash: it is found again
        self.crc[row] = 0 if row in self.errors else _checksum(values)
        self.done[row] = True

    def copy_from(self, other: Path) -> None:
        """Take the rows that another set of the family has, whole ones only."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            theirs = {key: i for i, key in enumerate(json.loads((other / "index.json").read_text())["keys"])}
            array, bad, errors = _read(other, list(theirs), self.shape, self.dtype)
            for row in self.missing():
                i = theirs.get(self.keys[row])
                if i is not None and not bad[i]:
                    self.put(row, errors.get(i, array[i]))

    def finish(self, target: Path) -> None:
        for row in self.errors:
            self.crc[row] = _checksum(self.array[row])
        self.array.flush()
        self.crc.flush()
        index = {"keys": self.keys, "errors": self.errors}
        with open(self.folder / "index.json", "w") as file:
            json.dump(index, file)
            file.flush()
            os.fsync(file.fileno())
        del self.array, self.crc
        shutil.rmtree(target, ignore_errors=True)
        os.replace(self.folder, target)


def _read(
    folder: Path, keys: Sequence[str], shape: tuple[int, ...], dtype: str
) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Rows, which of them are damaged, and errors. Raises where the set is not of this shape at all."""
    index = json.loads((folder / "index.json").read_text())
    if index["keys"] != list(keys):
        raise ValueError("another set")
    crc = np.fromfile(folder / "crc.bin", "uint32")
    array = np.memmap(folder / "rows.bin", dtype, "r", shape=(len(keys), *shape))
    return array, _checksums(array) != crc, {int(row): text for row, text in index["errors"].items()}


def _checksum(values: np.ndarray) -> int:
    return zlib.crc32(values.data.cast("B") if values.flags.c_contiguous else values.tobytes()) or 1


def _checksums(array: np.ndarray) -> np.ndarray:
    """CRC-32 of every row, never 0, [N]. zlib lets go of the interpreter, so threads share the work."""
    blocks = np.array_split(np.arange(len(array)), min(len(array), 64) or 1)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = pool.map(lambda rows: [_checksum(array[i]) for i in rows], blocks)
    return np.array([c for part in parts for c in part], dtype="uint32")


def _digest(parts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode(errors="surrogateescape"))
    return digest.hexdigest()[:24]


def _sets(family: Path) -> list[Path]:
    return [s for s in family.iterdir() if (s / "index.json").is_file() and not s.name.startswith("building_")]


def _size(folder: Path) -> int:
    with contextlib.suppress(OSError):
        return sum(f.stat().st_size for f in folder.iterdir())
    return 0


def _is_used(folder: Path) -> bool:
    """Whether a living process uses a set; sweeps away the marks of dead ones."""
    used = False
    for mark in folder.glob("in_use_*.lock"):
        try:
            with FileLock(mark, timeout=0):
                mark.unlink(missing_ok=True)
        except Timeout:
            used = True
    return used
