"""A set of rows that is being written."""

import contextlib
import json
import os
import shutil
from collections.abc import Sequence
from io import FileIO
from pathlib import Path

import numpy as np

from aimonk.data.store.row_set import (
    CHECKSUMS_FILE,
    INDEX_FILE,
    PLACE,
    ROWS_FILE,
    RowFormat,
    RowSet,
    TransientReason,
    checksum,
    places_crc,
    write_at,
    writing,
)

FLUSH_BYTES = 256 * 2**20


class Building:
    """A set being written; intact rows of an earlier attempt in the same folder are kept.

    Rows are written, not memory-mapped: with a map, a full disk would kill the process.

    Attributes:
        errors: Row number -> error message.
        done: Which rows are written, [N].
        size: Bytes of the rows file.

    Raises:
        StoreWriteError: The disk is full or not writable; raised by all methods.
    """

    @writing()
    def __init__(self, folder: Path, keys: Sequence[str], form: RowFormat):
        self.folder, self.keys, self.form = folder, list(keys), form
        self.errors: dict[int, str] = {}
        self.unflushed = 0
        self.files = contextlib.ExitStack()
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            self.errors = RowSet(folder, form).errors
        self._write_index()
        # packed rows are appended, since an earlier attempt may have left any number of bytes
        packed = form.unpack is not None
        self.rows_file = self._open_file(ROWS_FILE, None if packed else form.row_bytes * len(self.keys))
        item = form.checksum_dtype.itemsize
        self.checksums_file = self._open_file(CHECKSUMS_FILE, item * len(self.keys))
        self.size = os.fstat(self.rows_file.fileno()).st_size
        self.done = RowSet(folder, form).check(range(len(self.keys)))
        missing = set(self.missing().tolist())
        self.errors = {row: reason for row, reason in self.errors.items() if row not in missing}

    def __enter__(self) -> "Building":
        return self

    def __exit__(self, *_: object) -> None:
        self.files.close()

    def missing(self) -> np.ndarray:
        return np.flatnonzero(~self.done)

    @writing()
    def put(self, row: int, values: np.ndarray | str) -> None:
        """Write the values of a row, packed where the format packs them, or its error message."""
        self.done[row] = True
        start, content = self.size, b""
        if isinstance(values, str):
            self.errors[row] = values
        else:
            values = np.ascontiguousarray(values, "uint8" if self.form.unpack else self.form.dtype)
            if self.form.unpack is None:
                start = row * self.form.row_bytes
                if values.shape != self.form.shape:
                    raise ValueError(f"row {row} has the shape {values.shape}; expected {self.form.shape}")
            content = values.tobytes()
            write_at(self.rows_file, start, content)
            self.size = max(self.size, start + len(content))
            self.unflushed += len(content)
        # the checksum of an error that may pass is 0: the row counts as missing when the set is opened
        crc = 0 if isinstance(values, TransientReason) else checksum(self.keys[row], values)
        item = np.array((crc, len(content), start) if self.form.unpack else crc, self.form.checksum_dtype)
        write_at(self.checksums_file, row * item.itemsize, item.tobytes())
        if self.unflushed > FLUSH_BYTES:  # so that a power failure loses little of a long computation
            os.fsync(self.rows_file.fileno())
            self.unflushed = 0

    def copy_from(self, folder: Path) -> None:
        """Copy missing rows from another set, complete or not."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            other = RowSet(folder, self.form)
            theirs = {key: i for i, key in enumerate(other.keys)}
            wanted = [(row, theirs[self.keys[row]]) for row in self.missing() if self.keys[row] in theirs]
            for (row, i), is_intact in zip(wanted, other.check([i for _, i in wanted]), strict=True):
                if is_intact:
                    values = other.errors.get(i)
                    self.put(int(row), other.content(i) if values is None else values)

    def keep_first(self, count: int) -> None:
        """Drop all rows but the first `count`."""
        self.keys, self.done = self.keys[:count], self.done[:count]
        self.errors = {row: reason for row, reason in self.errors.items() if row < count}

    @writing()
    def finish(self, target: Path) -> None:
        """Rename the set to its final name, which marks it as complete."""
        self.checksums_file.truncate(len(self.keys) * self.form.checksum_dtype.itemsize)
        self._write_index()
        os.fsync(self.rows_file.fileno())
        os.fsync(self.checksums_file.fileno())
        shutil.rmtree(target, ignore_errors=True)
        os.replace(self.folder, target)

    def _open_file(self, name: str, size: int | None) -> FileIO:
        (self.folder / name).touch()
        file = self.files.enter_context(FileIO(self.folder / name, "r+"))
        if size is not None:
            file.truncate(size)
        return file

    def _write_index(self) -> None:
        # an error that may pass is not written
        kept = {row: reason for row, reason in self.errors.items() if not isinstance(reason, TransientReason)}
        index = {"keys": self.keys, "errors": kept}
        if self.form.unpack is not None and (self.folder / CHECKSUMS_FILE).exists():
            places = np.fromfile(self.folder / CHECKSUMS_FILE, PLACE)
            index["places"] = places_crc(places["length"], places["start"])
        with open(self.folder / INDEX_FILE, "w", encoding="utf-8") as file:
            json.dump(index, file)
            file.flush()
            os.fsync(file.fileno())
